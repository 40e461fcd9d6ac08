//! Claiming what the service itself has to do: letters to its users. It is in a queue of its own, which every worker serves,
//! and has slots reserved for it, so that it waits for nobody's tasks.

use std::{pin::pin, time::Duration};

use super::{
    shares::Lane,
    shift::{Registration, Shift},
};
use crate::{
    db::queue::{self, Wanted},
    domain::{Error, Result, attempt::Lease, queue::SERVICE_QUEUE},
};

const RETRY: Duration = Duration::from_secs(1);

/// Claims whenever there is room and reason to look, until the shift is over.
pub(super) async fn keep_serving(shift: Shift) {
    while !shift.0.over.is_cancelled() {
        // Armed before looking, so that no notification is lost in between.
        let mut rung = pin!(shift.0.bell.hear_service());
        rung.as_mut().enable();

        // As a task of its own, so that an answer is not lost with the actor.
        let looked = tokio::spawn(look(shift.clone())).await;
        let pause = match looked.unwrap_or_else(|panic| Err(Error::internal(panic))) {
            Ok(Found::Plenty) => continue,
            Ok(Found::Little) => shift.0.settings.poll.mul_f64(0.75 + rand::random::<f64>() / 2.0),
            Err(error) => {
                log::warn!(error:% = error; "worker failed to claim tasks of the service");
                RETRY
            }
        };
        tokio::select! {
            () = rung => {}
            () = tokio::time::sleep(pause) => {}
            () = shift.0.over.cancelled() => {}
        }
    }
}

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// As much as there was room for: there may be more.
    Plenty,
    /// Less, or there was no room.
    Little,
}

async fn look(shift: Shift) -> Result<Found> {
    // No other claim is under way meanwhile: who takes stock relies on that.
    let _claiming = shift.0.claiming.lock().await;
    let (registration, at_most) = shift.room_for_service();
    let Some(Registration { id: worker_id, .. }) = registration.filter(|_| at_most > 0) else {
        return Ok(Found::Little);
    };

    let mut connection = shift.0.pool.get().await?;
    let places = shift.desk().waiting.reserve_passing(at_most);
    let types = shift.unlimited_types();
    let wanted =
        Wanted { queue: SERVICE_QUEUE, task_types: &types, limited: None, at_most, whence: None, places };
    let plans = shift.0.pool.plans();
    let claimed = queue::claim_from(&mut connection, plans, worker_id, Lease::draw(), wanted).await;
    let claims = claimed.inspect_err(|_| shift.desk().stock.doubt())?;
    let found = if claims.len() == at_most { Found::Plenty } else { Found::Little };
    shift.take_or_return(&mut connection, claims, places, Lane::Service).await?;
    Ok(found)
}

impl Shift {
    fn room_for_service(&self) -> (Option<Registration>, usize) {
        let desk = self.desk();
        let free = if desk.may_claim() && !self.is_late(&desk) {
            desk.free_for_service(self.0.settings.concurrency)
        } else {
            0
        };
        (desk.registration, free)
    }
}
