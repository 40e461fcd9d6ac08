//! Keeping the queue in order.

use std::time::Instant;

use super::upkeep::Upkeep;
use crate::{
    db::{
        Transactional as _, queue,
        turn::{self, Turn},
    },
    domain::{Error, Result, task::Status},
};

/// Tasks that become due by one statement.
const TASKS_AT_ONCE: usize = 500;
/// Claims of lost workers whose tasks are rescued by one statement.
const CLAIMS_AT_ONCE: usize = 20;

/// Looks after the queue for as long as the actor lives.
pub(super) async fn keep_in_order(upkeep: Upkeep) {
    loop {
        if let Err(error) = order(&upkeep).await {
            log::warn!(error:% = error; "the queue could not be looked after");
        }
        tokio::time::sleep(upkeep.0.settings.look.mul_f64(0.75 + rand::random::<f64>() / 2.0)).await;
    }
}

/// One look: workers that gave no sign of life are given up, and their tasks rescued.
async fn order(upkeep: &Upkeep) -> Result<()> {
    let mut connection = upkeep.0.pool.get().await?;
    let signs = queue::signs_of_life(&mut connection).await?;
    let silent = upkeep.observer().silent(&signs, Instant::now());

    let turn = connection.transaction(async |connection| {
        if !turn::take(connection, Turn::Queue).await? {
            return Ok(None);
        }
        let buried = queue::bury_workers(connection, &silent).await?;
        let rescued = queue::rescue(connection, CLAIMS_AT_ONCE).await?;
        let promoted = queue::promote_left_behind(connection, TASKS_AT_ONCE).await?;
        Ok::<_, Error>(Some((buried, rescued, promoted)))
    });
    let Some((buried, rescued, promoted)) = turn.await? else { return Ok(()) };
    for worker in buried {
        log::warn!(worker_id = worker.0; "a worker gave no sign of life and is given up");
    }
    for (task_id, status) in rescued {
        if status == Status::Failed {
            log::error!(task_id:%; "a task lost its worker once too often, or has no attempt left: it failed");
        } else {
            log::warn!(task_id:%, status:%; "a task was rescued from a lost worker");
        }
    }
    if promoted > 0 {
        log::debug!(tasks = promoted; "tasks became due in queues that no worker serves");
    }
    Ok(())
}
