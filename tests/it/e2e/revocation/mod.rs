//! Three real servers on one database: what was revoked at one of them is refused by the others, from the answer on; also
//! while their listening connections are cut or frozen, and while the database restarts.
//!
//! `STARTER_ROUNDS` says how many rounds the first test makes.

mod ways;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use diesel::{QueryableByName, sql_types::Integer};
use diesel_async::SimpleAsyncConnection;
use futures_util::future::join_all;
use reqwest::Method;
use starter::db::embedded::Cluster;

use self::ways::{Victim, WAYS, Way};
use super::*;
use crate::{embedded::directory, process::starter};

const SERVERS: usize = 3;
/// Rounds side by side: a revocation in company takes 300 ms, most of them idle.
const LANES: usize = 24;
/// Questions at each server before a revocation.
const WARM: usize = 6;
/// After a fault, until memory may be used again, and is.
const RECOVERY: Duration = Duration::from_millis(2_500);
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
    refused: AtomicUsize,
    /// Asked after a revocation, and told that the service is away, or nothing.
    undecided: AtomicUsize,
    /// Questions with a credential, at all servers.
    asked: AtomicUsize,
    /// Of these, at least so many were answered without the database.
    remembered: AtomicUsize,
}

impl Tally {
    fn of(&self, count: &AtomicUsize) -> usize {
        count.load(Ordering::Relaxed)
    }
}

struct Servers {
    all: Vec<Running>,
    admin: String,
    /// Whose sessions nobody touches.
    bystander: String,
    url: String,
}

impl Servers {
    async fn start(url: &str) -> Self {
        let all: Vec<_> = (0..SERVERS).map(|_| Running::spawn("server", url, &SETTINGS)).collect();
        join_all(all.iter().map(Running::until_ready)).await;
        let admin = all[0].log_in("root-of-all").await;
        let bystander = all[1].register("bystander").await;
        Self { all, admin, bystander, url: url.to_owned() }
    }

