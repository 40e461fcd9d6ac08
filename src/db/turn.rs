//! Turns: work that one process at a time does, whichever comes first. No leader, so none to lose; what is done in a turn
//! does no harm when two do it at once, it is only twice the work.

use diesel::sql_types::{BigInt, Bool, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::statement::{Fixed, Statement};
use crate::domain::Result;

struct TryLock;

impl Fixed for TryLock {
    // A process that is frozen in its turn keeps it no longer than that.
    const SQL: &'static str = "
        select pg_try_advisory_xact_lock($1), set_config('idle_in_transaction_session_timeout', '5s', true)";
    type Args = (BigInt,);
    type Row = (Bool, Text);
}

/// What there are turns for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Keeping the queue in order.
    Queue,
    /// Making the tasks of schedules.
    Schedules,
    /// Deleting what is old.
    Sweep,
    /// Clearing up after users who were deactivated or deleted.
    Departures,
}

impl Turn {
    /// The advisory lock. `0x73746172746572` is "starter".
    fn key(self) -> i64 {
        let which = match self {
            Self::Queue => 1,
            Self::Schedules => 3,
            Self::Sweep => 2,
            Self::Departures => 4,
        };
        0x0073_7461_7274_6572 + which
    }
}

/// Takes the turn until the end of the transaction that `connection` is in, so it works through a pooler too.
/// `false`: another process is at it.
///
/// # Errors
/// As the database tells.
pub async fn take(connection: &mut AsyncPgConnection, turn: Turn) -> Result<bool> {
    let (mine, _): (bool, String) =
        Statement::<TryLock, _>::with((turn.key(),)).get_result(connection).await?;
    Ok(mine)
}
