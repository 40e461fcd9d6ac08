//! How many mails the tasks of a user may still send on a day, by UTC and by the database's clock.

use std::time::Duration;

use chrono::{Days, NaiveTime};
use diesel::{
    OptionalExtension as _,
    sql_types::{Integer, Uuid as SqlUuid},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::{
    clock,
    statement::{Fixed, Statement},
};
use crate::domain::{Error, Result, UserId, mail_budget::MailBudget};

struct Reserve;

impl Fixed for Reserve {
    // A transaction that began before midnight and waited for another never leads back to the day before.
    const SQL: &'static str = "
        insert into mail_quotas as q (user_id, day, sent)
        values ($1, (clock_timestamp() at time zone 'utc')::date, $2)
        on conflict (user_id) do update set
            day = greatest(q.day, excluded.day),
            sent = case when q.day >= excluded.day then q.sent else 0 end + excluded.sent
        where case when q.day >= excluded.day then q.sent else 0 end + excluded.sent <= $3
        returning sent";
    type Args = (SqlUuid, Integer, Integer);
    type Row = Integer;
}

/// Counts mails before they are enqueued. The user's other requests wait until the transaction ends, so none gets past
/// the limit beside it.
///
/// # Errors
/// [`Error::QuotaExceeded`] when not all of them fit into the day.
pub async fn reserve(connection: &mut AsyncPgConnection, budget: MailBudget) -> Result<()> {
    let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    if budget.mails <= budget.daily {
        let values = (budget.user.0, count(budget.mails), count(budget.daily));
        let sent: Option<i32> =
            Statement::<Reserve, _>::with(values).get_result(connection).await.optional()?;
        if sent.is_some() {
            return Ok(());
        }
    }

    let now = clock::now(connection).await?;
    let tomorrow =
        now.date_naive().checked_add_days(Days::new(1)).map(|day| day.and_time(NaiveTime::MIN).and_utc());
    let wait = tomorrow.and_then(|tomorrow| (tomorrow - now).to_std().ok());
    let detail = "Your tasks have sent as many mails as they may on one day.";
    Err(Error::QuotaExceeded { detail, retry_after: wait.unwrap_or(Duration::from_secs(86_400)) })
}

struct Refund;

impl Fixed for Refund {
    const SQL: &'static str = "
        update mail_quotas set sent = greatest(sent - $2, 0) where user_id = $1";
    type Args = (SqlUuid, Integer);
    type Row = ();
}

/// Gives counted mails back that were not enqueued, in the transaction that counted them.
///
/// # Errors
/// As the database tells.
pub async fn refund(connection: &mut AsyncPgConnection, user: UserId, mails: u32) -> Result<()> {
    let mails = i32::try_from(mails).unwrap_or(i32::MAX);
    Statement::<Refund, _>::with((user.0, mails)).execute(connection).await?;
    Ok(())
}
