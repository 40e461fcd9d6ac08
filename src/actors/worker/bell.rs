//! What wakes the worker before it would look by itself.

use std::sync::Arc;

use tokio::sync::{Notify, futures::Notified};

/// Wakes the worker of this process. Rung by the dispatcher and by the change feed; ringing often is cheap, and a ring
/// that comes while the worker is looking makes it look once more. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Bells>);

#[derive(Debug, Default)]
struct Bells {
    due: Notify,
    scheduled: Notify,
    cancelled: Notify,
}

impl Bell {
    /// A task became due in some queue.
    pub fn due(&self) {
        self.0.due.notify_one();
    }

    /// A task was scheduled for later.
    pub fn scheduled(&self) {
        self.0.scheduled.notify_one();
    }

    /// Somebody wants running tasks cancelled.
    pub fn cancelled(&self) {
        self.0.cancelled.notify_one();
    }

    /// All of it: for who does not know, such as a change feed that was cut off for a while.
    pub fn anything(&self) {
        self.due();
        self.scheduled();
        self.cancelled();
    }

    pub(super) fn hear_due(&self) -> Notified<'_> {
        self.0.due.notified()
    }

    pub(super) fn hear_scheduled(&self) -> Notified<'_> {
        self.0.scheduled.notified()
    }

    pub(super) fn hear_cancelled(&self) -> Notified<'_> {
        self.0.cancelled.notified()
    }
}
