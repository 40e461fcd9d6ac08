//! Users who are deactivated or deleted leave nothing that runs.

use std::time::Duration;

use serde_json::json;
use starter::{
    actors::maintenance::Upkeep,
    domain::{UserId, task::NewTask},
    tasks::Registry,
};

use crate::{
    support::eventually,
    worker::workshop::{PATIENCE, Workshop, in_workshop, noop, quick, upkeep_settings},
};

fn long(owner: UserId) -> NewTask {
    NewTask { created_by: Some(owner), timeout_secs: 86_400, ..noop(json!({ "sleep_ms": 86_400_000 })) }
}

async fn fill(workshop: &Workshop, owner: UserId) {
    let mut tasks: Vec<NewTask> = (0..1_500).map(|_| long(owner)).collect();
    tasks.push(NewTask { when: starter::domain::task::When::After(3_600.0), ..long(owner) });
    starter::db::tasks::insert(&mut workshop.database.connection().await, tasks).await.unwrap();
    workshop.database.sql(&format!(
        "insert into tasks (id, task_type, status, stage, max_attempts, timeout_secs, created_by, finished_at)
         select gen_random_uuid(), 'noop', 'succeeded', null, 3, 1, '{owner}', now() from generate_series(1, 2500)")).await;
}

async fn count(workshop: &Workshop, what: &str) -> i64 {
    workshop.database.count(&format!("select count(*) from tasks where {what}")).await
}

#[test]
fn the_tasks_of_a_user_who_is_deactivated_or_deleted_are_cancelled_and_their_slots_free() {
    in_workshop(async |workshop| {
        let worker = workshop.worker(Registry::builtin(), quick()).await;
        let _maintenance = workshop.maintenance().await;
        let other = workshop.database.user("other").await;
        let kept = workshop.enqueue(NewTask { queue: "elsewhere".into(), ..long(other) }).await;
        for act in ["update users set is_active = false where", "delete from users where"] {
            let bob = workshop.database.user("bob").await;
            fill(&workshop, bob).await;
            eventually(PATIENCE, async || worker.shift.standing().running == 8).await;

            workshop.database.sql(&format!("{act} id = '{bob}'")).await;
            eventually(PATIENCE, async || worker.shift.standing().running == 0).await;
            eventually(PATIENCE, async || {
                count(&workshop, "finished_at is null and queue = 'default'").await == 0
            })
            .await;
            assert_eq!(count(&workshop, "status = 'cancelled'").await, 1_501);
            if act.starts_with("delete") {
                eventually(PATIENCE, async || count(&workshop, &format!("created_by = '{bob}'")).await == 0)
                    .await;
                assert_eq!(count(&workshop, "created_by is null").await, 4_001);
            } else {
                assert_eq!(count(&workshop, &format!("created_by = '{bob}'")).await, 4_001);
            }
            workshop.database.sql("delete from tasks where queue = 'default'").await;
            workshop.database.sql("update users set username = 'x', username_canon = 'x', email = 'x@x.x', email_canon = 'x@x.x' where username = 'bob'").await;
        }
        assert_eq!(workshop.row(kept).await["status"], "pending");
    });
}

#[test]
fn what_a_request_enqueues_that_was_under_way_is_cancelled_too_and_nothing_after_a_return() {
    in_workshop(async |workshop| {
        let upkeep = Upkeep::new(workshop.pool().await, Registry::builtin(), None, upkeep_settings());
        let clear = async || while upkeep.clear_up_after_users().await.unwrap() {};
        let bob = workshop.database.user("bob").await;
        workshop.database.sql(&format!("update users set is_active = false where id = '{bob}'")).await;
        clear().await;
        let late = workshop.enqueue(long(bob)).await;
        clear().await;
        assert_eq!(workshop.row(late).await["status"], "cancelled");
        assert_eq!(workshop.database.count("select count(*) from departed_users").await, 1);

        workshop.database.sql(&format!("update users set is_active = true where id = '{bob}'")).await;
        let new = workshop.enqueue(long(bob)).await;
        clear().await;
        assert_eq!(workshop.row(new).await["status"], "pending");
        assert_eq!(workshop.database.count("select count(*) from departed_users").await, 0);

        // A task has an owner who is there.
        workshop.database.sql(&format!("delete from users where id = '{bob}'")).await;
        let mut connection = workshop.database.connection().await;
        let nobodys = starter::db::tasks::insert(&mut connection, vec![long(bob)]).await;
        assert!(matches!(nobodys, Err(starter::domain::Error::Unauthenticated { .. })), "{nobodys:?}");
        clear().await;
        assert_eq!(
            workshop.database.count("select count(*) from tasks where created_by is not null").await,
            0
        );
    });
}

#[test]
fn a_process_that_ends_leaves_the_rest_to_the_others() {
    in_workshop(async |workshop| {
        let bob = workshop.database.user("bob").await;
        fill(&workshop, bob).await;
        let first = Upkeep::new(workshop.pool().await, Registry::builtin(), None, upkeep_settings());
        workshop.database.sql(&format!("delete from users where id = '{bob}'")).await;
        let some = tokio::time::timeout(Duration::from_millis(1), first.clear_up_after_users()).await;
        drop((some, first));
        let _maintenance = workshop.maintenance().await;
        eventually(PATIENCE, async || {
            count(&workshop, "finished_at is null or created_by is not null").await == 0
        })
        .await;
    });
}
