//! Ending at once: what is being started is given up, what runs is stopped, without the patience of an orderly end.

use std::sync::{
    Mutex, PoisonError, RwLock, RwLockReadGuard, Weak,
    atomic::{AtomicBool, Ordering},
};

use super::Shared;

/// Set for good: the process ends.
static ABANDONED: AtomicBool = AtomicBool::new(false);
/// Held shared while a cluster is opened.
static OPENING: RwLock<()> = RwLock::new(());
/// What was opened.
static CLUSTERS: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

/// Gives up every embedded database of this process: one that is being made or started is stopped, and so is a running
/// one that no other process uses. Nothing is lost; the next start replays the log. No cluster can be opened afterwards:
/// call it when the process ends. Blocks, for some seconds at most.
pub fn abandon() {
    ABANDONED.store(true, Ordering::SeqCst);

    // A thread that opens one notices within milliseconds.
    let _nobody_opens = OPENING.write().unwrap_or_else(PoisonError::into_inner);
    let clusters = std::mem::take(&mut *CLUSTERS.lock().unwrap_or_else(PoisonError::into_inner));
    for cluster in clusters.iter().filter_map(Weak::upgrade) {
        if let Err(problem) = cluster.leave() {
            log::error!(error:% = problem; "embedded database: failed to stop the server");
        }
    }
}

/// Whether the process ends at once.
pub(super) fn is_abandoned() -> bool {
    ABANDONED.load(Ordering::SeqCst)
}

/// For as long as the guard lives, [`abandon`] waits.
pub(super) fn opening() -> RwLockReadGuard<'static, ()> {
    OPENING.read().unwrap_or_else(PoisonError::into_inner)
}

/// Notes a cluster that [`abandon`] has to stop.
pub(super) fn opened(cluster: Weak<Shared>) {
    let mut clusters = CLUSTERS.lock().unwrap_or_else(PoisonError::into_inner);
    clusters.retain(|known| known.strong_count() > 0);
    clusters.push(cluster);
}
