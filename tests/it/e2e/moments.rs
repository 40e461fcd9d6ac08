//! Killed at the worst moments: each is held open by a lock in the database until the process is gone.

use diesel_async::SimpleAsyncConnection as _;

use super::*;

const QUICK: [(&str, &str); 2] =
    [("STARTER__WORKER__LEASE_SECS", "3"), ("STARTER__WORKER__POLL_INTERVAL_MS", "100")];

/// Whoever writes this status waits until the gate is opened.
fn gate(status: &str) -> String {
    format!(
        "create function wait_at_the_gate() returns trigger language plpgsql as $$
         begin perform pg_advisory_xact_lock_shared(4711); return new; end $$;
         create trigger gate before update on tasks for each row
             when (old.status <> '{status}' and new.status = '{status}') execute function wait_at_the_gate()"
    )
}

/// Statements that wait at the gate, and what is done with each.
fn at_the_gate(what: &str) -> String {
    format!(
        "select count({what}) from pg_locks join pg_stat_activity using (pid)
         where locktype = 'advisory' and objid = 4711 and not granted and datname = current_database()"
    )
}

/// A server, a worker whose statement waits at the gate, and the task that it is about.
struct Scene {
    database: TestDatabase,
    server: Running,
    worker: Running,
    session: String,
    id: String,
    gate: AsyncPgConnection,
}

impl Scene {
    async fn set(status: &str) -> Self {
        let database = TestDatabase::create().await;
        let server = Running::start("server", &database, &QUICK).await;
        let session = server.register("ada").await;
        let worker = Running::start("worker", &database, &QUICK).await;
        // The mail that the server sent to her.
        let unfinished = "select count(*) from tasks where finished_at is null";
        eventually(LONG, || async { database.count(unfinished).await == 0 }).await;
        database.sql(&gate(status)).await;
        let mut gate = database.connection().await;
        gate.batch_execute("select pg_advisory_lock(4711)").await.unwrap();
        let id = server.enqueue(&session, json!({})).await;
        eventually(LONG, || async { database.count(&at_the_gate("*")).await == 1 }).await;
        Self { database, server, worker, session, id, gate }
    }

    async fn open_the_gate(&mut self) {
        self.gate.batch_execute("select pg_advisory_unlock(4711)").await.unwrap();
    }

    /// As if the statement had never reached the database.
    async fn end_what_waits(&self) {
        assert_eq!(self.database.count(&at_the_gate("pg_terminate_backend(pid)")).await, 1);
    }

    /// How its attempts ended, once another worker is there and the task has succeeded.
    async fn attempts(self) -> Vec<String> {
        let _other = Running::start("worker", &self.database, &QUICK).await;
        self.server.until_status(&self.session, &self.id, "succeeded").await;
        outcomes(&self.server, &self.session, &self.id).await
    }
}

async fn outcomes(server: &Running, session: &str, id: &str) -> Vec<String> {
    let (_, attempts) = server.get(session, &format!("/api/v1/tasks/{id}/attempts")).await.unwrap();
    let items = attempts["items"].as_array().unwrap().iter();
    items.map(|one| one["outcome"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn killed_after_its_claim_and_before_it_knew() {
    let mut scene = Scene::set("running").await;
    scene.worker.signal(Signal::STOP);
    scene.open_the_gate().await;
    scene.server.until_status(&scene.session, &scene.id, "running").await;
    scene.worker.signal(Signal::KILL);
    assert_eq!(scene.attempts().await, ["lost", "succeeded"]);
}

#[tokio::test]
async fn killed_while_it_claims() {
    let mut scene = Scene::set("running").await;
    scene.worker.signal(Signal::KILL);
    scene.end_what_waits().await;
    scene.open_the_gate().await;
    assert_eq!(scene.attempts().await, ["succeeded"]);
}

#[tokio::test]
async fn killed_after_its_work_while_the_outcome_is_written() {
    let mut scene = Scene::set("succeeded").await;
    scene.worker.signal(Signal::KILL);
    assert_eq!(scene.worker.exit_code(), None);
    scene.open_the_gate().await;
    // The server carries out what it was told, though nobody waits for the answer.
    assert_eq!(scene.attempts().await, ["succeeded"]);
}

#[tokio::test]
async fn killed_after_its_work_and_before_the_outcome_was_written() {
    let mut scene = Scene::set("succeeded").await;
    scene.worker.signal(Signal::KILL);
    scene.end_what_waits().await;
    scene.open_the_gate().await;
    assert_eq!(scene.attempts().await, ["lost", "succeeded"]);
}

#[tokio::test]
async fn killed_while_it_drains() {
    let database = TestDatabase::create().await;
    let server = Running::start("server", &database, &QUICK).await;
    let session = server.register("ada").await;
    let mut worker = Running::start("worker", &database, &QUICK).await;
    let id = server.enqueue(&session, json!({ "sleep_ms": 2_000 })).await;
    server.until_status(&session, &id, "running").await;
    worker.signal(Signal::TERM);
    eventually(LONG, || async { worker.get("", "/health/ready").await.is_none_or(|got| got.0 == 503) }).await;
    worker.signal(Signal::KILL);
    assert_eq!(worker.exit_code(), None);
    let _other = Running::start("worker", &database, &QUICK).await;
    server.until_status(&session, &id, "succeeded").await;
    assert_eq!(outcomes(&server, &session, &id).await, ["lost", "succeeded"]);
}

#[tokio::test]
async fn one_key_asked_for_at_two_servers_at_once_is_one_task() {
    let database = TestDatabase::create().await;
    let unlimited = [("STARTER__RATE_LIMIT__PER_SECOND", "0")];
    let servers = [
        Running::start("server", &database, &unlimited).await,
        Running::start("server", &database, &unlimited).await,
    ];
    let session = servers[0].register("ada").await;
    for round in 0..10 {
        let body = json!({ "task_type": "noop", "unique_key": format!("k{round}") });
        let all = (0..40).map(|n| servers[n % 2].post(&session, "/api/v1/tasks", body.clone()));
        let answers = futures_util::future::join_all(all).await;
        let (id, new) = (&answers[0].1["id"], answers.iter().filter(|(status, _)| *status == 201).count());
        assert!(answers.iter().all(|(_, task)| task["id"] == *id), "{answers:?}");
        assert!(new == 1 && answers.iter().all(|(status, _)| [200, 201].contains(status)), "{answers:?}");
    }
    assert_eq!(database.count("select count(*) from tasks where task_type = 'noop'").await, 10);
}
