//! No owner holds all slots while others wait, and the service's own work waits for nobody.

use std::time::{Duration, Instant};

use serde_json::json;
use starter::{
    actors::worker::Settings,
    domain::{TaskId, UserId, queue::SERVICE_QUEUE, task::NewTask},
    tasks::Registry,
};

use super::workshop::{PATIENCE, Workshop, in_workshop, noop, quick};
use crate::support::eventually;

const DAY_MS: u64 = 86_400_000;

fn of(owner: UserId, sleep_ms: u64) -> NewTask {
    NewTask { created_by: Some(owner), timeout_secs: 86_400, ..noop(json!({ "sleep_ms": sleep_ms })) }
}

async fn count(workshop: &Workshop, owner: UserId, what: &str) -> i64 {
    let text = format!("select count(*) from tasks where created_by = '{owner}' and {what}");
    workshop.database.count(&text).await
}

async fn enqueue_all(workshop: &Workshop, tasks: Vec<NewTask>) -> Vec<TaskId> {
    let ids = tasks.iter().map(|task| task.id).collect();
    let mut connection = workshop.database.connection().await;
    starter::db::tasks::insert(&mut connection, tasks).await.unwrap();
    ids
}

fn slots(concurrency: usize) -> Settings {
    Settings { concurrency, ..quick() }
}

#[test]
fn tasks_of_a_day_in_all_slots_hold_nobody_else_up() {
    in_workshop(async |workshop| {
        let [alice, bob] = [workshop.database.user("alice").await, workshop.database.user("bob").await];
        let worker = workshop.worker(Registry::builtin(), slots(8)).await;
        let long = (0..200).map(|_| NewTask { priority: 100, ..of(alice, DAY_MS) }).collect();
        enqueue_all(&workshop, long).await;
        eventually(PATIENCE, async || worker.shift.standing().running == 8).await;

        let (his, nobodys) = (workshop.enqueue(of(bob, 0)).await, workshop.enqueue(noop(json!({}))).await);
        for id in [his, nobodys] {
            assert_eq!(workshop.finished(id).await["status"], "succeeded");
        }
        // What runs is not interrupted for that, and nothing of hers begins in addition.
        assert_eq!(worker.shift.standing().running, 8);
        assert_eq!(workshop.database.count("select count(*) from task_attempts").await, 0);
        assert_eq!(count(&workshop, alice, "finished_at is null").await, 200);
    });
}

#[test]
fn one_slot_is_enough_for_two_owners_and_full_slots_of_many_are_for_a_newcomer_too() {
    in_workshop(async |workshop| {
        let owners = ["alice", "bob", "carol"].map(|name| workshop.database.user(name));
        let owners = futures_util::future::join_all(owners).await;
        let worker = workshop.worker(Registry::builtin(), slots(1)).await;
        workshop.enqueue(of(owners[0], DAY_MS)).await;
        eventually(PATIENCE, async || worker.shift.standing().running == 1).await;
        let second = workshop.enqueue(of(owners[1], 0)).await;
        assert_eq!(workshop.finished(second).await["status"], "succeeded");
        worker.shift.drain(Duration::ZERO).await;

        let worker = workshop.worker(Registry::builtin(), slots(4)).await;
        for owner in &owners[..2] {
            enqueue_all(&workshop, (0..20).map(|_| of(*owner, DAY_MS)).collect()).await;
        }
        eventually(PATIENCE, async || worker.shift.standing().running >= 4).await;
        let third = workshop.enqueue(of(owners[2], 0)).await;
        assert_eq!(workshop.finished(third).await["status"], "succeeded");
        assert!(worker.shift.standing().running <= 8);
    });
}

