//! Everything that changes tasks, at the same time: nothing waits for itself in a circle.

use std::{cell::Cell, time::Duration};

use serde_json::json;
use starter::{
    db::{self, queue, sweep, tasks},
    domain::{
        Reach, TaskId,
        task::{NewTask, Status},
    },
    tasks::Registry,
};

use super::workshop::{PATIENCE, Workshop, in_workshop, noop, quick};
use crate::support::eventually;

const TASKS: usize = 600;

/// Does this again and again, on a connection of its own, until it is over.
async fn again(workshop: &Workshop, over: &Cell<bool>, mut act: impl AsyncFnMut(&mut db::Connection)) {
    let mut connection = workshop.database.connection().await;
    while !over.get() {
        act(&mut connection).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Quick ones, slow ones that tell how far they are, and some that fail.
async fn enqueue(connection: &mut db::Connection, count: usize) -> Vec<TaskId> {
    let payloads = [json!({}), json!({"sleep_ms": 30}), json!({"fail_times": 100})];
    let of = |n: usize| NewTask { max_attempts: 1, ..noop(payloads[n % payloads.len()].clone()) };
    let all: Vec<NewTask> = (0..count).map(of).collect();
    let ids = all.iter().map(|task| task.id).collect();
    tasks::insert(connection, all).await.unwrap();
    ids
}

async fn retry_failed(connection: &mut db::Connection) {
    let before = db::now(connection).await.unwrap();
    let which = tasks::Failed { before, task_type: None, queue: None };
    tasks::retry_failed(connection, &which, 50).await.unwrap();
}

async fn prune(connection: &mut db::Connection) {
    let before = db::now(connection).await.unwrap();
    let which = tasks::Prune { statuses: vec![Status::Succeeded], before, task_type: None };
    tasks::prune(connection, &which, None, 20).await.unwrap();
}

async fn sweep_old(connection: &mut db::Connection) {
    sweep::finished_tasks(connection, Duration::from_millis(300), None, 20).await.unwrap();
}

async fn lose_a_worker(connection: &mut db::Connection) {
    // One worker is given up again and again.
    let gone = "delete from workers where id = (select min(id) from workers)";
    diesel_async::SimpleAsyncConnection::batch_execute(connection, gone).await.unwrap();
    let signs = queue::signs_of_life(connection).await.unwrap();
    queue::bury_workers(connection, &signs).await.unwrap();
    queue::rescue(connection, 20).await.unwrap();
    queue::promote(connection, &["default".to_owned()], 500).await.unwrap();
    queue::promote_left_behind(connection, 500).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
}

#[test]
fn workers_upkeep_and_bulk_acts_do_not_block_each_other() {
    in_workshop(async |workshop| {
        let ids = enqueue(&mut workshop.database.connection().await, TASKS).await;
        let crew = [
            workshop.worker(Registry::builtin(), quick()).await,
            workshop.worker(Registry::builtin(), quick()).await,
        ];
        let over = Cell::new(false);
        let mut turn = ids.iter().cycle();
        let called_off = async |connection: &mut db::Connection| {
            // Most are over, or gone.
            let _refused = tasks::cancel(connection, *turn.next().unwrap(), Reach::All).await;
        };
        let work = async {
            let done = || crew.iter().map(|worker| worker.shift.standing().ended).sum::<u64>();
            eventually(PATIENCE * 3, async || done() as usize > TASKS * 2).await;
            over.set(true);
        };
        tokio::join!(
            work,
            again(&workshop, &over, async |connection| drop(enqueue(connection, 6).await)),
            again(&workshop, &over, retry_failed),
            again(&workshop, &over, prune),
            again(&workshop, &over, sweep_old),
            again(&workshop, &over, lose_a_worker),
            again(&workshop, &over, called_off),
        );
        // A server process counts them when it ends, or after a second.
        drop(crew);
        let deadlocks = "select deadlocks from pg_stat_database where datname = current_database()";
        assert_eq!(workshop.rows(deadlocks).await, [json!({"deadlocks": 0})]);
    });
}
