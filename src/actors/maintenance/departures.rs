//! Clearing up after users who were deactivated or deleted: their unfinished tasks are cancelled, and those of deleted users
//! disowned. The change of the user itself does not wait for that. Who is to be cleared up after is in the database, so a
//! process that dies leaves it to the others.

use std::time::Duration;

use super::upkeep::Upkeep;
use crate::{
    db::{
        self, Connection, Transactional as _,
        tasks::Departed,
        turn::{self, Turn},
    },
    domain::{Error, Result},
};

/// Tasks that one statement cancels or disowns.
const STEP: usize = 1_000;
/// Steps for one user before the others have their turn.
const STEPS: usize = 20;
/// Between two steps, so that others get their turn at the disk.
const PAUSE: Duration = Duration::from_millis(5);

/// Clears up for as long as the actor lives.
pub(super) async fn keep_clearing(upkeep: Upkeep) {
    loop {
        // As a task of its own: it holds what another process waits for, and this thread may hang.
        let clearing = upkeep.clone();
        let cleared = tokio::spawn(async move { clearing.clear_up_after_users().await }).await;
        let more = match cleared.unwrap_or_else(|panic| Err(Error::internal(panic))) {
            Ok(more) => more,
            Err(error) => {
                log::warn!(error:% = error; "maintenance failed to clear up after departed users");
                false
            }
        };
        if !more {
            tokio::time::sleep(upkeep.0.settings.look.mul_f64(0.75 + rand::random::<f64>() / 2.0)).await;
        }
    }
}

impl Upkeep {
    /// Cancels tasks of departed users, a bounded number. Returns whether there may be more to do at once.
    ///
    /// # Errors
    /// As the database tells, at the first step that fails.
    pub async fn clear_up_after_users(&self) -> Result<bool> {
        let departed = db::tasks::departed(&mut *self.0.pool.get().await?).await?;
        let mut more = false;
        for user in departed {
            more |= self.clear_up_after(&user).await?;
        }
        Ok(more)
    }

    async fn clear_up_after(&self, user: &Departed) -> Result<bool> {
        for step in 0..STEPS {
            let mut connection = self.0.pool.get().await?;
            let done = connection.transaction(async |connection| {
                let mine = turn::take(connection, Turn::Departures).await?;
                if mine { clear_up(connection, user, step == 0).await.map(Some) } else { Ok(None) }
            });
            match done.await? {
                // Another process is at it, or nothing is left to do for now.
                None | Some(0) => return Ok(false),
                Some(tasks) => {
                    log::debug!(user_id:% = user.owned().owner, tasks; "maintenance cleared up tasks")
                }
            }

            drop(connection);
            tokio::time::sleep(PAUSE).await;
        }
        Ok(true)
    }
}

/// One step. Returns how many tasks it changed.
async fn clear_up(connection: &mut Connection, user: &Departed, first: bool) -> Result<usize> {
    let owned = user.owned();
    // What runs holds slots, so it comes first; and once more at the end, for what was being claimed meanwhile.
    let asked = if first { db::tasks::cancel_running_of(connection, owned).await? } else { 0 };
    let mut changed = asked + db::tasks::cancel_waiting_of(connection, owned, STEP).await?;
    if changed == 0 {
        changed = db::tasks::cancel_running_of(connection, owned).await?;
    }
    if changed == 0 && user.is_deleted {
        changed = db::tasks::disown(connection, owned.owner, STEP).await?;
    }
    if changed == 0 {
        db::tasks::forget_departed(connection, user).await?;
    }
    Ok(changed)
}
