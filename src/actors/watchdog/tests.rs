//! A small actor is killed and hung in every way; its callers must get an answer each time.

use std::sync::atomic::{AtomicUsize, Ordering};

use actix::Message;
use tokio::sync::Semaphore;

use super::*;
use crate::{
    actors::{
        checkup::Condition,
        live::{Live, Reach},
        threads::Thread,
    },
    domain::Error,
};

/// Counts what it was asked; each new one starts from nothing.
struct Counter {
    count: usize,
    hold: Arc<Semaphore>,
}

impl Actor for Counter {
    type Context = Context<Self>;
}

crate::vital!(Counter);

#[derive(Message)]
#[rtype(result = "Result<usize>")]
enum Do {
    Count,
    PanicInBody,
    PanicInReply,
    HoldReply,
    HoldThread(Duration),
}

impl Handler<Do> for Counter {
    type Result = Answer<usize>;

    fn handle(&mut self, message: Do, _: &mut Self::Context) -> Self::Result {
        match message {
            Do::Count => {
                self.count += 1;
                Answer::Now(Ok(self.count))
            }
            Do::PanicInBody => panic!("in a body"),
            Do::PanicInReply => Answer::from_future(async { panic!("in a reply") }),
            Do::HoldReply => {
                let hold = Arc::clone(&self.hold);
                Answer::from_future(async move {
                    hold.acquire().await.map_err(Error::internal)?.forget();
                    Ok(0)
                })
            }
            Do::HoldThread(time) => {
                std::thread::sleep(time);
                Answer::Now(Ok(0))
            }
        }
    }
}

struct Bench {
    counter: Live<Counter>,
    made: Arc<AtomicUsize>,
    hold: Arc<Semaphore>,
    given_up: CancellationToken,
    watchdog: Live<Watchdog>,
}

const QUICK: Patience = Patience {
    interval: Duration::from_millis(20),
    answer: Duration::from_secs(5),
    silence: Duration::from_secs(20),
    pause: Duration::from_millis(1),
    budget: 3,
    budget_window: Duration::from_secs(60),
};

fn bench(patience: Patience) -> Bench {
    let runtime = Arc::new(tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap());
    let (thread, alarm) = (Thread::start("test", &runtime), Arc::new(Notify::new()));
    let (made, hold) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let reach = Reach { name: "counter", capacity: 4, patience: Duration::from_secs(5) };
    let counter = Live::start(reach, &thread, &alarm, {
        let (made, hold) = (Arc::clone(&made), Arc::clone(&hold));
        move || {
            made.fetch_add(1, Ordering::SeqCst);
            Counter { count: 0, hold: Arc::clone(&hold) }
        }
    });
    let roster: Roster = Arc::new(vec![Arc::new(counter.clone())]);
    let given_up = CancellationToken::new();
    let reach = Reach { name: "watchdog", ..reach };
    let guard = Thread::start("guard", &runtime);
    let watchdog = Live::start(reach, &guard, &alarm, {
        let given_up = given_up.clone();
        let alarm = Arc::clone(&alarm);
        let checkup = Checkup::new(Box::new(|| Box::pin(async { Ok(0) })), || Some(false));
        move || {
            let (roster, alarm) = (Arc::clone(&roster), Arc::clone(&alarm));
            Watchdog::new(roster, patience, alarm, given_up.clone(), checkup.clone())
        }
    });
    // Dropping a runtime inside another one's block_on would panic; the test process ends soon anyway.
    std::mem::forget(runtime);
    Bench { counter, made, hold, given_up, watchdog }
}

