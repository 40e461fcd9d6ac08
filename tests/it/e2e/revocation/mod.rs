//! Three real servers on one database: what was revoked at one of them is refused by the others, from the answer on; also
//! while their listening connections are cut or frozen, and while the database restarts.
//!
//! `STARTER_ROUNDS` says how many rounds the first test makes.

mod ways;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use diesel::{QueryableByName, sql_types::Integer};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::future::join_all;
use reqwest::Method;
use starter::db::{Session, Target, embedded::Cluster};

use self::ways::{Victim, WAYS, Way};
use super::*;
use crate::{embedded::directory, process::starter};

const SERVERS: usize = 3;
/// Rounds side by side: a revocation in company takes 300 ms, most of them idle.
const LANES: usize = 24;
const SETTINGS: [(&str, &str); 6] = [
    ("STARTER__RATE_LIMIT__PER_SECOND", "0"),
    ("STARTER__RATE_LIMIT__AUTH_PER_MINUTE", "0"),
    ("STARTER__AUTH__ARGON2_ITERATIONS", "1"),
    ("STARTER__DATABASE__CONNECT_TIMEOUT_SECS", "2"),
    ("STARTER__DATABASE__MAX_CONNECTIONS", "8"),
    ("RUST_LOG", "warn"),
];

/// What came of all rounds.
#[derive(Debug, Default)]
struct Tally {
    rounds: AtomicUsize,
    /// Revocations that nobody answered for.
    unanswered: AtomicUsize,
    accepted: AtomicUsize,
}

struct Servers {
    all: Vec<Running>,
    admin: String,
    url: String,
}

impl Servers {
    async fn start(url: &str) -> Self {
        let all: Vec<_> = (0..SERVERS).map(|_| Running::spawn("server", url, &SETTINGS)).collect();
        join_all(all.iter().map(Running::until_ready)).await;
        let admin = all[0].log_in("root-of-all").await;
        Self { all, admin, url: url.to_owned() }
    }

    /// Rounds side by side until there were enough, or `over` is set.
    async fn rounds(&self, name: &str, count: usize, over: &AtomicBool) -> Tally {
        let tally = Tally::default();
        let next = AtomicUsize::new(0);
        let lane = || async {
            loop {
                let round = next.fetch_add(1, Ordering::Relaxed);
                if round >= count || over.load(Ordering::Relaxed) {
                    break;
                }
                self.round(name, round, &tally).await;
            }
        };
        join_all((0..LANES).map(|_| lane())).await;
        tally
    }

    async fn round(&self, name: &str, round: usize, tally: &Tally) {
        let way = WAYS[round % WAYS.len()];
        let here = &self.all[round % SERVERS];
        let Some(victim) = Victim::enter(here, &format!("{name}{round}")).await else { return };
        if way.prepare(here, &self.admin, &victim).await.is_none() {
            return;
        }
        let (credential, path, refused) = way.question(&victim);
        // Twice: the second is answered from memory, where memory may be used.
        for _ in 0..2 {
            for server in &self.all {
                if patiently(server, Method::GET, credential, path, None).await.is_none() {
                    return;
                }
            }
        }
        if !way.revoke(here, &self.admin, &victim).await {
            tally.unanswered.fetch_add(1, Ordering::Relaxed);
            return;
        }
        tally.rounds.fetch_add(1, Ordering::Relaxed);
        let answers = self.all.iter().map(|server| ask(server, Method::GET, credential, path, None));
        for (number, answer) in join_all(answers).await.into_iter().enumerate() {
            match answer {
                Some((status, _)) if status == refused => {}
                Some((503, _)) | None => {}
                Some((200, body)) => {
                    eprintln!("round {round}: {way:?}, and server {number} still says {body}");
                    tally.accepted.fetch_add(1, Ordering::Relaxed);
                }
                Some((status, body)) => panic!("{way:?}: server {number} says {status} {body}"),
            }
        }
    }

