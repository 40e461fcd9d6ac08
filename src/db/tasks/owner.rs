//! All tasks of one owner: cancelling and disowning them, a bounded number at a time.

use chrono::{DateTime, Utc};
use diesel::{
    deserialize::Queryable,
    sql_types::{BigInt, Bool, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use crate::{
    db::statement::{Fixed, Statement},
    domain::{Result, UserId},
};

/// Whose tasks, and which of them.
#[derive(Debug, Clone, Copy)]
pub struct Owned {
    /// The owner.
    pub owner: UserId,
    /// Those that were made before this.
    pub before: DateTime<Utc>,
    /// Of schedules, those that were made up to this.
    pub of_schedules_until: DateTime<Utc>,
}

struct CancelWaiting;

impl Fixed for CancelWaiting {
    // What is locked is being claimed: the next step finds it running. The order, and comparing owners by order too, leave
    // one index to take, whatever the statistics say: of a user who has most tasks, PostgreSQL would look through all.
    const SQL: &'static str = "
        with chosen as (
            select id from (
                select id from tasks where stage = 'due' and created_by >= $1 and created_by <= $1 and created_at < $2
                    and (schedule_id is null or created_at <= $3)
                order by created_by, queue, priority desc, run_at limit $4 for update skip locked) due
            union all
            select id from (
                select id from tasks
                where stage in ('waiting', 'failed', 'cancelled') and stage >= 'waiting' and stage <= 'waiting'
                    and created_by >= $1 and created_by <= $1 and created_at < $2
                    and (schedule_id is null or created_at <= $3)
                order by created_by, stage, id limit $4 for update skip locked) waiting
        )
        update tasks set status = 'cancelled', stage = 'cancelled', held_key = null,
            cancel_requested_at = coalesce(cancel_requested_at, statement_timestamp()),
            finished_at = statement_timestamp(), updated_at = statement_timestamp()
        where id = any(array(select id from chosen))
        returning id";
    const REPLAN: bool = true;
    type Args = (SqlUuid, Timestamptz, Timestamptz, BigInt);
    type Row = (SqlUuid,);
}

/// Cancels tasks of an owner that wait, at most `at_most` that are due and as many that are scheduled. Returns how many.
///
/// # Errors
/// As the database tells.
pub async fn cancel_waiting_of(
    connection: &mut AsyncPgConnection,
    owned: Owned,
    at_most: usize,
) -> Result<usize> {
    let limit = i64::try_from(at_most).unwrap_or(i64::MAX);
    let values = (owned.owner.0, owned.before, owned.of_schedules_until, limit);
    let rows: Vec<(Uuid,)> = Statement::<CancelWaiting, _>::with(values).get_results(connection).await?;
    Ok(rows.len())
}

struct CancelRunning;

impl Fixed for CancelRunning {
    // Their workers are asked to stop them, each by one notification.
    const SQL: &'static str = "
        with chosen as (
            select id from tasks
            where id = any(array(
                    select x.id from task_claims c cross join lateral unnest(c.task_ids) as x (id)
                    cross join lateral (
                        select from tasks where id = x.id and lease = c.lease and created_by = $1 limit 1) t))
                and status = 'running' and cancel_requested_at is null and created_at < $2
                and (schedule_id is null or created_at <= $3)
            order by id for update skip locked
        ), asked as (
            update tasks set cancel_requested_at = statement_timestamp(), updated_at = statement_timestamp()
            where id = any(array(select id from chosen))
            returning worker_id
        )
        select count(*), (select string_agg(pg_notify('starter_tasks', '!' || worker_id)::text, '')
            from (select distinct worker_id from asked) worker)
        from asked";
    const REPLAN: bool = true;
    type Args = (SqlUuid, Timestamptz, Timestamptz);
    type Row = (BigInt, Nullable<Text>);
}

/// Asks for all running tasks of an owner to be stopped. Returns how many were not asked before.
///
/// # Errors
/// As the database tells.
pub async fn cancel_running_of(connection: &mut AsyncPgConnection, owned: Owned) -> Result<usize> {
    let values = (owned.owner.0, owned.before, owned.of_schedules_until);
    let (asked, _): (i64, Option<String>) =
        Statement::<CancelRunning, _>::with(values).get_result(connection).await?;
    Ok(usize::try_from(asked).unwrap_or(0))
}

struct Disown;

impl Fixed for Disown {
    const SQL: &'static str = "
        update tasks set created_by = null where id = any(array(
            select id from tasks where created_by >= $1 and created_by <= $1
            order by created_by, id limit $2 for update))
        returning id";
    const REPLAN: bool = true;
    type Args = (SqlUuid, BigInt);
    type Row = (SqlUuid,);
}

/// Takes at most `at_most` tasks from their owner. Returns how many there were.
///
/// # Errors
/// As the database tells.
pub async fn disown(connection: &mut AsyncPgConnection, owner: UserId, at_most: usize) -> Result<usize> {
    let limit = i64::try_from(at_most).unwrap_or(i64::MAX);
    let left: Vec<(Uuid,)> = Statement::<Disown, _>::with((owner.0, limit)).get_results(connection).await?;
    Ok(left.len())
}

struct DepartedUsers;

impl Fixed for DepartedUsers {
    const SQL: &'static str = "
        select user_id, is_deleted, departed_at, cancel_before from departed_users order by departed_at limit $1";
    type Args = (BigInt,);
    type Row = (SqlUuid, Bool, Timestamptz, Timestamptz);
}

/// A user who was deactivated or deleted, and whose tasks are not cleared up yet.
#[derive(Debug, Clone, Copy, Queryable)]
pub struct Departed {
    user_id: Uuid,
    /// Deleted: nothing of the user is left but tasks.
    pub is_deleted: bool,
    departed_at: DateTime<Utc>,
    cancel_before: DateTime<Utc>,
}

impl Departed {
    /// The user's tasks.
    pub fn owned(&self) -> Owned {
        let owner = UserId(self.user_id);
        Owned { owner, before: self.cancel_before, of_schedules_until: self.departed_at }
    }
}

/// Returns users whose tasks are to be cleared up, at most a hundred, those first who departed first.
///
/// # Errors
/// As the database tells.
pub async fn departed(connection: &mut AsyncPgConnection) -> Result<Vec<Departed>> {
    Ok(Statement::<DepartedUsers, _>::with((100,)).get_results(connection).await?)
}

struct ForgetDeparted;

impl Fixed for ForgetDeparted {
    const SQL: &'static str = "
        delete from departed_users where user_id = $1 and departed_at = $2 and cancel_before <= statement_timestamp()
        returning user_id";
    type Args = (SqlUuid, Timestamptz);
    type Row = (SqlUuid,);
}

/// Forgets a user whose tasks are cleared up, unless more may come from requests that are under way.
///
/// # Errors
/// As the database tells.
pub async fn forget_departed(connection: &mut AsyncPgConnection, user: &Departed) -> Result<()> {
    let values = (user.user_id, user.departed_at);
    let _gone: Vec<(Uuid,)> = Statement::<ForgetDeparted, _>::with(values).get_results(connection).await?;
    Ok(())
}

struct CountUnfinished;

impl Fixed for CountUnfinished {
    // Each part is bounded, and found by an index that has unfinished tasks only, or by the claims.
    const SQL: &'static str = "
        select (select role = 'admin' from users where id = $1),
            (select count(*) from (
                select from tasks where stage = 'due' and created_by >= $1 and created_by <= $1
                order by created_by, queue, priority desc, run_at limit $2) due)
            + (select count(*) from (
                select from tasks
                where stage in ('waiting', 'failed', 'cancelled') and stage >= 'waiting' and stage <= 'waiting'
                    and created_by >= $1 and created_by <= $1
                order by created_by, stage, id limit $2) waiting)
            + (select count(*) from (
                select from task_claims c cross join lateral unnest(c.task_ids) as x (id)
                cross join lateral (
                    select from tasks where id = x.id and lease = c.lease and created_by = $1 limit 1) t
                limit $2) running)";
    const REPLAN: bool = true;
    type Args = (SqlUuid, BigInt);
    type Row = (Nullable<Bool>, BigInt);
}

/// Returns how many unfinished tasks a user has, counted up to `bound` or somewhat more; `None` for an administrator.
///
/// # Errors
/// As the database tells.
pub async fn unfinished_of(
    connection: &mut AsyncPgConnection,
    owner: UserId,
    bound: usize,
) -> Result<Option<usize>> {
    let bound = i64::try_from(bound).unwrap_or(i64::MAX - 1);
    let (is_admin, count): (Option<bool>, i64) =
        Statement::<CountUnfinished, _>::with((owner.0, bound)).get_result(connection).await?;
    let count = usize::try_from(count).unwrap_or(0);
    Ok(if is_admin == Some(true) { None } else { Some(count) })
}
