//! The threads that actors live on: arbiters backed by one shared multi-thread runtime.
//!
//! A connection's driver runs on the runtime that dialled it. Were each arbiter a runtime of its own, as actix
//! makes them, a busy actor would stall the connections it dialled for everybody (485 ms in an experiment).

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use actix_rt::{Arbiter, ArbiterHandle, System};
use tokio::runtime::Runtime;

/// One thread for actors; replaceable, because a handler that never returns takes its thread with it.
#[derive(Clone)]
pub struct Thread(Arc<Inner>);

struct Inner {
    name: &'static str,
    runtime: Arc<Runtime>,
    system: System,
    current: Mutex<(ArbiterHandle, Epoch)>,
}

/// Which of the threads that stood in one place.
pub type Epoch = u64;

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Thread").field(&self.0.name).finish()
    }
}

impl Thread {
    /// Starts it. An actix `System` must be running.
    pub fn start(name: &'static str, runtime: &Arc<Runtime>) -> Self {
        let current = Mutex::new((arbiter(runtime), 0));
        Self(Arc::new(Inner { name, runtime: Arc::clone(runtime), system: System::current(), current }))
    }

    /// Where to start actors, and which one that is.
    pub fn arbiter(&self) -> (ArbiterHandle, Epoch) {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Leaves the thread of that epoch to its fate and starts another; once, however many of its actors are
    /// found mute. Actors on the old one end when it comes back.
    pub fn renew(&self, hung: Epoch) {
        let mut current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.1 == hung {
            log::error!(thread = self.0.name; "a thread of actors hangs; starting another");
            current.0.stop();
            // The watchdog's own thread belongs to no system, and an arbiter joins that of its maker.
            System::set_current(self.0.system.clone());
            *current = (arbiter(&self.0.runtime), hung + 1);
        }
    }

    /// Stops it; what its actors have under way ends with it.
    pub fn stop(&self) {
        self.arbiter().0.stop();
    }
}

fn arbiter(runtime: &Arc<Runtime>) -> ArbiterHandle {
    let runtime = Arc::clone(runtime);
    Arbiter::with_tokio_rt(move || runtime).handle()
}