    async fn connection(&self) -> Option<AsyncPgConnection> {
        let session =
            Session { connect_timeout: Duration::from_secs(2), statement_timeout: None, scans: true };
        Target::parse(&self.url.as_str().into()).unwrap().dial(session).await.ok()
    }

    /// The server processes that listen for processes that remember.
    async fn listeners(&self) -> Vec<Pid> {
        #[derive(QueryableByName)]
        struct Backend {
            #[diesel(sql_type = Integer)]
            pid: i32,
        }
        let query = "select l.pid from pg_locks l join pg_database d on d.oid = l.database
            where l.locktype = 'advisory' and l.mode = 'ShareLock' and d.datname = current_database()";
        let Some(mut connection) = self.connection().await else { return Vec::new() };
        let query = diesel::sql_query(query);
        let found: Vec<Backend> =
            diesel_async::RunQueryDsl::load(query, &mut connection).await.unwrap_or_default();
        found.into_iter().filter_map(|backend| Pid::from_raw(backend.pid)).collect()
    }

    /// How many look-ups of sessions the database was asked for.
    async fn lookups(&self, server: &Running) -> f64 {
        let url = server.url().unwrap() + "/metrics";
        let metrics = client().get(url).bearer_auth(&self.admin).send().await.unwrap().text().await.unwrap();
        let line = metrics
            .lines()
            .find(|line| line.starts_with("starter_statement_items_total{store=\"sessions\"}"));
        line.unwrap().split(' ').nth(1).unwrap().parse().unwrap()
    }
}

/// Status and body; `None`: no answer.
async fn ask(
    server: &Running,
    method: Method,
    credential: &str,
    path: &str,
    body: Option<Value>,
) -> Option<(u16, Value)> {
    let request = client().request(method, server.url()? + path);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    server.send(request, credential).await
}

/// Asks again while the service is away; the body of an answer of 2xx. `None`: it was away for long, or what was asked
/// for had been done by a try whose answer was lost.
async fn patiently(
    server: &Running,
    method: Method,
    credential: &str,
    path: &str,
    body: Option<Value>,
) -> Option<Value> {
    for _ in 0..100 {
        match ask(server, method.clone(), credential, path, body.clone()).await {
            Some((status, body)) if status < 300 => return Some(body),
            Some((503, _)) | None => tokio::time::sleep(Duration::from_millis(100)).await,
            Some((409, _)) => return None,
            Some((status, body)) => panic!("{method} {path}: {status} {body}"),
        }
    }
    None
}

