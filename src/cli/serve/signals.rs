//! Why a process ends.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Why a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Somebody asked for it.
    Signal(&'static str),
    /// An actor keeps dying, and restarts do not heal it.
    GivenUp,
    /// The listener ended by itself.
    Listener,
}

/// The signals that ask a process to end.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on these signals do not kill the process.
    pub(super) fn catch() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one, or for `given_up`.
    pub(super) async fn wait(&mut self, given_up: &CancellationToken) -> End {
        tokio::select! {
            _ = self.terminate.recv() => End::Signal("SIGTERM"),
            _ = self.interrupt.recv() => End::Signal("SIGINT"),
            () = given_up.cancelled() => End::GivenUp,
        }
    }

    /// Waits for a second signal: whoever sends it does not want to wait for the grace.
    pub(super) async fn wait_again(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
