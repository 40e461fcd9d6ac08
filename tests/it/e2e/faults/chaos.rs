//! The faults.

use std::collections::BTreeMap;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::task::JoinHandle;

use super::*;

/// How often each kind of fault was done.
pub(super) type Done = BTreeMap<Fault, usize>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    WorkerKilled,
    WorkerStopped,
    WorkerFrozen,
    ServerKilled,
    ConnectionsCut,
    /// The database's side of the connections hears nothing of it.
    WorkersCutOff,
    DatabaseRestarted,
    DatabaseCrashed,
}

/// By their frequency.
const FAULTS: [Fault; 14] = [
    Fault::WorkerKilled,
    Fault::WorkerKilled,
    Fault::WorkerKilled,
    Fault::WorkerStopped,
    Fault::WorkerFrozen,
    Fault::WorkerFrozen,
    Fault::WorkerFrozen,
    Fault::ConnectionsCut,
    Fault::ConnectionsCut,
    Fault::WorkersCutOff,
    Fault::WorkersCutOff,
    Fault::ServerKilled,
    Fault::DatabaseRestarted,
    Fault::DatabaseCrashed,
];

/// One fault after the other, each kind at least once in fourteen.
pub(super) async fn until(end: Instant, site: &Arc<Site>, seed: u64) -> Done {
    let mut random = StdRng::seed_from_u64(seed);
    let mut done: Done = FAULTS.iter().map(|fault| (*fault, 0)).collect();
    let (mut bag, mut stopped) = (Vec::new(), Vec::new());
    while Instant::now() < end {
        if bag.is_empty() {
            bag = FAULTS.to_vec();
        }
        let fault = bag.swap_remove(random.random_range(0..bag.len()));
        commit(fault, site, &mut random, &mut stopped).await;
        *done.entry(fault).or_default() += 1;
        tokio::time::sleep(Duration::from_millis(random.random_range(300..2_500))).await;
    }
    for one in stopped {
        one.await.expect("a worker that was told to stop does so");
    }
    done
}

async fn commit(fault: Fault, site: &Arc<Site>, random: &mut StdRng, stopped: &mut Vec<JoinHandle<()>>) {
    match fault {
        Fault::WorkerKilled => drop(replace_worker(site, random)),
        Fault::WorkerStopped => {
            let mut old = replace_worker(site, random);
            old.signal(Signal::TERM);
            // It may be frozen.
            old.signal(Signal::CONT);
            stopped.push(tokio::task::spawn_blocking(move || {
                let (code, log) = (old.exit_code(), old.log());
                assert!(code == Some(0) || never_began(code, &log), "{code:?}: {log}");
            }));
        }
        Fault::WorkerFrozen => {
            let workers = site.workers.lock().unwrap();
            let pid = workers[random.random_range(0..workers.len())].pid();
            // Shorter and longer than a lease.
            let time = Duration::from_millis(random.random_range(300..5_000));
            kill_process(pid, Signal::STOP).unwrap();
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                let _dead = kill_process(pid, Signal::CONT);
            });
        }
        Fault::ServerKilled => {
            let new = Arc::new(site.new_server());
            let old = std::mem::replace(&mut *site.server.lock().unwrap(), new);
            old.signal(Signal::KILL);
        }
        Fault::ConnectionsCut => {
            let Some(mut connection) = site.connection().await else { return };
            let cut = "select pg_terminate_backend(pid) from pg_stat_activity
                where backend_type = 'client backend' and pid <> pg_backend_pid() and random() < 0.5";
            let _away = connection.batch_execute(cut).await;
        }
        Fault::WorkersCutOff => site.proxy.cut(),
        Fault::DatabaseRestarted => signal_postmaster(site, Signal::INT),
        Fault::DatabaseCrashed => signal_postmaster(site, Signal::QUIT),
    }
}

/// Puts a new worker in the place of one; dropping the old one kills it.
fn replace_worker(site: &Site, random: &mut impl rand::Rng) -> Running {
    let new = site.new_worker();
    let mut workers = site.workers.lock().unwrap();
    let place = random.random_range(0..workers.len());
    std::mem::replace(&mut workers[place], new)
}

/// The [`Cluster`] starts it again.
fn signal_postmaster(site: &Site, signal: Signal) {
    let file = fs::read_to_string(site.place.join("data/postmaster.pid")).unwrap_or_default();
    let pid = file.lines().next().and_then(|line| Pid::from_raw(line.parse().ok()?));
    if let Some(pid) = pid {
        let _gone = kill_process(pid, signal);
    }
}
