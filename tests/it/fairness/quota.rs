//! The number of unfinished tasks that one user may have.

use serde_json::{Value, json};
use starter::{
    actors::dispatcher::{EnqueueTask, EnqueueTasks, RetryTask},
    domain::{
        Error, Reach, UserId,
        audit::Actor,
        task::{NewTask, When},
    },
};

use crate::support::{
    db::TestDatabase,
    queue::{Desk, noop},
    site::{Site, Told},
};

fn is_refused<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::QuotaExceeded { .. }))
}

fn of(owner: UserId) -> NewTask {
    NewTask { created_by: Some(owner), ..noop() }
}

async fn unfinished(database: &TestDatabase, owner: UserId) -> i64 {
    database
        .count(&format!("select count(*) from tasks where created_by = '{owner}' and finished_at is null"))
        .await
}

#[actix_rt::test]
async fn every_kind_of_unfinished_task_counts_and_finished_ones_do_not() {
    let database = TestDatabase::create().await;
    let desk = Desk::limited_to(&database, 5).await;
    let (alice, bob) = (database.user("alice").await, database.user("bob").await);
    let enqueue = async |task| desk.live.ask(EnqueueTask(task)).await;

    let later = NewTask { when: When::After(60.0), ..of(alice) };
    let ids = [of(alice), of(alice), of(alice), later, of(alice)].map(|task| (task.id, task));
    let mut known = Vec::new();
    for (id, task) in ids {
        enqueue(task).await.unwrap();
        known.push(id);
    }
    database.sql(&format!("insert into workers (id, host, pid, version, task_types, queues, lease_expires_at)
        overriding system value values (7, 'h', 1, '0', '{{}}', '{{}}', now() + interval '1 h');
        update tasks set status = 'running', stage = null, lease = 1, worker_id = 7, attempt = 1, started_at = now() where id = '{0}';
        insert into task_claims (lease, worker_id, task_ids) values (1, 7, array['{0}'::uuid])", known[0].0)).await;
    assert!(is_refused(&enqueue(of(alice)).await));
    assert!(is_refused(&desk.live.ask(EnqueueTasks(vec![of(alice), noop()])).await));
    enqueue(of(bob)).await.unwrap();
    enqueue(noop()).await.unwrap();

    // What is retried by hand is unfinished again, whoever's turn that was; an administrator may all the same.
    let cancel = "update tasks set status = 'cancelled', stage = 'cancelled', finished_at = now() where id =";
    database.sql(&format!("{cancel} '{}'", known[1].0)).await;
    crate::support::eventually(std::time::Duration::from_secs(20), async || enqueue(of(alice)).await.is_ok())
        .await;
    let retry = |reach| RetryTask { id: known[1], reach, budget: None, by: Actor::system() };
    assert!(is_refused(&desk.live.ask(retry(Reach::Own(alice))).await));
    desk.live.ask(retry(Reach::All)).await.unwrap();
    assert_eq!(unfinished(&database, alice).await, 6);
}

#[actix_rt::test]
async fn a_crowd_gets_no_more_than_the_limit() {
    let database = TestDatabase::create().await;
    let desk = Desk::limited_to(&database, 300).await;
    let alice = database.user("alice").await;
    let single = (0..200).map(async |_| desk.live.ask(EnqueueTask(of(alice))).await.is_ok());
    let batches = (0..20)
        .map(async |_| desk.live.ask(EnqueueTasks((0..50).map(|_| of(alice)).collect())).await.is_ok());
    let (single, batches) =
        futures_util::join!(futures_util::future::join_all(single), futures_util::future::join_all(batches));
    let accepted = |answers: &[bool]| answers.iter().filter(|accepted| **accepted).count();
    let expected = accepted(&single) + 50 * accepted(&batches);
    assert_eq!(unfinished(&database, alice).await, i64::try_from(expected).unwrap());
    assert!(expected <= 300, "{expected} accepted");

    // What was refused while others were under way is not lost to the owner.
    crate::support::eventually(std::time::Duration::from_secs(20), async || {
        desk.live.ask(EnqueueTask(of(alice))).await.is_err() && unfinished(&database, alice).await == 300
    })
    .await;
}

async fn enqueue(site: &Site, token: &str, key: Option<&str>) -> Told {
    let request = site.request(reqwest::Method::POST, "/api/v1/tasks", token);
    let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
    crate::support::site::read(request.json(&json!({"task_type": "noop"}))).await
}

#[actix_rt::test]
async fn past_the_limit_the_answer_is_quota_exceeded_and_replays_are_answered_all_the_same() {
    let site = Site::open().await;
    let (alice_id, alice) = site.log_in("alice", "user").await;
    let (admin_id, admin) = site.log_in("admin", "admin").await;
    let first = enqueue(&site, &alice, Some("once")).await;
    assert_eq!(first.status, 201);
    for owner in [alice_id, admin_id] {
        site.database
            .sql(&format!(
                "insert into tasks (id, task_type, max_attempts, timeout_secs, created_by)
            select gen_random_uuid(), 'noop', 3, 1, '{owner}' from generate_series(1, 9999)"
            ))
            .await;
    }

    // A batch is more than the first count grants, so it is counted for.
    let batch = json!({"tasks": vec![json!({"task_type": "noop"}); 1000]});
    let first_time = site.post("/api/v1/tasks/batch", &alice, &batch).await;
    let refused = if first_time.status == 201 {
        // The count before it is good for ten seconds and a quarter of the limit: twice more is past that.
        site.post("/api/v1/tasks/batch", &alice, &batch).await;
        site.post("/api/v1/tasks/batch", &alice, &batch).await
    } else {
        first_time
    };
    assert_eq!((refused.status, refused.code().as_str()), (429, "quota_exceeded"));
    assert!(refused.header("retry-after").is_some());
    let refused = enqueue(&site, &alice, Some("another")).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "quota_exceeded"));
    assert_eq!(enqueue(&site, &alice, None).await.status, 429);
    let replayed = enqueue(&site, &alice, Some("once")).await;
    assert_eq!((replayed.status, replayed.header("idempotent-replayed")), (201, Some("true")));
    assert_eq!(replayed.text, first.text);

    assert_eq!(site.post("/api/v1/tasks/batch", &admin, &batch).await.status, 201);
    let ids: Value = site.get("/api/v1/tasks?limit=1", &admin).await.json();
    assert_eq!(ids["items"].as_array().unwrap().len(), 1);
}