impl Bench {
    /// Asks until it is answered, and tells how it was refused meanwhile.
    async fn until_answered(&self) -> (usize, Vec<Error>) {
        let mut refusals = Vec::new();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            match self.counter.ask(Do::Count).await {
                Ok(count) => return (count, refusals),
                Err(error) => refusals.push(error),
            }
            assert!(tokio::time::Instant::now() < deadline, "not healed: {refusals:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[test]
fn a_panic_in_a_body_is_healed_and_the_callers_are_told_meanwhile() {
    actix_rt::System::new().block_on(async {
        let bench = bench(QUICK);
        assert_eq!(bench.counter.ask(Do::Count).await.unwrap(), 1);
        let told = bench.counter.ask(Do::PanicInBody).await.unwrap_err();
        assert!(matches!(told, Error::Unavailable { what: "counter", .. }), "{told}");
        let (count, refusals) = bench.until_answered().await;
        assert_eq!(count, 1, "a new one, from its factory");
        assert!(refusals.iter().all(Error::is_transient), "{refusals:?}");
        let watched: Arc<dyn Watched> = Arc::new(bench.counter.clone());
        let report = watched.report();
        assert_eq!((report.restarts, report.last_error), (1, Some("ended unexpectedly")));
    });
}

#[test]
fn a_panic_in_a_reply_is_the_callers_and_the_actor_keeps_its_state() {
    actix_rt::System::new().block_on(async {
        let bench = bench(QUICK);
        assert_eq!(bench.counter.ask(Do::Count).await.unwrap(), 1);
        assert!(matches!(bench.counter.ask(Do::PanicInReply).await, Err(Error::Internal(_))));
        assert_eq!(bench.counter.ask(Do::Count).await.unwrap(), 2);
        assert_eq!(bench.made.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn past_its_bound_an_actor_refuses_at_once_and_recovers() {
    actix_rt::System::new().block_on(async {
        let bench = bench(QUICK);
        let held: Vec<_> = (0..4)
            .map(|_| {
                let counter = bench.counter.clone();
                actix_rt::spawn(async move { counter.ask(Do::HoldReply).await })
            })
            .collect();
        while bench.counter.depth() < 4 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(bench.counter.ask(Do::Count).await, Err(Error::Overloaded)));
        bench.hold.add_permits(4);
        for held in held {
            held.await.unwrap().unwrap();
        }
        assert_eq!(bench.counter.ask(Do::Count).await.unwrap(), 1);
    });
}

#[test]
fn an_actor_that_hangs_with_its_thread_is_replaced_on_another() {
    actix_rt::System::new().block_on(async {
        let bench = bench(Patience {
            answer: Duration::from_millis(50),
            silence: Duration::from_millis(100),
            // A busy machine may make it look mute again.
            budget: usize::MAX,
            ..QUICK
        });
        assert_eq!(bench.counter.ask(Do::Count).await.unwrap(), 1);
        let hang = tokio::time::timeout(
            Duration::from_millis(10),
            bench.counter.ask(Do::HoldThread(Duration::from_secs(8))),
        );
        assert!(hang.await.is_err());
        while bench.made.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let (count, _) = bench.until_answered().await;
        assert_eq!(count, 1, "a new one, while the old one still hangs");
    });
}

#[test]
fn an_actor_that_keeps_dying_ends_the_process() {
    actix_rt::System::new().block_on(async {
        let bench = bench(QUICK);
        for _ in 0..QUICK.budget {
            let _told = bench.counter.ask(Do::PanicInBody).await;
            bench.until_answered().await;
        }
        assert!(!bench.given_up.is_cancelled());
        let _told = bench.counter.ask(Do::PanicInBody).await;
        tokio::time::timeout(Duration::from_secs(20), bench.given_up.cancelled()).await.unwrap();
        let watched: Arc<dyn Watched> = Arc::new(bench.counter.clone());
        assert_eq!(watched.report().state, State::Stopped);
    });
}

#[test]
fn the_condition_is_the_worst_of_all_that_was_looked_at() {
    actix_rt::System::new().block_on(async {
        let bench = bench(QUICK);
        let health = bench.watchdog.ask(CheckHealth).await.unwrap();
        assert_eq!(health.status, Condition::Degraded, "the change feed is not live");
        assert!(health.is_ready(), "which the service can do without");
        while !bench.given_up.is_cancelled() {
            let _told = bench.counter.ask(Do::PanicInBody).await;
        }
        let health = bench.watchdog.ask(CheckHealth).await.unwrap();
        assert_eq!((health.status, health.checks.actors), (Condition::Down, Condition::Down));
        assert!(!health.is_ready());
    });
}
