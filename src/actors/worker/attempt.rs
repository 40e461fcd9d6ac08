//! One attempt, from its claim to its outcome.

use std::{borrow::Cow, panic::AssertUnwindSafe, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use serde_json::Value;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{report::Ending, running::Reason, shift::Shift};
use crate::{
    db::queue::{Stopping, Success},
    domain::{
        JsonText,
        attempt::{Claim, Stopped, Times},
    },
    tasks::{Context, Outcome, RetryPolicy, Stop},
    telemetry,
};

/// How long a handler may take to stop once it was told to.
pub(super) const GRACE: Duration = Duration::from_secs(3);
/// A task that a handler puts off for longer comes back after this: PostgreSQL's intervals end somewhere.
const LONGEST_DELAY: Duration = Duration::from_hours(24 * 3_650);
/// Characters of an error that are kept.
const LONGEST_ERROR: usize = 2_000;

/// What came of the handler's future.
enum Ended {
    Returned(Outcome),
    Panicked,
    OutOfTime,
    /// It was told to stop, and did not.
    Dropped,
}

/// Begins an attempt, as a task of its own.
pub(super) fn begin(
    shift: Shift,
    mut claim: Claim,
    stop: CancellationToken,
    progress: watch::Sender<Option<Value>>,
) {
    let context = Context::new(
        claim.id,
        claim.attempt,
        claim.request_id.clone(),
        claim.created_by,
        stop.clone(),
        shift.0.services.clone(),
        progress,
    );
    let payload = claim.payload.take();
    let request_id = claim.request_id.clone();
    // Thousands begin in a second: the claim is in a box, so that what is spawned stays small.
    let work = attempt(shift, Box::new(claim), payload, context, stop);
    match request_id {
        Some(request_id) => tokio::spawn(telemetry::with_request_id(request_id, work)),
        None => tokio::spawn(work),
    };
}

async fn attempt(
    shift: Shift,
    claim: Box<Claim>,
    payload: Option<JsonText>,
    context: Context,
    stop: CancellationToken,
) {
    log::debug!(task_id:% = claim.id, task_type = claim.task_type, attempt = claim.attempt; "attempt begins");
    let began = shift.0.database_clock.now();
    let start = || handler(&shift, &claim, payload, context);
    let ended = match std::panic::catch_unwind(AssertUnwindSafe(start)) {
        Ok(handler) => bounded(AssertUnwindSafe(handler).catch_unwind(), &stop, claim.timeout).await,
        Err(_) => Ended::Panicked,
    };
    let times = shift.0.database_clock.times_since(began);
    let Some(left) = shift.leave(&claim.leased()) else {
        log::warn!(task_id:% = claim.id, task_type = claim.task_type; "a handler ended long after its time was up");
        return;
    };
    let retry = shift.0.registry.get(&claim.task_type).map_or(RetryPolicy::DEFAULT, |known| known.retry);
    let ending = judge(ended, left.reason, &claim, &retry, times);
    tell(&claim, &ending);
    let (leased, worker_id) = (claim.leased(), claim.worker_id);
    drop(claim);
    if let Some(progress) = left.unwritten_progress() {
        Box::pin(shift.write_progress(&[(leased, progress)])).await;
    }
    match ending {
        Ending::Succeeded(success) => shift.succeeded(leased, worker_id, success),
        stopped => Box::pin(shift.report(leased, worker_id, stopped)).await,
    }
}

/// The handler's future, which reads the payload first where it did not come with the claim.
fn handler(
    shift: &Shift,
    claim: &Claim,
    payload: Option<JsonText>,
    context: Context,
) -> BoxFuture<'static, Outcome> {
    if let Some(payload) = payload {
        return shift.0.registry.start(&claim.task_type, &payload, context);
    }
    let (shift, leased, task_type) = (shift.clone(), claim.leased(), claim.task_type.clone());
    Box::pin(async move {
        let payload = shift.payload(leased, &context.cancelled).await?;
        shift.0.registry.start(&task_type, &payload, context).await
    })
}