#[test]
fn a_long_line_of_one_owner_is_passed_by_the_tasks_of_others() {
    in_workshop(async |workshop| {
        let [alice, bob] = [workshop.database.user("alice").await, workshop.database.user("bob").await];
        for sleep_ms in [0, 20] {
            workshop.database.sql(&format!(
                "insert into tasks (id, task_type, max_attempts, timeout_secs, created_by, payload, run_at)
                 select gen_random_uuid(), 'noop', 3, 60, '{alice}', '{{\"sleep_ms\": {sleep_ms}}}', now() - interval '1 h'
                 from generate_series(1, 30000)")).await;
            let worker = workshop.worker(Registry::builtin(), slots(8)).await;
            eventually(PATIENCE, async || count(&workshop, alice, "status = 'succeeded'").await > 0).await;
            let his = enqueue_all(&workshop, (0..50).map(|_| of(bob, sleep_ms)).collect()).await;
            for id in his {
                workshop.finished(id).await;
            }
            let left = count(&workshop, alice, "status = 'pending'").await;
            assert!(left > 1_000, "bob's were behind all but {left} of hers");
            // And both go on: nobody is shut out by those who pass the line.
            let done = count(&workshop, alice, "status = 'succeeded'").await;
            eventually(PATIENCE, async || count(&workshop, alice, "status = 'succeeded'").await > done).await;
            worker.shift.drain(Duration::ZERO).await;
            workshop.database.sql("delete from tasks").await;
        }
    });
}

#[test]
fn what_waits_in_line_behind_tasks_of_a_day_is_claimed_past_them() {
    in_workshop(async |workshop| {
        let [alice, bob] = [workshop.database.user("alice").await, workshop.database.user("bob").await];
        // So many that end at once that more is claimed ahead; bob's are in the same claim.
        let mut tasks: Vec<NewTask> = (0..400).map(|_| of(alice, 0)).collect();
        tasks.extend((0..50).map(|_| of(alice, DAY_MS)));
        tasks.extend((0..3).map(|_| of(bob, 0)));
        let ids = enqueue_all(&workshop, tasks).await;
        let worker = workshop.worker(Registry::builtin(), slots(8)).await;
        for id in &ids[450..] {
            assert_eq!(workshop.finished(*id).await["status"], "succeeded");
        }
        assert!(worker.shift.standing().running <= 12);
    });
}

#[test]
fn the_services_own_work_is_done_by_every_worker_though_all_slots_are_taken() {
    in_workshop(async |workshop| {
        let elsewhere = Settings { queues: vec!["elsewhere".into()], ..slots(4) };
        let worker = workshop.worker(Registry::builtin(), elsewhere).await;
        let long = |_| NewTask { queue: "elsewhere".into(), ..noop(json!({ "sleep_ms": DAY_MS })) };
        enqueue_all(&workshop, (0..20).map(long).collect()).await;
        eventually(PATIENCE, async || worker.shift.standing().running == 4).await;

        for _ in 0..3 {
            let own = NewTask { queue: SERVICE_QUEUE.into(), ..noop(json!({ "fail_times": 1 })) };
            let own = workshop.enqueue(own).await;
            assert_eq!(workshop.finished(own).await["status"], "succeeded");
        }
        assert_eq!(worker.shift.standing().running, 4);
        let served = workshop.rows("select queues from workers").await.remove(0);
        assert_eq!(served["queues"], json!(["elsewhere", SERVICE_QUEUE]));
    });
}

#[test]
fn the_others_get_no_more_than_their_own_share() {
    in_workshop(async |workshop| {
        let [alice, bob] = [workshop.database.user("alice").await, workshop.database.user("bob").await];
        let worker = workshop.worker(Registry::builtin(), slots(8)).await;
        for owner in [alice, bob] {
            enqueue_all(&workshop, (0..100).map(|_| of(owner, DAY_MS)).collect()).await;
            let held = if owner == alice { 8 } else { 4 };
            let running = "status = 'running'";
            eventually(PATIENCE, async || count(&workshop, owner, running).await == held).await;
        }
        assert_eq!(worker.shift.standing().running, 12);
    });
}

#[test]
fn an_owner_alone_is_held_up_by_no_look_for_others() {
    in_workshop(async |workshop| {
        let alice = workshop.database.user("alice").await;
        enqueue_all(&workshop, (0..5_000).map(|_| of(alice, 0)).collect()).await;
        let began = Instant::now();
        let worker = workshop.worker(Registry::builtin(), slots(8)).await;
        eventually(PATIENCE * 3, async || worker.shift.standing().ended == 5_000).await;
        worker.shift.drain(Duration::from_secs(5)).await;
        let took = i64::try_from(began.elapsed().as_millis()).unwrap();

        // Five looks a second, which find no tasks of hers.
        let scans = "select coalesce(sum(idx_scan), 0)::int8 from pg_stat_user_indexes where indexrelname = 'tasks_due_of_owner'";
        let scans = workshop.database.count(scans).await;
        assert!(scans <= 10 * (took / 200 + 2), "{scans} scans in {took} ms");
    });
}
