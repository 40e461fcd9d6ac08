//! Maintenance: rescues, schedules, deleting what is old.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use starter::{
    actors::maintenance::{Settings, Upkeep},
    db::queue,
    domain::attempt::Lease,
    tasks::{Registry, Services, files::Files},
};

use super::workshop::{PATIENCE, Workshop, in_workshop, noop, quick, task, upkeep_settings};
use crate::support::eventually;

async fn upkeep(workshop: &Workshop, files: Option<Files>) -> Upkeep {
    Upkeep::new(workshop.pool().await, Registry::builtin(), files, upkeep_settings())
}

/// A worker that claims everything and is never heard of again.
async fn claim_and_die(workshop: &Workshop) {
    let mut connection = workshop.database.connection().await;
    let queues = ["default".to_owned()];
    let lease = Duration::from_secs(2);
    let id = queue::register(&mut connection, ("gone", 1), &["noop"], &queues, lease).await.unwrap();
    let claimed = queue::claim(&mut connection, id, Lease::draw(), "default", &["noop"], 100).await.unwrap();
    assert!(!claimed.is_empty());
    workshop.database.sql(&format!("update workers set lease_expires_at = now() where id = {id}")).await;
}

#[test]
fn a_lost_workers_task_is_run_by_another() {
    in_workshop(async |workshop| {
        let id = workshop.enqueue(noop(json!({}))).await;
        claim_and_die(&workshop).await;
        let _maintenance = workshop.maintenance().await;
        let _worker = workshop.worker(Registry::builtin(), quick()).await;
        let row = workshop.finished(id).await;
        assert_eq!(
            (&row["status"], &row["attempt"], &row["crashes"]),
            (&json!("succeeded"), &json!(2), &json!(1))
        );
        assert_eq!(workshop.attempts(id).await[0]["outcome"], "lost");
    });
}

#[test]
fn a_task_that_outlives_three_workers_is_poison() {
    in_workshop(async |workshop| {
        let mut poison = noop(json!({}));
        poison.max_attempts = 100;
        let id = workshop.enqueue(poison).await;
        let _maintenance = workshop.maintenance().await;
        for _ in 0..3 {
            workshop.database.sql("update tasks set run_at = now() where status = 'retrying'").await;
            workshop.until(id, "pending").await;
            claim_and_die(&workshop).await;
            eventually(PATIENCE, async || workshop.row(id).await["status"] != "running").await;
        }
        let row = workshop.row(id).await;
        assert_eq!((&row["status"], &row["crashes"]), (&json!("failed"), &json!(3)));
        assert_eq!(workshop.attempts(id).await.len(), 3);
    });
}

#[test]
fn a_lost_workers_task_that_was_called_off_is_cancelled_and_one_without_attempts_fails() {
    in_workshop(async |workshop| {
        let called_off = workshop.enqueue(noop(json!({}))).await;
        let mut last = noop(json!({}));
        last.max_attempts = 1;
        let last = workshop.enqueue(last).await;
        claim_and_die(&workshop).await;
        workshop.call_off(called_off).await;
        let _maintenance = workshop.maintenance().await;
        assert_eq!(workshop.finished(called_off).await["status"], "cancelled");
        assert_eq!(workshop.finished(last).await["status"], "failed");
    });
}

#[test]
fn a_task_of_a_queue_that_nobody_serves_becomes_pending_all_the_same() {
    in_workshop(async |workshop| {
        let mut lonely = noop(json!({}));
        lonely.queue = "lonely".into();
        lonely.when = starter::domain::task::When::After(0.1);
        let id = workshop.enqueue(lonely).await;
        assert_eq!(workshop.row(id).await["status"], "scheduled");
        let _maintenance = workshop.maintenance().await;
        workshop.until(id, "pending").await;
    });
}

/// Hourly, and never within half an hour from now.
async fn add_schedule(workshop: &Workshop, name: &str, task_type: &str, missed: &str, next: &str) {
    let cron = "extract(minute from now() at time zone 'utc' + interval '30 minutes') || ' * * * *'";
    let values = format!("gen_random_uuid(), '{name}', {cron}, '{task_type}', '{missed}', {next}");
    let columns = "id, name, cron, task_type, missed, next_run_at";
    workshop.database.sql(&format!("insert into schedules ({columns}) values ({values})")).await;
}

#[test]
fn each_tick_makes_one_task_with_any_number_of_processes() {
    in_workshop(async |workshop| {
        workshop
            .database
            .sql(
                "insert into schedules (id, name, cron, task_type, payload, next_run_at)
                 values (gen_random_uuid(), 'quick', '* * * * * *', 'noop', '{\"sleep_ms\": 1}',
                     date_trunc('second', now() - interval '5 s'))",
            )
            .await;
        let mut crew = Vec::new();
        for _ in 0..4 {
            crew.push(workshop.maintenance().await);
        }
        let made = "select run_at, payload, schedule_id from tasks order by run_at";
        eventually(PATIENCE, async || workshop.rows(made).await.len() >= 9).await;
        let made = workshop.rows(made).await;
        let mut ticks: Vec<_> = made.iter().map(|row| row["run_at"].as_str().unwrap().to_owned()).collect();
        ticks.dedup();
        assert_eq!(ticks.len(), made.len(), "{ticks:?}");
        // Nor is one left out, though the first were late.
        let gaps = "
            select 1 from (select run_at - lag(run_at) over (order by run_at) as after from tasks) ticks
            where after <> interval '1 s'";
        assert!(workshop.rows(gaps).await.is_empty(), "{ticks:?}");
        assert!(made.iter().all(|row| row["payload"]["sleep_ms"] == 1 && row["schedule_id"].is_string()));
        drop(crew);
    });
}