/// Runs the handler until it ends, its time is up, or it was told to stop and did not.
async fn bounded(
    mut handler: impl Future<Output = std::thread::Result<Outcome>> + Unpin,
    stop: &CancellationToken,
    time: Duration,
) -> Ended {
    let told = |result: std::thread::Result<Outcome>| result.map_or(Ended::Panicked, Ended::Returned);
    let too_late = tokio::select! {
        biased;
        result = &mut handler => return told(result),
        () = stop.cancelled() => Ended::Dropped,
        () = tokio::time::sleep(time) => {
            stop.cancel();
            Ended::OutOfTime
        }
    };
    match (timeout(GRACE, &mut handler).await, too_late) {
        // It stopped because it was told to: what counts is why.
        (Ok(Ok(Err(Stop::Cancelled))), Ended::OutOfTime) | (Err(_), Ended::OutOfTime) => Ended::OutOfTime,
        (Ok(result), _) => told(result),
        (Err(_), _) => Ended::Dropped,
    }
}

/// What is to be written down.
fn judge(
    ended: Ended,
    reason: Option<Reason>,
    claim: &Claim,
    retry: &RetryPolicy,
    times: Option<Times>,
) -> Ending {
    let failures = u32::try_from(claim.retry_count).unwrap_or(0).saturating_add(1);
    let backoff = || retry.delay(failures, rand::random());
    let (how, why, delay) = match (ended, reason) {
        (Ended::Returned(Ok(result)), _) => {
            return Ending::Succeeded(Success { result: Some(result).filter(|r| !r.is_null()), times });
        }
        (Ended::Returned(Err(Stop::Cancelled)) | Ended::Dropped, Some(Reason::Interrupted)) => {
            (Stopped::Interrupted, Some("its worker stopped".into()), Duration::ZERO)
        }
        (Ended::Returned(Err(Stop::Cancelled)) | Ended::Dropped, _) => {
            (Stopped::Cancelled, None, Duration::ZERO)
        }
        (Ended::Returned(Err(Stop::Failed { why, not_before })), _) => {
            (Stopped::Failed, Some(why), backoff().max(not_before.unwrap_or_default()))
        }
        (Ended::Returned(Err(Stop::Refused(why))), _) => (Stopped::Refused, Some(why), Duration::ZERO),
        (Ended::Returned(Err(Stop::Snooze(time))), _) => (Stopped::Snoozed, None, time),
        (Ended::Panicked, _) => (Stopped::Failed, Some("its handler panicked".into()), backoff()),
        (Ended::OutOfTime, _) => {
            let seconds = claim.timeout.as_secs();
            (Stopped::TimedOut, Some(format!("not done within {seconds} s").into()), backoff())
        }
    };
    Ending::Stopped(Stopping { how, why: why.map(storable), delay: delay.min(LONGEST_DELAY), times })
}

/// As PostgreSQL can store it, and a person read it.
fn storable(why: Cow<'static, str>) -> String {
    why.chars().filter(|&c| c != '\0').take(LONGEST_ERROR).collect()
}

fn tell(claim: &Claim, ending: &Ending) {
    let (task_id, task_type, attempt) = (claim.id, claim.task_type.as_str(), claim.attempt);
    match ending {
        Ending::Succeeded(_) => log::debug!(task_id:%, task_type, attempt; "attempt succeeded"),
        Ending::Stopped(Stopping {
            how: Stopped::Failed | Stopped::TimedOut | Stopped::Refused,
            why,
            ..
        }) => {
            let error = why.as_deref().unwrap_or_default();
            log::warn!(task_id:%, task_type, attempt, error; "attempt failed");
        }
        Ending::Stopped(stopping) => {
            log::info!(task_id:%, task_type, attempt, how:% = stopping.how; "attempt stopped");
        }
    }
}
