//! Which tasks of a lost worker had begun: only they lost an attempt.

use std::time::Duration;

use serde_json::{Value, json};
use starter::{
    actors::worker::Settings,
    db::{
        Plans,
        queue::{self, Places, Wanted},
    },
    domain::{attempt::Lease, task::NewTask},
    tasks::Registry,
};

use super::workshop::{PATIENCE, Workshop, in_workshop, noop, quick};
use crate::support::eventually;

const LOOK: &str = "select status, attempt, crashes, started_at is null as fresh, last_error,
    (select count(*) from task_attempts where task_id = id) as history from tasks order by priority desc";

fn lost(status: &str) -> Value {
    json!({"status": status, "attempt": 1, "crashes": 1, "fresh": false, "last_error": "its worker was lost", "history": 1})
}

fn untouched() -> Value {
    json!({"status": "pending", "attempt": 0, "crashes": 0, "fresh": true, "last_error": null, "history": 0})
}

async fn enqueue(workshop: &Workshop, priorities: std::ops::RangeInclusive<i16>) {
    for priority in priorities {
        workshop.enqueue(NewTask { priority, max_attempts: 1, ..noop(json!({})) }).await;
    }
}

#[test]
fn what_a_lost_worker_had_not_begun_goes_back_untouched() {
    in_workshop(async |workshop| {
        enqueue(&workshop, 1..=6).await;
        let mut connection = workshop.database.connection().await;
        let queues = ["default".to_owned()];
        let hour = Duration::from_secs(3_600);
        let worker = queue::register(&mut connection, ("h", 1), &["noop"], &queues, hour).await.unwrap();
        for (at_most, places) in
            [(2, Places { first: 1, begun_to: 1 }), (4, Places { first: 3, begun_to: 2 })]
        {
            let wanted = Wanted {
                queue: "default",
                task_types: &["noop"],
                limited: None,
                at_most,
                whence: None,
                places,
            };
            let lease = Lease::draw();
            let claimed =
                queue::claim_from(&mut connection, Plans::Fresh, worker, lease, wanted).await.unwrap();
            assert_eq!(claimed.len(), at_most);
        }
        assert!(queue::note_begun(&mut connection, worker, 4).await.unwrap());
        // An answer that was lost is asked for again, and what comes late takes nothing back.
        assert!(queue::note_begun(&mut connection, worker, 3).await.unwrap());
        // Nobody deregisters it: it is gone, however that came.
        workshop.database.sql("delete from workers").await;
        assert!(!queue::note_begun(&mut connection, worker, 5).await.unwrap());
        assert_eq!(queue::rescue(&mut connection, 10).await.unwrap().len(), 6);
        let (gone, back) = (lost("failed"), untouched());
        let expected = [&gone, &gone, &gone, &gone, &back, &back].map(Clone::clone);
        assert_eq!(workshop.rows(LOOK).await, expected);
        assert!(workshop.rows("select 1 from task_claims").await.is_empty());
    });
}

#[test]
fn what_a_worker_of_an_older_version_claimed_may_have_begun() {
    in_workshop(async |workshop| {
        enqueue(&workshop, 1..=1).await;
        workshop
            .database
            .sql(
                "update tasks set status = 'running', stage = null, lease = 7, attempt = 1, started_at = now(), worker_id = 1;
                 insert into task_claims (lease, worker_id, task_ids) select 7, 1, array_agg(id) from tasks",
            )
            .await;
        let mut connection = workshop.database.connection().await;
        queue::rescue(&mut connection, 10).await.unwrap();
        assert_eq!(workshop.rows(LOOK).await, [lost("failed")]);
    });
}

/// Quick tasks, so that some are claimed ahead; as many long ones as run at once; then some without another chance.
async fn enqueue_a_jam(workshop: &Workshop, slots: usize) {
    let of = |priority, sleep_ms: u32, count: usize| {
        let task = move || NewTask { priority, max_attempts: 1, ..noop(json!({ "sleep_ms": sleep_ms })) };
        std::iter::repeat_with(task).take(count)
    };
    let tasks = of(2, 1, 600).chain(of(1, 600_000, slots)).chain(of(0, 1, 400)).collect();
    starter::db::tasks::insert(&mut workshop.database.connection().await, tasks).await.unwrap();
}

#[test]
fn a_worker_notes_what_begins_and_nothing_else() {
    in_workshop(async |workshop| {
        let settings = Settings { lease: Duration::from_secs(6), ..quick() };
        enqueue_a_jam(&workshop, settings.concurrency).await;
        let slots = settings.concurrency;
        let worker = workshop.worker(Registry::builtin(), settings).await;
        // The quick ones are over, the long ones have all slots, and others wait there: for a second, then they go back.
        eventually(PATIENCE, async || {
            let standing = worker.shift.standing();
            standing.ended == 600 && standing.running == slots && standing.waiting > 0
        })
        .await;
        // What it would leave behind if it were killed now.
        let mut connection = workshop.database.connection().await;
        let dead = "begin; delete from workers";
        diesel_async::SimpleAsyncConnection::batch_execute(&mut connection, dead).await.unwrap();
        let rescued = queue::rescue(&mut connection, 100).await.unwrap();
        assert!(rescued.len() >= slots);
        let look = "select priority, status, attempt, crashes, count(*) from tasks
            where priority < 2 group by 1, 2, 3, 4 order by 1";
        let left = super::workshop::rows(&mut connection, look).await;
        let expected = [
            json!({"priority": 0, "status": "pending", "attempt": 0, "crashes": 0, "count": 400}),
            json!({"priority": 1, "status": "failed", "attempt": 1, "crashes": 1, "count": slots}),
        ];
        assert_eq!(left, expected);
    });
}
