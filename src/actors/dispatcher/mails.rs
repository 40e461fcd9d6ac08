//! Enqueueing tasks of users that send mails: counted, enqueued and noted under the `Idempotency-Key` in one transaction, so
//! neither requests at the same time nor repeated ones get past the limit or are counted twice.

use actix::{Handler, Message};

use super::{Intake, Replayable, TaskDispatcher, Told, once::render_again};
use crate::{
    actors::reply::Answer,
    db::{self, Connection, Transactional as _},
    domain::{
        Result,
        idempotency::{IdempotencyKey, Known},
        mail_budget::MailBudget,
        task::Enqueued,
    },
};

/// Enqueues all of these or none, if the mails that they send fit into the user's day.
///
/// [`crate::domain::Error::QuotaExceeded`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Told>")]
pub struct EnqueueMails {
    /// The mails that the tasks send.
    pub budget: MailBudget,
    /// The caller's, if the request had one.
    pub key: Option<IdempotencyKey>,
    /// What the caller asks for.
    pub work: Replayable,
}

impl Handler<EnqueueMails> for TaskDispatcher {
    type Result = Answer<Told>;

    fn handle(&mut self, message: EnqueueMails, _: &mut Self::Context) -> Self::Result {
        let (pool, wake, intake) = (self.0.pool.clone(), self.0.wake.clone(), self.0.intake.clone());
        Answer::from_future(async move {
            let mut pooled = pool.get().await?;
            let connection: &mut Connection = &mut pooled;
            let carry_out = async |connection: &mut Connection| carry_out(connection, &intake, message).await;
            let (told, enqueued) = connection.transaction(carry_out).await?;
            wake.after(&enqueued);
            Ok(told)
        })
    }
}

async fn carry_out(
    connection: &mut Connection,
    intake: &Intake,
    message: EnqueueMails,
) -> Result<(Told, Vec<Enqueued>)> {
    let EnqueueMails { budget, key, work } = message;

    // What was answered before is answered again, also when nothing is left of the day.
    if let Some(key) = &key {
        let known = db::idempotency::look_up(connection, std::slice::from_ref(key)).await?;
        let first = known.into_iter().next().unwrap_or(Known::Nothing);
        if let Some(answer) = first.replay(key)? {
            let answer = if answer.lacks_body() {
                render_again(connection, answer, work.render).await?
            } else {
                answer
            };
            return Ok((Told { answer, replayed: true }, Vec::new()));
        }
    }

    db::mail_quotas::reserve(connection, budget).await?;
    let send_mail: Vec<bool> = work.tasks.iter().map(|task| intake.sends_mail(&task.task_type)).collect();
    let enqueued = db::tasks::insert_many(connection, work.tasks).await?;

    // Where an unfinished task has the `unique_key`, the one that was wanted is not enqueued, and sends no mail.
    let unsent =
        enqueued.iter().zip(send_mail).filter(|(one, sends_mail)| *sends_mail && !one.is_new).count();
    if unsent > 0 {
        let mails = u32::try_from(unsent).unwrap_or(u32::MAX);
        db::mail_quotas::refund(connection, budget.user, mails).await?;
    }

    let answer = (work.render)(&enqueued)?;
    if let Some(key) = key {
        db::idempotency::store(connection, &[(key, Some(answer.clone()))]).await?;
    }
    Ok((Told { answer, replayed: false }, enqueued))
}
