use std::{sync::mpsc, time::Instant};

use secrecy::SecretString;

use super::*;
use crate::domain::{Email, PasswordPolicy, Username};

const CHEAP: Cost = Cost { memory_kib: 64, iterations: 1, parallelism: 1 };
const PASSWORD: &str = "correct horse battery stap";

fn start(threads: usize) -> Hashers {
    Hashers::start(Settings { cost: CHEAP, threads }).unwrap()
}

fn new_password() -> NewPassword {
    let (username, email) = (Username::parse("alice").unwrap(), Email::parse("a@x.co").unwrap());
    PasswordPolicy::new(12).check("/password", &PASSWORD.into(), &username, &email).unwrap()
}

fn presented(text: &str) -> PresentedPassword {
    PresentedPassword::new(&SecretString::from(text))
}

/// Holds one thread until the sender is dropped; returns when the thread is held.
async fn hold(hashers: &Hashers) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (begun, has_begun) = oneshot::channel();
    let hashers = hashers.clone();
    tokio::spawn(async move {
        let work = move |_: &mut Bench| {
            let _ = begun.send(());
            let _ = held.recv();
            Ok(())
        };
        hashers.submit(Share::Accounts, work).await
    });
    has_begun.await.unwrap();
    release
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "not in time");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_password_is_hashed_and_recognised() {
    let hashers = start(2);
    let hash = hashers.hash(new_password(), Share::Registration).await.unwrap();
    let right = hashers.verify(presented(PASSWORD), Some(hash.clone())).await.unwrap();
    assert_eq!(right, Verdict::Right { needs_rehash: false });
    assert!(!hashers.verify(presented("another"), Some(hash)).await.unwrap().is_right());
}

#[tokio::test]
async fn an_account_that_does_not_exist_costs_the_same_and_never_matches() {
    let hashers = start(1);
    assert_eq!(hashers.verify(presented(PASSWORD), None).await.unwrap(), Verdict::Wrong);
    for stored in ["", "garbage", "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$c29tZXNhbHQ"] {
        let stored = Some(PasswordHash::new(stored));
        assert_eq!(hashers.verify(presented(PASSWORD), stored).await.unwrap(), Verdict::Wrong);
    }
}

#[tokio::test]
async fn a_hash_of_another_cost_is_to_be_made_anew() {
    let old = start(1).hash(new_password(), Share::Accounts).await.unwrap();
    let dearer = Settings { cost: Cost { iterations: 2, ..CHEAP }, threads: 1 };
    let hashers = Hashers::start(dearer).unwrap();
    let verdict = hashers.verify(presented(PASSWORD), Some(old)).await.unwrap();
    assert_eq!(verdict, Verdict::Right { needs_rehash: true });
}

#[tokio::test]
async fn a_panicking_job_is_an_internal_error_and_its_thread_lives() {
    let hashers = start(1);
    let answer = hashers.submit::<()>(Share::Accounts, |_| panic!("told to")).await;
    assert!(matches!(answer, Err(Error::Internal(_))));
    assert!(hashers.hash(new_password(), Share::Accounts).await.is_ok());
    assert_eq!(hashers.load().panics, 1);
    assert!(hashers.ping(Duration::ZERO).await.is_ok());
}

#[tokio::test]
async fn more_than_the_queue_holds_is_overload_at_once() {
    let limits = Limits { accounts: 2, registration: 1, patience: Duration::from_secs(3600) };
    let hashers = Hashers::start_with(Settings { cost: CHEAP, threads: 1 }, limits, IDLE).unwrap();
    let release = hold(&hashers).await;
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let hashers = hashers.clone();
            tokio::spawn(async move { hashers.verify(presented(PASSWORD), None).await })
        })
        .collect();
    eventually(|| hashers.load().waiting == 2).await;
    assert_eq!((hashers.depth(), hashers.capacity()), (3, 4));
    assert!(matches!(hashers.verify(presented(PASSWORD), None).await, Err(Error::Overloaded)));
    assert!(matches!(hashers.has_room(Share::Accounts), Err(Error::Overloaded)));
    assert!(hashers.has_room(Share::Registration).is_ok());
    drop(release);
    for waited in waiting {
        assert_eq!(waited.await.unwrap().unwrap(), Verdict::Wrong);
    }
}

#[tokio::test]
async fn work_whose_caller_went_away_is_not_begun() {
    let hashers = start(1);
    let release = hold(&hashers).await;
    let (ran, has_run) = mpsc::channel();
    let caller = {
        let hashers = hashers.clone();
        tokio::spawn(async move {
            let work = move |_: &mut Bench| ran.send(()).map_err(Error::internal);
            hashers.submit(Share::Accounts, work).await
        })
    };
    eventually(|| hashers.load().waiting == 1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    drop(release);
    eventually(|| hashers.load().waiting == 0).await;
    assert!(has_run.recv().is_err(), "dropped without being run");
}

#[tokio::test]
async fn stopping_finishes_what_waits_and_ends_the_threads() {
    let hashers = start(2);
    let release = [hold(&hashers).await, hold(&hashers).await];
    let waiting = {
        let hashers = hashers.clone();
        tokio::spawn(async move { hashers.hash(new_password(), Share::Accounts).await })
    };
    eventually(|| hashers.load().waiting == 1).await;
    let stopping = {
        let hashers = hashers.clone();
        tokio::spawn(async move { hashers.stop().await })
    };
    let refused =
        || async { matches!(hashers.verify(presented("x"), None).await, Err(Error::Unavailable { .. })) };
    eventually(|| hashers.vitals().state() == crate::actors::vital::State::Stopped).await;
    assert!(refused().await);
    drop(release);
    assert!(waiting.await.unwrap().is_ok());
    stopping.await.unwrap();
    assert_eq!(*hashers.0.0.alive.borrow(), 0);
}

#[tokio::test]
async fn the_threads_end_with_the_last_handle() {
    let hashers = start(2);
    let mut alive = hashers.0.0.alive.subscribe();
    drop(hashers);
    // An error means that even the pool is gone.
    let _ = tokio::time::timeout(Duration::from_secs(20), alive.wait_for(|alive| *alive == 0)).await.unwrap();
}

#[tokio::test]
async fn a_missing_thread_is_seen_and_replaced() {
    let hashers = start(2);
    hashers.0.0.alive.send_modify(|alive| *alive -= 1);
    assert_eq!(hashers.ping(Duration::ZERO).await, Err(Silence::Dead));
    hashers.replace(Silence::Dead);
    assert!(hashers.ping(Duration::ZERO).await.is_ok());
}

#[tokio::test]
async fn memory_is_given_back_when_there_is_nothing_to_do_and_taken_again() {
    let limits = Limits::USUAL;
    let hashers =
        Hashers::start_with(Settings { cost: CHEAP, threads: 1 }, limits, Duration::from_millis(1)).unwrap();
    for _ in 0..2 {
        assert!(hashers.hash(new_password(), Share::Accounts).await.is_ok());
        eventually(|| hashers.load().warm == 0).await;
    }
}