#[test]
fn missed_ticks_are_left_out_or_made_up_for_once() {
    in_workshop(async |workshop| {
        add_schedule(&workshop, "skips", "noop", "skip", "now() - interval '1 day'").await;
        add_schedule(&workshop, "makes up", "noop", "run_once", "now() - interval '1 day'").await;
        add_schedule(&workshop, "by plain SQL", "noop", "skip", "null").await;
        add_schedule(&workshop, "of another version", "of.tomorrow", "skip", "now() - interval '1 s'").await;
        // Missed for a day, but its latest tick is not a minute old.
        add_schedule(&workshop, "each minute", "noop", "skip", "now() - interval '1 day'").await;
        workshop.database.sql("update schedules set cron = '* * * * *' where name = 'each minute'").await;
        let _maintenance = workshop.maintenance().await;
        let ahead = "select name from schedules where next_run_at > now()";
        eventually(PATIENCE, async || workshop.rows(ahead).await.len() == 4).await;
        let made =
            "select distinct s.name from tasks t join schedules s on s.id = t.schedule_id order by name";
        assert_eq!(workshop.rows(made).await, [json!({"name": "each minute"}), json!({"name": "makes up"})]);
        // For the last of them.
        let old = "select 1 from tasks where run_at < now() - interval '1 hour'";
        assert!(workshop.rows(old).await.is_empty());
    });
}

#[test]
fn schedules_that_are_over_are_disabled_with_the_reason_and_stop_no_other() {
    in_workshop(async |workshop| {
        // More than one look takes, without a next tick and with a last one; and one with a tick each second.
        workshop
            .database
            .sql(
                "insert into schedules (id, name, cron, task_type, next_run_at)
                 select gen_random_uuid(), 'over ' || n, '0 0 1 1 * * 2020', 'noop',
                     case when n % 2 = 0 then now() - interval '1 s' end
                 from generate_series(1, 250) n;
                 insert into schedules (id, name, cron, task_type, next_run_at) values
                     (gen_random_uuid(), 'nowhere', '0 3 * * *', 'noop', null),
                     (gen_random_uuid(), 'quick', '* * * * * *', 'noop', date_trunc('second', now()));
                 update schedules set timezone = 'Mars/Olympus' where name = 'nowhere'",
            )
            .await;
        let _maintenance = workshop.maintenance().await;

        let over = "select name, disabled_reason from schedules
            where not enabled and next_run_at is null and disabled_reason is not null order by name";
        eventually(PATIENCE, async || workshop.rows(over).await.len() == 251).await;
        let quick = "select 1 from tasks t join schedules s on s.id = t.schedule_id where s.name = 'quick'";
        eventually(PATIENCE, async || workshop.rows(quick).await.len() >= 3).await;

        let disabled = workshop.rows(over).await;
        assert!(disabled[0]["disabled_reason"].as_str().unwrap().starts_with("timezone: "), "{disabled:?}");
        assert!(disabled[1]["disabled_reason"].as_str().unwrap().starts_with("cron: "), "{disabled:?}");
        // Each said once, and the tick that was planned was not lost.
        let said = "select 1 from audit_log where action = 'schedule.disable' and actor_kind = 'system'";
        assert_eq!(workshop.rows(said).await.len(), 251);
        let last =
            "select 1 from tasks t join schedules s on s.id = t.schedule_id where s.name like 'over %'";
        assert_eq!(workshop.rows(last).await.len(), 125);
    });
}

#[test]
fn a_schedule_whose_task_cannot_be_made_stops_no_other() {
    in_workshop(async |workshop| {
        workshop
            .database
            .sql(
                "create function refuse() returns trigger language plpgsql as $$
                 begin if new.queue = 'poison' then raise 'no'; end if; return new; end $$;
                 create trigger refuse before insert on tasks for each row execute function refuse()",
            )
            .await;
        add_schedule(&workshop, "poisoned", "noop", "skip", "now() - interval '2 s'").await;
        workshop.database.sql("update schedules set queue = 'poison'").await;
        add_schedule(&workshop, "healthy", "noop", "skip", "now() - interval '1 s'").await;
        let _maintenance = workshop.maintenance().await;

        let made = "select s.name from tasks t join schedules s on s.id = t.schedule_id";
        eventually(PATIENCE, async || workshop.rows(made).await == [json!({"name": "healthy"})]).await;
        // Its tick is left out, so that it is not tried for ever.
        let moved_on = "select name from schedules where next_run_at > now() and enabled";
        eventually(PATIENCE, async || workshop.rows(moved_on).await.len() == 2).await;
    });
}

