//! `Idempotency-Key`: the same request twice is done once, whatever happens in between.

use futures_util::future::join_all;
use starter::{
    actors::dispatcher::{ClaimKey, EnqueueOnce, FinishKey, Replayable, Told},
    domain::{
        Conflict, Error, Result, UserId,
        idempotency::{Answer, IdempotencyKey},
        task::{Enqueued, NewTask},
    },
};

use crate::support::{
    db::TestDatabase,
    queue::{Desk, keyed, noop},
};

fn render(enqueued: &[Enqueued]) -> Result<Answer> {
    let ids: Vec<String> = enqueued.iter().map(|one| one.task.id.to_string()).collect();
    Ok(Answer {
        status: 201,
        location: None,
        body: ids.join(",").into_bytes(),
        sealed: false,
        tasks: Vec::new(),
    })
}

fn key(user: UserId, text: &str, request: u8) -> IdempotencyKey {
    IdempotencyKey { user, text: text.into(), request_hash: [request; 32] }
}

async fn once(desk: &Desk, key: IdempotencyKey, tasks: Vec<NewTask>) -> Result<Told> {
    desk.live.ask(EnqueueOnce { key, work: Replayable { tasks, render } }).await
}

#[actix_rt::test]
async fn the_same_request_again_gets_the_first_answer_and_does_nothing() {
    let database = TestDatabase::create().await;
    let desk = Desk::open(&database).await;
    let alice = database.user("alice").await;
    let first = once(&desk, key(alice, "a", 1), vec![noop(), noop()]).await.unwrap();
    assert!(!first.replayed);
    database.sql("delete from tasks").await;
    let again = once(&desk, key(alice, "a", 1), vec![noop(), noop()]).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.answer, first.answer);
    assert_eq!(database.count("select count(*) from tasks").await, 0);
    let other = once(&desk, key(alice, "a", 2), vec![noop()]).await;
    assert!(matches!(other, Err(Error::IdempotencyKeyReused)), "{other:?}");
    let bob = database.user("bobby").await;
    assert!(!once(&desk, key(bob, "a", 2), vec![noop()]).await.unwrap().replayed);
}

#[actix_rt::test]
async fn of_fifty_at_once_through_two_processes_one_is_carried_out() {
    let database = TestDatabase::create().await;
    let (one, two) = (Desk::open(&database).await, Desk::open(&database).await);
    let alice = database.user("alice").await;
    let asked = (0..50).map(|n| once(if n % 2 == 0 { &one } else { &two }, key(alice, "a", 1), vec![noop()]));
    let answers = join_all(asked).await;
    let told: Vec<&Told> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
    assert_eq!(told.iter().filter(|told| !told.replayed).count(), 1);
    assert!(told.iter().all(|one| one.answer == told[0].answer));
    for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert!(matches!(refused, Error::Conflict(Conflict::IdempotencyKeyInProgress)), "{refused:?}");
    }
    assert_eq!(database.count("select count(*) from tasks").await, 1);
}

#[actix_rt::test]
async fn another_request_under_the_same_key_at_the_same_time_is_refused() {
    let database = TestDatabase::create().await;
    let desk = Desk::open(&database).await;
    let alice = database.user("alice").await;
    let asked = (0..20).map(|n| once(&desk, key(alice, "a", n), vec![noop()]));
    let done = join_all(asked).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(done, 1);
    assert_eq!(database.count("select count(*) from tasks").await, 1);
}

#[actix_rt::test]
async fn many_keys_share_transactions_and_one_that_fails_leaves_no_trace() {
    let database = TestDatabase::create().await;
    let desk = Desk::open(&database).await;
    let alice = database.user("alice").await;
    let ghost = NewTask { created_by: Some(UserId::new()), ..noop() };
    let work = |n: u8| if n == 7 { vec![ghost.clone()] } else { vec![noop(), keyed(&n.to_string())] };
    let asked = (0..40).map(|n| once(&desk, key(alice, &format!("k{n}"), n), work(n)));
    let answers = join_all(asked).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 39);
    assert_eq!(database.count("select count(*) from tasks").await, 78);
    assert_eq!(database.count("select count(*) from idempotency_keys").await, 39);
    assert!(!once(&desk, key(alice, "k7", 7), vec![noop()]).await.unwrap().replayed);
}

#[actix_rt::test]
async fn after_a_day_a_key_is_new_again() {
    let database = TestDatabase::create().await;
    let desk = Desk::open(&database).await;
    let alice = database.user("alice").await;
    once(&desk, key(alice, "a", 1), vec![noop()]).await.unwrap();
    database.sql("update idempotency_keys set created_at = now() - interval '25 hours'").await;
    assert!(!once(&desk, key(alice, "a", 2), vec![noop()]).await.unwrap().replayed);
    assert!(once(&desk, key(alice, "a", 2), vec![noop()]).await.unwrap().replayed);
}

#[actix_rt::test]
async fn a_claimed_key_is_under_way_until_it_is_finished_freed_or_forgotten() {
    let database = TestDatabase::create().await;
    let desk = Desk::open(&database).await;
    let alice = database.user("alice").await;
    let claim = || desk.live.ask(ClaimKey(key(alice, "a", 1)));
    let finish = |answer| desk.live.ask(FinishKey { key: key(alice, "a", 1), answer });
    assert!(claim().await.unwrap().is_none());
    assert!(matches!(claim().await, Err(Error::Conflict(Conflict::IdempotencyKeyInProgress))));
    finish(None).await.unwrap();
    assert!(claim().await.unwrap().is_none());
    database.sql("update idempotency_keys set created_at = now() - interval '5 minutes'").await;
    assert!(claim().await.unwrap().is_none(), "its process is gone");
    let answer = Answer {
        status: 201,
        location: Some("/x".into()),
        body: b"secret".to_vec(),
        sealed: true,
        tasks: Vec::new(),
    };
    finish(Some(answer.clone())).await.unwrap();
    assert_eq!(claim().await.unwrap(), Some(answer));
    finish(None).await.unwrap();
    assert!(claim().await.unwrap().is_some(), "an answer is never taken back");
}
