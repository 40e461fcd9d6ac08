//! `db::tasks::insert`: nothing lost, nothing doubled, told once.

use std::collections::HashSet;

use chrono::{TimeDelta, Utc};
use futures_util::future::join_all;
use starter::{
    db,
    domain::{
        TaskId,
        task::{Enqueued, NewTask, Status, When},
    },
};

use crate::support::{
    db::TestDatabase,
    queue::{keyed, noop},
};

async fn insert(database: &TestDatabase, tasks: Vec<NewTask>) -> Vec<Enqueued> {
    db::tasks::insert(&mut database.connection().await, tasks).await.unwrap()
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_tasks() {
    let database = TestDatabase::create().await;
    let tasks: Vec<NewTask> =
        (0..1000).map(|n| if n % 3 == 0 { keyed(&format!("k{}", 1000 - n)) } else { noop() }).collect();
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
    let enqueued = insert(&database, tasks).await;
    assert_eq!(enqueued.iter().map(|one| one.task.id).collect::<Vec<_>>(), ids);
    assert!(enqueued.iter().all(|one| one.is_new && one.task.status == Status::Pending));
}

#[tokio::test]
async fn a_task_for_later_is_scheduled_and_one_for_the_past_is_due() {
    let database = TestDatabase::create().await;
    let later = NewTask { when: When::After(3600.0), ..noop() };
    let at = NewTask { when: When::At(Utc::now() + TimeDelta::days(1)), ..noop() };
    let past = NewTask { when: When::At(Utc::now() - TimeDelta::days(1)), ..noop() };
    let enqueued = insert(&database, vec![later, at, past, noop()]).await;
    let status: Vec<Status> = enqueued.iter().map(|one| one.task.status).collect();
    assert_eq!(status, [Status::Scheduled, Status::Scheduled, Status::Pending, Status::Pending]);
    let wait = enqueued[0].task.run_at - enqueued[0].task.created_at;
    assert_eq!(wait, TimeDelta::hours(1));
}

#[tokio::test]
async fn a_key_that_is_held_leads_to_its_holder_even_while_that_runs() {
    let database = TestDatabase::create().await;
    let first = insert(&database, vec![keyed("k")]).await.remove(0);
    assert!(first.is_new);
    for set in [
        "status = 'running', stage = null, lease = 1, worker_id = 1",
        "status = 'retrying', stage = 'waiting', lease = null, worker_id = null",
    ] {
        database.sql(&format!("update tasks set {set}")).await;
        let second = insert(&database, vec![keyed("k")]).await.remove(0);
        assert_eq!((second.task.id, second.is_new), (first.task.id, false));
    }
    database
        .sql("update tasks set status = 'succeeded', stage = null, held_key = null, finished_at = now()")
        .await;
    let third = insert(&database, vec![keyed("k")]).await.remove(0);
    assert!(third.is_new && third.task.id != first.task.id);
}

#[tokio::test]
async fn the_same_key_twice_in_one_batch_is_one_task() {
    let database = TestDatabase::create().await;
    let enqueued = insert(&database, vec![keyed("k"), noop(), keyed("k")]).await;
    assert_eq!(enqueued.iter().map(|one| one.is_new).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(enqueued[0].task.id, enqueued[2].task.id);
}

#[tokio::test]
async fn one_owners_keys_are_nothing_to_another() {
    let database = TestDatabase::create().await;
    let (alice, bob) = (database.user("alice").await, database.user("bobby").await);
    let of = |user| NewTask { created_by: user, ..keyed("k") };
    let enqueued = insert(&database, vec![of(Some(alice)), of(Some(bob)), of(None)]).await;
    assert!(enqueued.iter().all(|one| one.is_new));
    // Both lose their owner; their keys still do not meet.
    database.sql("delete from users").await;
}

#[tokio::test]
async fn fifty_who_want_the_same_keys_at_once_get_the_same_tasks() {
    let database = TestDatabase::create().await;
    let rounds = join_all((0..50).map(|n| {
        let mut batch: Vec<NewTask> = (0..4).map(|k| keyed(&format!("k{k}"))).collect();
        batch.rotate_left(n % 4);
        insert(&database, batch)
    }))
    .await;
    let all: Vec<&Enqueued> = rounds.iter().flatten().collect();
    assert_eq!(all.iter().filter(|one| one.is_new).count(), 4);
    assert_eq!(all.iter().map(|one| one.task.id).collect::<HashSet<_>>().len(), 4);
}

#[tokio::test]
async fn a_key_whose_holder_keeps_finishing_is_never_lost() {
    let database = TestDatabase::create().await;
    let finisher = async {
        let statement = "update tasks set status = 'succeeded', stage = null, held_key = null, finished_at = now() where status = 'pending'";
        for _ in 0..100 {
            database.sql(statement).await;
        }
    };
    let enqueuers = join_all((0..8).map(|_| async {
        for _ in 0..25 {
            insert(&database, vec![keyed("k")]).await;
        }
    }));
    futures_util::future::join(finisher, enqueuers).await;
}

#[tokio::test]
async fn a_rollback_takes_the_tasks_back() {
    use diesel_async::{AsyncConnection, SimpleAsyncConnection};
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    let outcome = connection
        .transaction::<(), starter::domain::Error, _>(async |connection| {
            db::tasks::insert(connection, vec![keyed("k")]).await?;
            Err(starter::domain::Error::Overloaded)
        })
        .await;
    assert!(outcome.is_err());
    connection.batch_execute("do $$ begin assert not exists (select from tasks); end $$").await.unwrap();
    assert!(insert(&database, vec![keyed("k")]).await[0].is_new);
}
