//! What wakes the worker before it would look by itself.

use std::sync::Arc;

use tokio::sync::{Notify, futures::Notified};

use crate::domain::queue::SERVICE_QUEUE;

/// Wakes the worker of this process. Rung by the dispatcher and by the change feed; ringing often is cheap, and a ring
/// that comes while the worker is looking makes it look once more. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Bells>);

#[derive(Debug, Default)]
struct Bells {
    due: Arc<Notify>,
    scheduled: Notify,
    cancelled: Notify,
    service: Notify,
}

impl Bell {
    /// A task became due in some queue.
    pub fn due(&self) {
        self.0.due.notify_one();
    }

    /// What [`Bell::due`] rings, for who knows nothing of workers.
    pub fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.0.due)
    }

    /// A notification of the channel `starter_tasks`: queues with due tasks, `+` for a scheduled one, `!` and a worker for a
    /// cancelled one, `=` for events; several with commas in between.
    pub fn heard(&self, payload: &str) {
        for part in payload.split(',') {
            match part.chars().next() {
                Some('+') => self.scheduled(),
                Some('!') => self.cancelled(),
                Some('=') => {}
                Some('*') => {
                    self.due();
                    self.service();
                }
                _ if part == SERVICE_QUEUE => self.service(),
                _ => self.due(),
            }
        }
    }

    /// A task was scheduled for later.
    pub fn scheduled(&self) {
        self.0.scheduled.notify_one();
    }

    /// Somebody wants running tasks cancelled.
    pub fn cancelled(&self) {
        self.0.cancelled.notify_one();
    }

    /// A task of the service itself may be due, or a slot that is reserved for such tasks is free.
    pub fn service(&self) {
        self.0.service.notify_one();
    }

    /// All of it: for who does not know, such as a change feed that was cut off for a while.
    pub fn anything(&self) {
        self.due();
        self.scheduled();
        self.cancelled();
        self.service();
    }

    pub(super) fn hear_due(&self) -> Notified<'_> {
        self.0.due.notified()
    }

    pub(super) fn hear_service(&self) -> Notified<'_> {
        self.0.service.notified()
    }

    pub(super) fn hear_scheduled(&self) -> Notified<'_> {
        self.0.scheduled.notified()
    }

    pub(super) fn hear_cancelled(&self) -> Notified<'_> {
        self.0.cancelled.notified()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::*;

    fn rings(payload: &str) -> [bool; 4] {
        let bell = Bell::default();
        bell.heard(payload);
        [bell.hear_due(), bell.hear_scheduled(), bell.hear_cancelled(), bell.hear_service()]
            .map(|heard| pin!(heard).now_or_never().is_some())
    }

    #[test]
    fn a_notification_wakes_who_has_to_do_with_it() {
        assert_eq!(rings("default,mail"), [true, false, false, false]);
        assert_eq!(rings("default,+"), [true, true, false, false]);
        assert_eq!(rings("+"), [false, true, false, false]);
        assert_eq!(rings("!17"), [false, false, true, false]);
        assert_eq!(rings("="), [false, false, false, false]);
        assert_eq!(rings("*"), [true, false, false, true]);
        assert_eq!(rings("starter.service"), [false, false, false, true]);
        assert_eq!(rings("mail,starter.service"), [true, false, false, true]);
    }
}
