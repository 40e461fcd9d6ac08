//! Tasks that the database takes for a worker's own and that the worker does not know of: they run again, also while it
//! lives.

use std::time::Duration;

use serde_json::json;
use starter::{
    actors::worker::{Drain, Settings},
    db::Target,
    domain::task::{NewTask, When},
    tasks::Registry,
};

use super::workshop::{PATIENCE, Workshop, in_workshop, noop, quick};
use crate::support::{eventually, proxy::Proxy};

/// Ends the connection of whoever gives a task back, the first times.
const NO_WAY_BACK: &str = "
    create sequence failed_returns;
    create function no_way_back() returns trigger language plpgsql as $$
    begin
        if nextval('failed_returns') <= 3 then perform pg_terminate_backend(pg_backend_pid()); end if;
        return new;
    end $$;
    create trigger no_way_back before update on tasks for each row
        when (old.status = 'running' and new.status = 'pending') execute function no_way_back()";

/// Makes the next claim slow.
const SLOW_CLAIM: &str = "
    create sequence slow_claims;
    create function slow_claim() returns trigger language plpgsql as $$
    begin
        if nextval('slow_claims') = 1 then perform pg_sleep(1.5); end if;
        return new;
    end $$;
    create trigger slow_claim before update on tasks for each row
        when (old.status = 'pending' and new.status = 'running') execute function slow_claim()";

fn settings() -> Settings {
    Settings { lease: Duration::from_secs(6), ..quick() }
}

async fn in_status(workshop: &Workshop, status: &str) -> usize {
    workshop.rows(&format!("select 1 from tasks where status = '{status}'")).await.len()
}

/// Many quick tasks, so that some are claimed ahead; then as many long ones as run at once; then some that have to wait.
async fn enqueue_a_jam(workshop: &Workshop) {
    let of = |priority, sleep_ms: u32, count: usize| {
        let task = move || NewTask { priority, ..noop(json!({ "sleep_ms": sleep_ms })) };
        std::iter::repeat_with(task).take(count)
    };
    let tasks = of(2, 1, 600).chain(of(1, 600_000, 8)).chain(of(0, 1, 400)).collect();
    starter::db::tasks::insert(&mut workshop.database.connection().await, tasks).await.unwrap();
}

#[test]
fn a_return_that_failed_is_made_again() {
    in_workshop(async |workshop| {
        workshop.database.sql(NO_WAY_BACK).await;
        enqueue_a_jam(&workshop).await;
        let _worker = workshop.worker(Registry::builtin(), settings()).await;
        let failed = "select 1 from failed_returns where last_value > 1";
        eventually(PATIENCE, async || !workshop.rows(failed).await.is_empty()).await;
        eventually(PATIENCE, async || in_status(&workshop, "running").await == 8).await;
        let odd = "select 1 from tasks where status = 'pending' and (attempt <> 0 or crashes <> 0)";
        assert!(workshop.rows(odd).await.is_empty());
    });
}

#[test]
fn what_had_not_begun_when_the_lease_was_lost_is_not_the_worse_for_it() {
    in_workshop(async |workshop| {
        enqueue_a_jam(&workshop).await;
        let worker = workshop.worker(Registry::builtin(), settings()).await;
        eventually(PATIENCE, async || {
            let standing = worker.shift.standing();
            standing.running == 8 && standing.waiting > 8
        })
        .await;
        workshop.database.sql("delete from workers").await;
        let orphans = "
            select 1 from tasks where status = 'running' and worker_id not in (select id from workers)";
        eventually(PATIENCE, async || {
            worker.shift.standing().leases_lost == 1 && workshop.rows(orphans).await.is_empty()
        })
        .await;
        // Those that had begun were interrupted, which is written down; it is not their fault either.
        let odd = "select 1 from tasks where crashes <> 0 or retry_count <> 0";
        assert!(workshop.rows(odd).await.is_empty());
        let begun = "select 1 from tasks where status <> 'succeeded' and attempt > 0 and priority = 0";
        assert!(workshop.rows(begun).await.is_empty());
    });
}

#[test]
fn what_was_claimed_and_not_begun_can_be_called_off() {
    in_workshop(async |workshop| {
        enqueue_a_jam(&workshop).await;
        let worker = workshop.worker(Registry::builtin(), settings()).await;
        let bell = worker.shift.bell();
        let call_off =
            "update tasks set cancel_requested_at = now() where status = 'running' and priority = 0";
        // By a second of waiting they would be back in the queue: then the next that are claimed.
        let cancelled = "select 1 from task_attempts where outcome = 'cancelled'";
        eventually(PATIENCE, async || {
            workshop.database.sql(call_off).await;
            bell.cancelled();
            !workshop.rows(cancelled).await.is_empty()
        })
        .await;
        let odd =
            "select 1 from tasks t join task_attempts a on a.task_id = t.id where t.status <> 'cancelled'";
        assert!(workshop.rows(odd).await.is_empty());
    });
}

#[test]
fn a_worker_that_stops_takes_nothing_along_though_a_return_failed() {
    in_workshop(async |workshop| {
        workshop.database.sql(NO_WAY_BACK).await;
        let worker = workshop.worker(Registry::builtin(), settings()).await;
        let ids = [workshop.enqueue(noop(json!({"sleep_ms": 600_000}))).await];
        workshop.until(ids[0], "running").await;
        // What a claim took whose answer never came.
        let stray = workshop.enqueue(NewTask { when: When::After(3_600.0), ..noop(json!({})) }).await;
        let take = format!(
            "update tasks set status = 'running', stage = null, lease = 7, attempt = 1, started_at = now(),
                worker_id = (select id from workers) where id = '{stray}';
            insert into task_claims (lease, worker_id, task_ids) select 7, id, array['{stray}'::uuid] from workers"
        );
        workshop.database.sql(&take).await;
        worker.live.ask(Drain { limit: Duration::ZERO }).await.unwrap();
        for id in [ids[0], stray] {
            let row = workshop.row(id).await;
            assert_eq!((&row["status"], &row["crashes"]), (&json!("pending"), &json!(0)), "{row}");
        }
    });
}

#[test]
fn a_claim_that_commits_after_its_worker_was_cut_off_is_undone() {
    in_workshop(async |workshop| {
        workshop.database.sql(SLOW_CLAIM).await;
        let proxy = Proxy::before(&workshop.database.url());
        let target = Target::parse(&proxy.url().into()).unwrap();
        let worker = workshop.worker_at(target, Registry::builtin(), settings()).await;
        let id = workshop.enqueue(noop(json!({}))).await;
        let sleeps =
            "select 1 from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'";
        eventually(PATIENCE, async || !workshop.rows(sleeps).await.is_empty()).await;
        proxy.cut();
        workshop.until(id, "running").await;
        let row = workshop.finished(id).await;
        assert_eq!(
            (&row["status"], &row["attempt"], &row["crashes"]),
            (&json!("succeeded"), &json!(1), &json!(0))
        );
        assert_eq!(worker.shift.standing().leases_lost, 0);
    });
}