fn rounds(default: usize) -> usize {
    std::env::var("STARTER_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_server_revoked_no_server_accepts() {
    let database = TestDatabase::create().await;
    let servers = Servers::start(&database.url()).await;
    // Memory is used: of many requests few reach the database.
    let there = &servers.all[1];
    eventually(LONG, || async {
        let before = servers.lookups(there).await;
        for _ in 0..20 {
            assert_eq!(there.get(&servers.admin, "/api/v1/auth/me").await.unwrap().0, 200);
        }
        servers.lookups(there).await - before < 10.0
    })
    .await;

    let count = rounds(1_000);
    let tally = servers.rounds("victim", count, &AtomicBool::new(false)).await;
    eprintln!("{tally:?}");
    assert_eq!(tally.accepted.into_inner(), 0);
    assert_eq!((tally.rounds.into_inner(), tally.unanswered.into_inner()), (count, 0));
}

/// Rounds while `fault` is done again and again.
async fn rounds_beside(servers: &Servers, count: usize, fault: impl AsyncFn()) -> Tally {
    let over = AtomicBool::new(false);
    let faults = async {
        while !over.load(Ordering::Relaxed) {
            fault().await;
        }
    };
    let work = async {
        let tally = servers.rounds("victim", count, &AtomicBool::new(false)).await;
        over.store(true, Ordering::Relaxed);
        tally
    };
    let (tally, ()) = tokio::join!(work, faults);
    eprintln!("{tally:?}");
    assert_eq!(tally.accepted.load(Ordering::Relaxed), 0);
    tally
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_while_the_listening_connections_are_cut() {
    let database = TestDatabase::create().await;
    let servers = Servers::start(&database.url()).await;
    let tally = rounds_beside(&servers, 150, async || {
        for pid in servers.listeners().await {
            let cut = format!("select pg_terminate_backend({})", pid.as_raw_nonzero());
            if let Some(mut connection) = servers.connection().await {
                let _gone = connection.batch_execute(&cut).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(900)).await;
    })
    .await;
    assert_eq!(tally.rounds.into_inner(), 150);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_while_the_listening_connections_are_frozen() {
    let database = TestDatabase::create().await;
    let servers = Servers::start(&database.url()).await;
    let turns = std::cell::Cell::new(0_u64);
    let tally = rounds_beside(&servers, 150, async || {
        let pids = servers.listeners().await;
        turns.set(turns.get() + 1);
        for pid in &pids {
            let _gone = kill_process(*pid, Signal::STOP);
        }
        tokio::time::sleep(Duration::from_millis(500 + 500 * (turns.get() % 4))).await;
        for pid in &pids {
            let _gone = kill_process(*pid, Signal::CONT);
        }
        tokio::time::sleep(Duration::from_millis(600)).await;
    })
    .await;
    assert!(turns.get() > 0);
    assert_eq!(tally.rounds.into_inner(), 150);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_while_the_database_restarts() {
    let (_parent, place) = directory();
    let at = place.clone();
    let cluster = tokio::task::spawn_blocking(move || Cluster::start(&at)).await.unwrap().unwrap();
    let ran = starter(&["migrate", "run"]).env("STARTER__DATABASE__URL", cluster.url()).run();
    assert_eq!(ran.code, 0, "{ran:?}");
    let servers = Servers::start(cluster.url()).await;
    let tally = rounds_beside(&servers, 150, async || {
        tokio::time::sleep(Duration::from_millis(4_000)).await;
        let file = fs::read_to_string(place.join("data/postmaster.pid")).unwrap_or_default();
        if let Some(pid) = file.lines().next().and_then(|line| Pid::from_raw(line.parse().ok()?)) {
            // Fast; the cluster's guardian starts it again.
            let _gone = kill_process(pid, Signal::INT);
        }
    })
    .await;
    assert!(tally.rounds.into_inner() > 75, "too few revocations were answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_command_line_or_sql_revokes_is_refused_within_250_ms() {
    let database = TestDatabase::create().await;
    let servers = Servers::start(&database.url()).await;
    for round in 0..18 {
        let victim = Victim::enter(&servers.all[0], &format!("victim{round}")).await.unwrap();
        let way = if round % 3 == 2 { Way::RevokeKey } else { Way::LogOut };
        let (credential, path, _) = way.question(&victim);
        for server in servers.all.iter().chain(&servers.all) {
            patiently(server, Method::GET, credential, path, None).await.unwrap();
        }
        let user = victim.user.clone();
        if round < 9 {
            let arguments = match round % 3 {
                0 => vec!["admin", "session", "revoke-all", &user],
                1 => vec!["admin", "user", "deactivate", &user],
                _ => vec!["admin", "api-key", "revoke", victim.key_id()],
            };
            let ran = starter(&arguments).env("STARTER__DATABASE__URL", database.url()).run();
            assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        } else {
            let statement = match round % 3 {
                0 => format!("delete from sessions where user_id = '{user}'"),
                1 => format!("update users set is_active = false where id = '{user}'"),
                _ => format!("update api_keys set revoked_at = now() where created_by = '{user}'"),
            };
            database.sql(&statement).await;
        }
        let end = Instant::now() + Duration::from_millis(250);
        for server in &servers.all {
            loop {
                let asked = Instant::now();
                match ask(server, Method::GET, credential, path, None).await {
                    Some((401, _)) => break,
                    // What was asked before the time was up may have been let in.
                    Some((200, _)) => assert!(asked < end, "accepted {:?} after 250 ms", asked - end),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}
