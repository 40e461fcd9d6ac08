//! Noticing that a task's time has come: a timer for the next one, and a look now and then.

use std::{pin::pin, time::Duration};

use super::shift::Shift;
use crate::{
    db::queue::{self, Due},
    domain::Result,
};

/// Tasks made pending by one statement.
const AT_ONCE: usize = 1_000;
/// When another worker was quicker to make a task pending, it may have no room for it. By then it is to be seen.
const AFTER_OTHERS: Duration = Duration::from_millis(10);

/// Makes tasks pending when their time comes, until the shift is over.
pub(super) async fn keep_time(shift: Shift) {
    let mut was_due = false;
    while !shift.0.over.is_cancelled() {
        let mut rung = pin!(shift.0.bell.hear_scheduled());
        rung.as_mut().enable();
        let due = promote(&shift).await.unwrap_or_else(|error| {
            log::warn!(error:% = error; "scheduled tasks could not be looked for");
            Due { promoted: 0, next: None }
        });
        if due.promoted == 0 && was_due {
            tokio::time::sleep(AFTER_OTHERS).await;
        }
        if due.promoted > 0 || was_due {
            shift.0.bell.due();
            shift.0.bell.service();
        }
        was_due = false;
        if due.promoted >= AT_ONCE {
            continue;
        }
        let look = shift.0.settings.poll;
        let next = due.next.filter(|next| *next <= look);
        tokio::select! {
            () = rung => {}
            () = tokio::time::sleep(next.unwrap_or(look)) => was_due = next.is_some(),
            () = shift.0.over.cancelled() => {}
        }
    }
}

async fn promote(shift: &Shift) -> Result<Due> {
    let mut connection = shift.0.pool.get().await?;
    queue::promote(&mut connection, &shift.0.settings.served(), AT_ONCE).await
}
