//! Outcomes that come late: after a rescue, a retry by hand, another task under the same key, an outage.

use std::time::Duration;

use diesel_async::AsyncPgConnection;
use serde_json::json;
use starter::{
    actors::worker::Settings,
    db::{
        Target,
        queue::{self, Stopping},
        tasks,
    },
    domain::{
        Conflict, Error, Reach, TaskId,
        attempt::{Lease, Leased, Stopped, WorkerId},
        task::{NewTask, Status},
    },
    tasks::Registry,
};

use super::workshop::{PATIENCE, Workshop, in_workshop, noop, quick};
use crate::support::{eventually, proxy::Proxy};

async fn register(connection: &mut AsyncPgConnection) -> WorkerId {
    let (queues, hour) = (["default".to_owned()], Duration::from_secs(3_600));
    queue::register(connection, ("h", 1), &["noop"], &queues, hour).await.unwrap()
}

/// Claims the one task that is due.
async fn claim_one(connection: &mut AsyncPgConnection, worker: WorkerId) -> Leased {
    let claimed = queue::claim(connection, worker, Lease::draw(), "default", &["noop"], 10).await.unwrap();
    let [only] = claimed.as_slice() else { panic!("{} tasks were due", claimed.len()) };
    only.leased()
}

/// A worker that claims the one task that is due, with no other attempt left, and is lost: the task fails.
async fn lose_it(connection: &mut AsyncPgConnection) -> Leased {
    let worker = register(connection).await;
    let lost = claim_one(connection, worker).await;
    queue::deregister(connection, worker).await.unwrap();
    assert_eq!(queue::rescue(connection, 10).await.unwrap(), [(lost.0, Status::Failed)]);
    lost
}

/// Whatever a worker may report of a task that is not its own any more changes nothing.
async fn reports_in_vain(workshop: &Workshop, connection: &mut AsyncPgConnection, late: Leased) {
    let before = workshop.row(late.0).await;
    assert!(queue::succeed(connection, &[(late, Some(json!("late")))]).await.unwrap().is_empty());
    for how in [Stopped::Failed, Stopped::Refused, Stopped::Snoozed, Stopped::Interrupted, Stopped::Cancelled]
    {
        let stopping = Stopping { how, why: Some("late".into()), delay: Duration::ZERO, times: None };
        assert!(queue::stop(connection, &[(late, stopping)]).await.unwrap().is_empty());
    }
    queue::report_progress(connection, &[(late, json!("late"))]).await.unwrap();
    assert!(queue::hand_back(connection, &[late]).await.unwrap().is_empty());
    assert_eq!(workshop.row(late.0).await, before);
}

fn once(unique_key: Option<&str>) -> NewTask {
    NewTask { max_attempts: 1, unique_key: unique_key.map(Into::into), ..noop(json!({})) }
}

#[test]
fn a_late_outcome_does_not_touch_a_task_that_was_retried_by_hand() {
    in_workshop(async |workshop| {
        let id = workshop.enqueue(once(None)).await;
        let connection = &mut workshop.database.connection().await;
        let late = lose_it(connection).await;
        reports_in_vain(&workshop, connection, late).await;
        tasks::retry(connection, id, Reach::All).await.unwrap();
        reports_in_vain(&workshop, connection, late).await;
        let worker = register(connection).await;
        let again = claim_one(connection, worker).await;
        reports_in_vain(&workshop, connection, late).await;
        assert_eq!(queue::succeed(connection, &[(again, None)]).await.unwrap(), [again]);
        reports_in_vain(&workshop, connection, late).await;
        assert_eq!(workshop.attempts(id).await.len(), 1);
    });
}

#[test]
fn a_late_outcome_does_not_free_a_key_that_another_task_holds() {
    in_workshop(async |workshop| {
        let former = workshop.enqueue(once(Some("k"))).await;
        let connection = &mut workshop.database.connection().await;
        let late = lose_it(connection).await;
        let holder = tasks::insert(connection, vec![once(Some("k"))]).await.unwrap().remove(0);
        assert!(holder.is_new, "who failed holds no key");
        let holds = async |connection: &mut AsyncPgConnection| -> TaskId {
            tasks::insert(connection, vec![once(Some("k"))]).await.unwrap().remove(0).task.id
        };
        reports_in_vain(&workshop, connection, late).await;
        assert_eq!(holds(connection).await, holder.task.id);
        let retried = tasks::retry(connection, former, Reach::All).await;
        assert!(matches!(retried, Err(Error::Conflict(Conflict::State(_)))), "{retried:?}");

        let worker = register(connection).await;
        let held = claim_one(connection, worker).await;
        reports_in_vain(&workshop, connection, late).await;
        assert_eq!(holds(connection).await, holder.task.id, "while it runs");
        assert_eq!(queue::succeed(connection, &[(held, None)]).await.unwrap(), [held]);
        tasks::retry(connection, former, Reach::All).await.unwrap();
        assert_eq!(holds(connection).await, former);
    });
}

#[test]
fn after_an_outage_that_is_longer_than_a_lease_every_task_ends_once() {
    in_workshop(async |workshop| {
        let proxy = Proxy::before(&workshop.database.url());
        let target = Target::parse(&proxy.url().into()).unwrap();
        let settings = Settings { lease: Duration::from_millis(1_500), ..quick() };
        let worker = workshop.worker_at(target, Registry::builtin(), settings).await;
        let _maintenance = workshop.maintenance().await;
        let long: Vec<_> = (0..4).map(|_| noop(json!({"sleep_ms": 600_000}))).collect();
        let short: Vec<_> = (0..200).map(|_| noop(json!({"sleep_ms": 20}))).collect();
        let ids: Vec<_> = long.iter().chain(&short).map(|task| task.id).collect();
        let all = long.into_iter().chain(short).collect();
        tasks::insert(&mut workshop.database.connection().await, all).await.unwrap();
        for id in &ids[..4] {
            workshop.until(*id, "running").await;
        }
        proxy.go_away();
        eventually(PATIENCE, async || {
            worker.shift.standing().leases_lost == 1
                && workshop.rows("select 1 from tasks where status = 'running'").await.is_empty()
        })
        .await;
        // They would sleep for ten minutes again.
        workshop
            .database
            .sql("update tasks set payload = '{}' where payload ->> 'sleep_ms' = '600000'")
            .await;
        proxy.come_back();
        for id in &ids {
            assert_eq!(workshop.finished(*id).await["status"], "succeeded");
        }
        let unexplained = "select t.id from tasks t where attempt <> 1 + (
            select count(*) from task_attempts a where a.task_id = t.id and outcome in ('lost', 'interrupted'))";
        assert!(workshop.rows(unexplained).await.is_empty());
        let lost = workshop.rows("select distinct task_id from task_attempts where outcome = 'lost'").await;
        assert!(lost.len() >= 4, "{lost:?}");
        let standing = worker.shift.standing();
        assert_eq!((standing.running, standing.leases_lost), (0, 1));
    });
}
