//! What `/metrics` shows of a worker.

use super::shift::Shift;
use crate::actors::figures::{Figure, Source};

/// Of the work at hand, and of what was done since the process started.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, which no count here reaches")]
pub fn figures(shift: &Shift) -> Source {
    let shift = shift.clone();
    Box::new(move || {
        let (now, slots) = (shift.standing(), shift.0.settings.concurrency);
        let figure = |name, help, counts, value| Figure { name, help, counts, labels: Vec::new(), value };
        vec![
            figure("worker_slots", "Attempts that may run at once", false, slots as f64),
            figure("worker_running", "Attempts under way", false, now.running as f64),
            figure("worker_waiting", "Tasks claimed and not yet begun", false, now.waiting as f64),
            figure("worker_reporting", "Outcomes not yet written", false, now.reporting as f64),
            figure("worker_attempts", "Attempts that ended", true, now.ended as f64),
            figure(
                "worker_stale_outcomes",
                "Outcomes thrown away: the task was taken away",
                true,
                now.stale as f64,
            ),
            figure("worker_leases_lost", "How often the worker lost its lease", true, now.leases_lost as f64),
        ]
    })
}
