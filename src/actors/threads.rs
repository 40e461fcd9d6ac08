//! The threads that actors live on: arbiters backed by one shared multi-thread runtime.
//!
//! A connection's driver runs on the runtime that dialled it. Were each arbiter a runtime of its own, as actix
//! makes them, a busy actor would stall the connections it dialled for everybody (485 ms in an experiment).

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix_rt::{Arbiter, ArbiterHandle};
use tokio::runtime::Runtime;

/// A thread that hung is replaced once, however many of its actors are found mute.
const RENEWAL_PAUSE: Duration = Duration::from_secs(2);

/// One thread for actors; replaceable, because a handler that never returns takes its thread with it.
#[derive(Clone)]
pub struct Thread(Arc<Inner>);

struct Inner {
    name: &'static str,
    runtime: Arc<Runtime>,
    current: Mutex<(ArbiterHandle, Instant)>,
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Thread").field(&self.0.name).finish()
    }
}

impl Thread {
    /// Starts it. An actix `System` must be running.
    pub fn start(name: &'static str, runtime: &Arc<Runtime>) -> Self {
        let current = Mutex::new((arbiter(runtime), Instant::now()));
        Self(Arc::new(Inner { name, runtime: Arc::clone(runtime), current }))
    }

    /// Where to start actors.
    pub fn arbiter(&self) -> ArbiterHandle {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Leaves the present thread to its fate and starts another. Actors on the old one end when it comes back.
    pub fn renew(&self) {
        let mut current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.1.elapsed() < RENEWAL_PAUSE {
            return;
        }
        log::error!(thread = self.0.name; "a thread of actors hangs; starting another");
        current.0.stop();
        *current = (arbiter(&self.0.runtime), Instant::now());
    }

    /// Stops it; what its actors have under way ends with it.
    pub fn stop(&self) {
        self.arbiter().stop();
    }
}

fn arbiter(runtime: &Arc<Runtime>) -> ArbiterHandle {
    let runtime = Arc::clone(runtime);
    Arbiter::with_tokio_rt(move || runtime).handle()
}
