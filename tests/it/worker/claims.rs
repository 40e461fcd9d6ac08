//! What is noted beside a task: which were claimed together, and which ended together. Neither is in an index of tasks.

use std::time::Duration;

use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::json;
use starter::{
    actors::worker::{Drain, Settings},
    db::{queue, tasks},
    domain::{
        Reach,
        attempt::{Claim, Lease},
        task::Status,
        task_request::TaskFilter,
    },
    tasks::Registry,
};

use super::workshop::{PATIENCE, in_workshop, noop, quick};
use crate::support::eventually;

/// Updates of tasks by this transaction: those that wrote no index, and all.
async fn updates(connection: &mut AsyncPgConnection) -> (i64, i64) {
    #[derive(diesel::QueryableByName)]
    struct Updates {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        in_place: i64,
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        all: i64,
    }
    let text = "select pg_stat_get_xact_tuples_hot_updated('tasks'::regclass) as in_place,
                    pg_stat_get_xact_tuples_updated('tasks'::regclass) as all";
    let updates: Updates = diesel::sql_query(text).get_result(connection).await.unwrap();
    (updates.in_place, updates.all)
}

#[test]
fn a_success_writes_no_index() {
    in_workshop(async |workshop| {
        let mut connection = workshop.database.connection().await;
        let noops = (0..500).map(|_| noop(json!({}))).collect();
        tasks::insert(&mut connection, noops).await.unwrap();
        let (queues, hour) = (["default".to_owned()], Duration::from_secs(3_600));
        let worker = queue::register(&mut connection, ("h", 1), &["noop"], &queues, hour).await.unwrap();
        let claimed =
            queue::claim(&mut connection, worker, Lease::draw(), "default", &["noop"], 500).await.unwrap();
        let done: Vec<_> = claimed.iter().map(|claim| (claim.leased(), Some(json!(1)))).collect();
        let before = updates(&mut connection).await;
        connection.batch_execute("begin").await.unwrap();
        assert_eq!(queue::succeed(&mut connection, &done).await.unwrap().len(), 500);
        let after = updates(&mut connection).await;
        let (in_place, all) = (after.0 - before.0, after.1 - before.1);
        assert_eq!(all, 500);
        // One in seven finds no room on its page. If an index had a changed column, none would be in place.
        assert!(in_place > 300, "{in_place} of {all}");
    });
}

#[test]
fn a_claim_is_forgotten_when_nothing_of_it_runs_any_more() {
    in_workshop(async |workshop| {
        let settings = Settings { lease: Duration::from_secs(3), ..quick() };
        let worker = workshop.worker(Registry::builtin(), settings).await;
        let long = workshop.enqueue(noop(json!({"sleep_ms": 600_000}))).await;
        workshop.until(long, "running").await;
        for _ in 0..40 {
            let short = workshop.enqueue(noop(json!({}))).await;
            workshop.finished(short).await;
        }
        let claims = "select task_ids from task_claims";
        eventually(PATIENCE, async || workshop.rows(claims).await == [json!({"task_ids": [long]})]).await;
        let drained = worker.live.ask(Drain { limit: Duration::ZERO }).await.unwrap();
        assert_eq!(drained.interrupted, 1);
        assert!(workshop.rows(claims).await.is_empty());
    });
}

#[test]
fn running_tasks_are_found_and_counted() {
    in_workshop(async |workshop| {
        let _worker = workshop.worker(Registry::builtin(), quick()).await;
        let mut long = Vec::new();
        for _ in 0..3 {
            long.push(workshop.enqueue(noop(json!({"sleep_ms": 600_000}))).await);
        }
        for id in &long {
            workshop.until(*id, "running").await;
        }
        let short = workshop.enqueue(noop(json!({}))).await;
        workshop.finished(short).await;
        let mut connection = workshop.database.connection().await;
        let filter = TaskFilter { status: Some(Status::Running), ..TaskFilter::default() };
        let found = tasks::page(&mut connection, Reach::All, &filter, None, 10).await.unwrap();
        long.reverse();
        assert_eq!(found.iter().map(|task| task.id).collect::<Vec<_>>(), long);
        let depths = tasks::depths(&mut connection).await.unwrap();
        let running: Vec<u64> = depths.counts.iter().map(|count| count.count).collect();
        assert_eq!((running, depths.counts[0].status), (vec![3], Status::Running));
    });
}

#[test]
fn a_claim_outlives_a_rescue_that_could_not_reach_all_of_it() {
    in_workshop(async |workshop| {
        let mut connection = workshop.database.connection().await;
        for _ in 0..2 {
            workshop.enqueue(noop(json!({}))).await;
        }
        let (queues, hour) = (["default".to_owned()], Duration::from_secs(3_600));
        let worker = queue::register(&mut connection, ("h", 1), &["noop"], &queues, hour).await.unwrap();
        let claimed =
            queue::claim(&mut connection, worker, Lease::draw(), "default", &["noop"], 10).await.unwrap();
        let [first, second] = claimed.iter().map(Claim::leased).collect::<Vec<_>>()[..] else {
            panic!("two")
        };
        queue::deregister(&mut connection, worker).await.unwrap();
        let mut busy = workshop.database.connection().await;
        let hold = format!("begin; select from tasks where id = '{}' for update", first.0);
        busy.batch_execute(&hold).await.unwrap();
        assert_eq!(queue::rescue(&mut connection, 10).await.unwrap(), [(second.0, Status::Retrying)]);
        busy.batch_execute("commit").await.unwrap();
        assert_eq!(queue::rescue(&mut connection, 10).await.unwrap(), [(first.0, Status::Retrying)]);
        assert!(workshop.rows("select 1 from task_claims").await.is_empty());
    });
}