    /// Rounds side by side until there were enough, or `over` is set. A round that a fault ended before its revocation was
    /// answered says nothing, and another takes its place.
    async fn rounds(&self, name: &str, count: usize, over: &AtomicBool) -> Tally {
        let tally = Tally::default();
        let before = self.lookups().await;
        let (next, left) = (AtomicUsize::new(0), AtomicUsize::new(count));
        let lane = || async {
            let take = |left: usize| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                let round = next.fetch_add(1, Ordering::Relaxed);
                if round >= 2 * count || over.load(Ordering::Relaxed) {
                    break;
                }
                if !self.round(name, round, &tally).await {
                    left.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        join_all((0..LANES).map(|_| lane())).await;
        // Other questions, such as those of the victims who make a key, were looked up too: it is a lower bound.
        let looked_up = self.lookups().await.saturating_sub(before);
        tally.remembered.store(tally.of(&tally.asked).saturating_sub(looked_up), Ordering::Relaxed);
        for server in &self.all {
            eventually(LONG, async || {
                ask(server, Method::GET, &self.bystander, "/api/v1/auth/me", None)
                    .await
                    .is_some_and(|(status, _)| status == 200)
            })
            .await;
        }
        tally
    }

    /// Returns whether the revocation was answered.
    async fn round(&self, name: &str, round: usize, tally: &Tally) -> bool {
        let way = WAYS[round % WAYS.len()];
        let here = &self.all[round % SERVERS];
        let Some(victim) = Victim::enter(here, &format!("{name}{round}")).await else { return false };
        if way.prepare(here, &self.admin, &victim).await.is_none() {
            return false;
        }
        let (credential, path, refused) = way.question(&victim);
        // All but the first are answered from memory, where memory may be used.
        for _ in 0..WARM {
            for server in &self.all {
                tally.asked.fetch_add(1, Ordering::Relaxed);
                if patiently(server, Method::GET, credential, path, None).await.is_none() {
                    return false;
                }
            }
        }
        if !way.revoke(&self.url, here, &self.admin, &victim).await {
            eprintln!("round {round}: {way:?} was not answered");
            tally.unanswered.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        tally.rounds.fetch_add(1, Ordering::Relaxed);
        let answers = self.all.iter().map(|server| ask(server, Method::GET, credential, path, None));
        for (number, answer) in join_all(answers).await.into_iter().enumerate() {
            match answer {
                Some((status, _)) if status == refused => tally.refused.fetch_add(1, Ordering::Relaxed),
                Some((503, _)) | None => tally.undecided.fetch_add(1, Ordering::Relaxed),
                Some((200, body)) => {
                    eprintln!("round {round}: {way:?}, and server {number} still says {body}");
                    tally.accepted.fetch_add(1, Ordering::Relaxed)
                }
                Some((status, body)) => panic!("{way:?}: server {number} says {status} {body}"),
            };
        }
        true
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
        let Some(mut connection) = connect(&self.url).await else { return Vec::new() };
        let query = diesel::sql_query(query);
        let found: Vec<Backend> =
            diesel_async::RunQueryDsl::load(query, &mut connection).await.unwrap_or_default();
        found.into_iter().filter_map(|backend| Pid::from_raw(backend.pid)).collect()
    }

    /// How many look-ups of sessions and keys the database was asked for, by all servers.
    async fn lookups(&self) -> usize {
        let mut sum = 0;
        for server in &self.all {
            sum += lookups(server, &self.admin).await;
        }
        sum
    }
}

async fn lookups(server: &Running, admin: &str) -> usize {
    let url = server.url().unwrap() + "/metrics";
    loop {
        let answer = client().get(&url).bearer_auth(admin).send().await;
        let metrics = match answer {
            Ok(answer) if answer.status() == 200 => answer.text().await.unwrap(),
            _ => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let of = |store: &str| {
            let start = format!("starter_statement_items_total{{store=\"{store}\"}} ");
            let count = metrics.lines().find_map(|line| line.strip_prefix(&start));
            count.unwrap_or_else(|| panic!("no {start} in {metrics}")).parse::<f64>().unwrap()
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        return (of("sessions") + of("api_keys")) as usize;
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

/// A fifth of them beside a fault, which takes longer.
fn beside() -> usize {
    rounds(1_000) / 5
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_server_revoked_no_server_accepts() {
    let database = TestDatabase::create().await;
    let servers = Servers::start(&database.url()).await;
    // Memory is used: of many requests few reach the database.
    let there = &servers.all[1];
    eventually(LONG, || async {
        let before = lookups(there, &servers.admin).await;
        for _ in 0..20 {
            assert_eq!(there.get(&servers.admin, "/api/v1/auth/me").await.unwrap().0, 200);
        }
        lookups(there, &servers.admin).await - before < 10
    })
    .await;

    let count = rounds(1_000);
    let tally = servers.rounds("victim", count, &AtomicBool::new(false)).await;
    eprintln!("{tally:?}");
    assert_eq!((tally.of(&tally.rounds), tally.of(&tally.unanswered)), (count, 0));
    assert_eq!((tally.of(&tally.refused), tally.of(&tally.accepted)), (count * SERVERS, 0));
    // More than one in each round at each server.
    assert!(tally.of(&tally.remembered) > count * SERVERS, "too little came from memory");
}

/// Rounds while `fault` is done again and again, and how much it did altogether, which it tells.
async fn rounds_beside(servers: &Servers, count: usize, fault: impl AsyncFn() -> usize) -> (Tally, usize) {
    let over = AtomicBool::new(false);
    let faults = async {
        let mut done = 0;
        while !over.load(Ordering::Relaxed) {
            done += fault().await;
        }
        done
    };
    let work = async {
        let tally = servers.rounds("victim", count, &AtomicBool::new(false)).await;
        over.store(true, Ordering::Relaxed);
        tally
    };
    let (tally, done) = tokio::join!(work, faults);
    eprintln!("{tally:?}, {done} faults");
    assert_eq!(tally.of(&tally.accepted), 0);
    let asked = tally.of(&tally.rounds) * SERVERS;
    assert_eq!(tally.of(&tally.refused) + tally.of(&tally.undecided), asked);
    assert!(tally.of(&tally.refused) > asked / 2, "too few refusals");
    (tally, done)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_while_the_listening_connections_are_cut() {
    let database = TestDatabase::create().await;
    let servers = Servers::start(&database.url()).await;
    let (tally, cut) = rounds_beside(&servers, beside(), async || {
        let mut done = 0;
        for pid in servers.listeners().await {
            let cut = format!("select pg_terminate_backend({})", pid.as_raw_nonzero());
            if let Some(mut connection) = connect(&servers.url).await {
                done += usize::from(connection.batch_execute(&cut).await.is_ok());
            }
        }
        tokio::time::sleep(RECOVERY).await;
        done
    })
    .await;
    assert_eq!(tally.of(&tally.rounds), beside());
    assert!(cut >= SERVERS, "{cut} connections were cut");
    assert!(tally.of(&tally.remembered) > 0, "nothing came from memory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_while_the_listening_connections_are_frozen() {
    let database = TestDatabase::create().await;
    let servers = Servers::start(&database.url()).await;
    let turns = std::cell::Cell::new(0_u64);
    let (tally, frozen) = rounds_beside(&servers, beside(), async || {
        let pids = servers.listeners().await;
        turns.set(turns.get() + 1);
        let frozen = pids.iter().filter(|pid| kill_process(**pid, Signal::STOP).is_ok()).count();
        tokio::time::sleep(Duration::from_millis(500 + 500 * (turns.get() % 4))).await;
        for pid in &pids {
            let _gone = kill_process(*pid, Signal::CONT);
        }
        tokio::time::sleep(RECOVERY).await;
        frozen
    })
    .await;
    assert_eq!(tally.of(&tally.rounds), beside());
    assert!(frozen >= SERVERS, "{frozen} connections were frozen");
    assert!(tally.of(&tally.remembered) > 0, "nothing came from memory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_while_the_database_restarts() {
    let (_parent, place) = directory();
    let at = place.clone();
    let cluster = tokio::task::spawn_blocking(move || Cluster::start(&at)).await.unwrap().unwrap();
    let ran = starter(&["migrate", "run"]).env("STARTER__DATABASE__URL", cluster.url()).run();
    assert_eq!(ran.code, 0, "{ran:?}");
    let servers = Servers::start(cluster.url()).await;
    let (tally, restarts) = rounds_beside(&servers, beside(), async || {
        tokio::time::sleep(Duration::from_millis(4_000)).await;
        let file = fs::read_to_string(place.join("data/postmaster.pid")).unwrap_or_default();
        if let Some(pid) = file.lines().next().and_then(|line| Pid::from_raw(line.parse().ok()?)) {
            // Fast; the cluster's guardian starts it again.
            return usize::from(kill_process(pid, Signal::INT).is_ok());
        }
        0
    })
    .await;
    assert!(tally.of(&tally.rounds) > beside() / 2, "too few revocations were answered");
    assert!(restarts > 0, "it never restarted");
}

/// What an administrator does outside of the servers; `true`: to a key.
const OUTSIDE: [(&[&str], bool); 10] = [
    (&["admin", "session", "revoke-all", "USER"], false),
    (&["admin", "session", "revoke", "SESSION"], false),
    (&["admin", "user", "deactivate", "USER"], false),
    (&["admin", "user", "delete", "USER", "--yes"], false),
    (&["admin", "api-key", "revoke", "KEY"], true),
    (&["admin", "user", "deactivate", "USER"], true),
    (&["delete from sessions where user_id = 'USER'"], false),
    (&["update users set is_active = false where id = 'USER'"], false),
    (&["update api_keys set revoked_at = now() where created_by = 'USER'"], true),
    (&["delete from users where id = 'USER'"], true),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_command_line_or_sql_revokes_is_refused_within_250_ms() {
    let database = TestDatabase::create().await;
    let servers = Servers::start(&database.url()).await;
    for round in 0..4 * OUTSIDE.len() {
        let (act, to_key) = OUTSIDE[round % OUTSIDE.len()];
        let victim = Victim::enter(&servers.all[0], &format!("victim{round}")).await.unwrap();
        let session = victim.session_id(&servers.all[0]).await.unwrap();
        let way = if to_key { Way::RevokeKey } else { Way::LogOut };
        let (credential, path, _) = way.question(&victim);
        for server in servers.all.iter().chain(&servers.all) {
            patiently(server, Method::GET, credential, path, None).await.unwrap();
        }
        let named = |text: &&str| {
            text.replace("USER", &victim.user).replace("SESSION", &session).replace("KEY", victim.key_id())
        };
        let act: Vec<String> = act.iter().map(named).collect();
        if let [statement] = &act[..] {
            database.sql(statement).await;
        } else {
            let arguments: Vec<&str> = act.iter().map(String::as_str).collect();
            let ran = starter(&arguments).env("STARTER__DATABASE__URL", database.url()).run();
            assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        }
        let end = Instant::now() + Duration::from_millis(250);
        for server in &servers.all {
            loop {
                let asked = Instant::now();
                match ask(server, Method::GET, credential, path, None).await {
                    Some((401, _)) => break,
                    // What was asked before the time was up may have been let in.
                    Some((200, _)) => {
                        assert!(asked < end, "{act:?}: accepted {:?} after 250 ms", asked - end)
                    }
                    other => panic!("{act:?}: {other:?}"),
                }
            }
        }
    }
}
