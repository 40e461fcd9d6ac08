//! The worker's side of the queue: claims, leases, outcomes, and what keeps the queue in order.
//!
//! Every statement about running tasks shows their leases; a task whose lease has changed is left alone. Statements
//! over many tasks find them by `id = any(…)`, so that PostgreSQL needs no statistics to choose the primary key. Those that
//! move tasks between workers skip what is locked or lock by id; the others name their tasks in the order of their ids, which is
//! the order of most plans. Should two wait for each other all the same, PostgreSQL ends one, and it is tried again.

/// Each running task as `t` (its status, type and queue), with its claim as `c`. One look by the primary key for each,
/// whatever statistics there are.
macro_rules! running_tasks {
    () => {
        "from task_claims c cross join lateral unnest(c.task_ids) as x (id)
            cross join lateral (
                select status, task_type, queue from tasks where id = x.id and lease = c.lease limit 1) t"
    };
}
pub(super) use running_tasks;

/// A column that wakes the workers for those of the rows that are pending; they have a `queue` and a `status`.
macro_rules! ring {
    ($rows:literal) => {
        concat!(
            "(select pg_notify('starter_tasks', case when count(*) > 50 then '*' else string_agg(queue, ',') end)::text
                from (select distinct queue from ",
            $rows,
            " where status = 'pending') as due having count(*) > 0)"
        )
    };
}
pub(super) use ring;

mod claim;
mod claim_others;
mod clock;
mod due;
mod hand_back;
mod outcome;
mod payloads;
mod progress;
mod registration;
mod rescue;
mod schedule;
mod watch;

pub use claim::{Places, Wanted, Whence, claim, claim_from, claim_limited, peek};
pub use claim_others::{Others, claim_of_others};
pub use clock::{Planned, bring_back, planned, replan};
pub use due::{Due, promote, promote_left_behind};
pub use hand_back::{hand_back, settle, take_back};
pub use outcome::{Stopping, Success, stop, succeed, succeed_by};
pub use payloads::payloads;
pub use progress::report_progress;
pub use registration::{beat, deregister, note_begun, register};
pub use rescue::{Rescued, SignOfLife, bury_workers, rescue, signs_of_life};
pub use schedule::{DueTick, Firing, disable, due_ticks, fire, next_tick};
pub use watch::{Interference, watch};

use uuid::Uuid;

use crate::domain::{
    TaskId,
    attempt::{Lease, Leased},
};

/// Tasks with their leases, as two arrays.
fn columns<'a>(tasks: impl Iterator<Item = &'a Leased>) -> (Vec<Uuid>, Vec<i64>) {
    tasks.map(|(id, lease)| (id.0, lease.0)).unzip()
}

fn leased((id, lease): (Uuid, i64)) -> Leased {
    (TaskId(id), Lease(lease))
}
