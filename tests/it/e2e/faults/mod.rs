//! Four workers and a server at work while they are killed, frozen and stopped, their connections cut and the database
//! restarted. In the end every accepted task has ended, once, and each of its attempts is explained.
//!
//! `STARTER_FAULT_SECS` says for how long, `STARTER_FAULT_SEED` repeats a sequence of faults; `scripts/faults` does both.

mod chaos;
mod clients;
mod ledger;

use std::sync::{Arc, Mutex};

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use starter::db::embedded::Cluster;

use super::*;
use crate::{embedded::directory, process::starter, support::proxy::Proxy};

const WORKERS: usize = 4;
/// Leases are short, so that many end.
const SETTINGS: [(&str, &str); 7] = [
    ("STARTER__WORKER__LEASE_SECS", "2"),
    ("STARTER__WORKER__POLL_INTERVAL_MS", "200"),
    ("STARTER__RATE_LIMIT__PER_SECOND", "0"),
    ("STARTER__RATE_LIMIT__AUTH_PER_MINUTE", "0"),
    ("STARTER__DATABASE__CONNECT_TIMEOUT_SECS", "2"),
    ("STARTER__SERVER__SHUTDOWN_TIMEOUT_SECS", "2"),
    ("RUST_LOG", "info"),
];

/// What is asked, killed and restarted.
struct Site {
    cluster: Cluster,
    /// Between the workers and the database.
    proxy: Proxy,
    server: Mutex<Arc<Running>>,
    workers: Mutex<Vec<Running>>,
    place: std::path::PathBuf,
}

impl Site {
    fn server(&self) -> Arc<Running> {
        Arc::clone(&self.server.lock().unwrap())
    }

    fn new_server(&self) -> Running {
        Running::spawn("server", self.cluster.url(), &SETTINGS)
    }

    fn new_worker(&self) -> Running {
        Running::spawn("worker", self.proxy.url(), &SETTINGS)
    }

    fn restart_those_that_never_began(&self) {
        for worker in self.workers.lock().unwrap().iter_mut() {
            if let Some(status) = worker.child.try_wait().unwrap() {
                let log = worker.log();
                assert!(never_began(status.code(), &log), "{status:?}: {log}");
                *worker = self.new_worker();
            }
        }
    }

    /// `None` while the database is away.
    async fn connection(&self) -> Option<AsyncPgConnection> {
        connect(self.cluster.url()).await
    }
}

/// It was started while the database was away, and gave up: whoever started it would do so again. Or it was told to stop
/// before it could hear that.
fn never_began(code: Option<i32>, log: &str) -> bool {
    let gave_up = code == Some(1) && log.contains("database is unavailable");
    gave_up && !log.contains("the worker is registered") || code.is_none() && log.is_empty()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_dies_every_accepted_task_ends_once_and_every_attempt_is_explained() {
    let seconds = number("STARTER_FAULT_SECS").unwrap_or(120);
    let seed = number("STARTER_FAULT_SEED").unwrap_or_else(rand::random);
    eprintln!("{seconds} s of faults, STARTER_FAULT_SEED={seed}");

    let (_parent, place) = directory();
    let at = place.clone();
    let cluster = tokio::task::spawn_blocking(move || Cluster::start(&at)).await.unwrap().unwrap();
    let ran = starter(&["migrate", "run"]).env("STARTER__DATABASE__URL", cluster.url()).run();
    assert_eq!(ran.code, 0, "{ran:?}");
    let server = Running::spawn("server", cluster.url(), &SETTINGS);
    server.until_ready().await;
    let session = server.register("ada").await;
    let (proxy, server) = (Proxy::before(cluster.url()), Mutex::new(Arc::new(server)));
    let site = Arc::new(Site { cluster, proxy, server, workers: Mutex::default(), place });
    site.connection().await.unwrap().batch_execute(ledger::SET_UP).await.unwrap();
    *site.workers.lock().unwrap() = (0..WORKERS).map(|_| site.new_worker()).collect();

    let end = Instant::now() + Duration::from_secs(seconds);
    let clients: Vec<_> = (0..4)
        .map(|client| {
            tokio::spawn(clients::enqueue_until(end, Arc::clone(&site), session.clone(), client, seed))
        })
        .collect();
    let done = chaos::until(end, &site, seed).await;
    let mut accepted = clients::Accepted::default();
    for client in clients {
        accepted.add(client.await.unwrap());
    }

    site.server().until_ready().await;
    site.restart_those_that_never_began();
    let mut connection = None;
    eventually(LONG, async || {
        connection = site.connection().await;
        connection.is_some()
    })
    .await;
    let mut connection = connection.unwrap();
    ledger::until_all_have_ended(&mut connection).await;
    site.restart_those_that_never_began();
    ledger::audit(&mut connection, &accepted).await;
    ledger::until_the_dead_are_buried(&mut connection).await;
    let counts = ledger::counts(&mut connection).await;
    eprintln!("{} tasks; faults: {done:?}; {counts}", accepted.tasks.len());
    assert!(
        done.iter().all(|(_, times)| seconds < 40 || *times > 0),
        "a kind of fault never happened: {done:?}"
    );
}