#[test]
fn two_who_fire_the_same_tick_make_one_task() {
    in_workshop(async |workshop| {
        add_schedule(&workshop, "tick", "noop", "skip", "now()").await;
        let mut connection = workshop.database.connection().await;
        let due = queue::due_ticks(&mut connection, &["noop"], 10).await.unwrap().remove(0);
        let next = Some(due.now + chrono::TimeDelta::hours(1));
        let firing = queue::Firing { next, tick: due.tick, max_attempts: 5, timeout_secs: 60 };
        assert!(queue::fire(&mut connection, &due, firing).await.unwrap().is_some());
        assert!(queue::fire(&mut connection, &due, firing).await.unwrap().is_none());
        // Somebody moves it back while the first task waits.
        workshop.database.sql("update schedules set next_run_at = last_run_at").await;
        assert!(queue::fire(&mut connection, &due, firing).await.unwrap().is_none());
        assert_eq!(workshop.rows("select 1 from tasks").await.len(), 1);
    });
}

#[test]
fn what_is_old_is_deleted_and_nothing_else() {
    in_workshop(async |workshop| {
        let insert =
            "insert into tasks (id, task_type, max_attempts, timeout_secs, status, stage, finished_at)
            select gen_random_uuid(), 'noop', 1, 1, 'failed', 'failed', now() - interval '1 hour' * n";
        workshop.database.sql(&format!("{insert} from generate_series(1, 48) n")).await;
        workshop
            .database
            .sql(
                "insert into task_attempts (task_id, attempt, worker_id, started_at, outcome)
                 select id, 1, 1, now(), 'failed' from tasks;
                 insert into task_events (task_ids, task_types, queues, statuses, attempts, progress, owners, at)
                 select '{}', '{}', '{}', '{}', '{}', '{}', '{}', now() - interval '1 minute' * n * 40
                 from generate_series(1, 2) n;
                 insert into audit_log (id, actor_kind, action, outcome, at)
                 select gen_random_uuid(), 'system', 'x', 'success', now() - interval '13 hours' * n
                 from generate_series(1, 2) n;",
            )
            .await;
        let alive = workshop.enqueue(noop(json!({}))).await;
        let directory = tempfile::tempdir().unwrap();
        let files = Files::new(directory.path().to_owned());
        files.begin(alive, 1).await.unwrap().finish("x.csv".into()).await.unwrap();
        std::fs::write(directory.path().join("somebody's own"), "x").unwrap();
        let upkeep = upkeep(&workshop, Some(files)).await;
        let swept = upkeep.sweep_all().await.unwrap();
        assert_eq!((swept.tasks, swept.task_events, swept.audit_log, swept.files), (25, 1, 1, 0));
        assert_eq!(workshop.rows("select 1 from tasks").await.len(), 24);
        assert_eq!(workshop.rows("select 1 from task_attempts").await.len(), 23);
        let short = Settings { tasks: Duration::ZERO, ..upkeep_settings() };
        let files = Some(Files::new(directory.path().to_owned()));
        let upkeep = Upkeep::new(workshop.pool().await, Registry::builtin(), files, short);
        assert_eq!(upkeep.sweep_all().await.unwrap().files, 1);
        assert!(directory.path().join("somebody's own").exists());
    });
}

#[test]
fn nobody_has_to_order_a_sweep() {
    in_workshop(async |workshop| {
        workshop
            .database
            .sql(
                "insert into audit_log (id, actor_kind, action, outcome, at) values
                     (gen_random_uuid(), 'system', 'old', 'success', now() - interval '25 hours'),
                     (gen_random_uuid(), 'system', 'new', 'success', now());
                 insert into tasks (id, task_type, max_attempts, timeout_secs, status, stage, finished_at) values
                     (gen_random_uuid(), 'noop', 1, 1, 'failed', 'failed', now() - interval '25 hours')",
            )
            .await;
        let often = Settings { sweep: Duration::from_millis(50), ..upkeep_settings() };
        let upkeep = Upkeep::new(workshop.pool().await, Registry::builtin(), None, often);
        let _maintenance = workshop.maintenance_on(upkeep);
        let left = "select action as it from audit_log union all select id::text from tasks";
        eventually(PATIENCE, async || workshop.rows(left).await == [json!({"it": "new"})]).await;
    });
}

#[test]
fn a_sweep_can_be_ordered_as_a_task() {
    in_workshop(async |workshop| {
        let services = Services { sweeper: Arc::new(upkeep(&workshop, None).await), ..Services::default() };
        let _worker = workshop.worker_with(Registry::builtin(), quick(), Arc::new(services)).await;
        let id = workshop.enqueue(task("maintenance.sweep", json!({}))).await;
        assert_eq!(workshop.finished(id).await["result"]["tasks"], 0);
    });
}
