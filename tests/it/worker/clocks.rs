//! Clocks that jump, or were ahead: what a lease and a planned time are worth then.

use std::time::Duration;

use serde_json::{Value, json};
use starter::{actors::worker::Settings, db::queue, domain::attempt::Lease, tasks::Registry};

use super::workshop::{PATIENCE, in_workshop, noop, quick};
use crate::support::eventually;

#[test]
fn a_worker_that_lives_keeps_its_tasks_though_the_clock_of_the_database_says_that_its_lease_is_over() {
    in_workshop(async |workshop| {
        let overdue = "
            create function overdue() returns trigger language plpgsql as $$
            begin new.lease_expires_at = now() - interval '1 hour'; return new; end $$;
            create trigger overdue before insert or update on workers for each row execute function overdue()";
        workshop.database.sql(overdue).await;
        let _maintenance = workshop.maintenance().await;
        let short = Settings { lease: Duration::from_secs(3), ..quick() };
        let _worker = workshop.worker(Registry::builtin(), short).await;
        // Longer than a lease.
        let id = workshop.enqueue(noop(json!({ "sleep_ms": 4_500 }))).await;
        let row = workshop.finished(id).await;
        assert_eq!(
            (&row["status"], &row["attempt"], &row["crashes"]),
            (&json!("succeeded"), &json!(1), &json!(0))
        );
    });
}

#[test]
fn a_worker_that_died_while_the_clock_was_ahead_is_given_up_all_the_same() {
    in_workshop(async |workshop| {
        let id = workshop.enqueue(noop(json!({}))).await;
        let mut connection = workshop.database.connection().await;
        let (queues, lease) = (["default".to_owned()], Duration::from_millis(500));
        let worker = queue::register(&mut connection, ("gone", 1), &["noop"], &queues, lease).await.unwrap();
        queue::claim(&mut connection, worker, Lease::draw(), "default", &["noop"], 100).await.unwrap();
        workshop.database.sql("update workers set lease_expires_at = now() + interval '1 day'").await;
        let _maintenance = workshop.maintenance().await;
        assert_eq!(workshop.until(id, "retrying").await["crashes"], 1);
    });
}

/// Seconds from now on.
async fn ahead(workshop: &super::workshop::Workshop, column: &str, id: &str) -> f64 {
    let table = if column == "run_at" { "tasks" } else { "schedules" };
    let query = format!(
        "select extract(epoch from {column} - now())::float8 as secs from {table}
         where id = '018f3e2a-0000-7000-8000-00000000000{id}'"
    );
    workshop.rows(&query).await[0]["secs"].as_f64().unwrap()
}

#[test]
fn what_a_clock_that_was_ahead_planned_is_planned_anew_when_it_is_put_right() {
    in_workshop(async |workshop| {
        let planned = "
            insert into tasks (id, task_type, queue, status, stage, attempt, max_attempts, timeout_secs, updated_at, run_at)
            select ('018f3e2a-0000-7000-8000-00000000000' || n)::uuid, 'noop', 'q', status, stage, attempt, 5, 60,
                now() + updated_at::interval, now() + run_at::interval
            from (values
                (1, 'pending', 'due', 0, '1 h', '1 h'),
                (2, 'retrying', 'waiting', 1, '1 h', '1 h 5 min'),
                (3, 'scheduled', 'waiting', 2, '1 h', '1 h 7 min'),
                (4, 'scheduled', 'waiting', 0, '1 h', '2 h'),
                (5, 'retrying', 'waiting', 1, '-1 s', '2 h')) t (n, status, stage, attempt, updated_at, run_at);
            insert into schedules (id, name, cron, task_type, enabled, next_run_at)
            select ('018f3e2a-0000-7000-8000-00000000000' || n)::uuid, 's' || n, cron, 'noop', n < 9,
                now() + interval '1 h 10 min'
            from (values (7, '*/5 * * * *'), (8, '0 0 1 1 *'), (9, '*/5 * * * *')) s (n, cron);
            update database_writes set written_at = now() + interval '1 hour'";
        workshop.database.sql(planned).await;
        let _maintenance = workshop.maintenance().await;
        eventually(PATIENCE, async || {
            let found = workshop.rows("select written_at < now() as back from database_writes").await;
            found[0]["back"] == Value::Bool(true)
        })
        .await;

        // Due now; then what was tried waits for as long as it was to wait after that.
        assert!(ahead(&workshop, "run_at", "1").await <= 0.0);
        for (task, minutes) in [("2", 5.0), ("3", 7.0)] {
            let secs = ahead(&workshop, "run_at", task).await;
            assert!(secs <= minutes * 60.0 && secs > minutes * 60.0 - 50.0, "{task}: {secs}");
        }
        // Somebody may have named this time; and this was planned by a clock that was right.
        for task in ["4", "5"] {
            assert!(ahead(&workshop, "run_at", task).await > 7_000.0, "{task}");
        }
        assert!(ahead(&workshop, "next_run_at", "7").await <= 300.0);
        // Its next tick comes later than that, and the other is disabled.
        for schedule in ["8", "9"] {
            assert!(ahead(&workshop, "next_run_at", schedule).await > 4_000.0, "{schedule}");
        }
    });
}
