//! Taking due tasks: the best first, each by one worker only.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use diesel::{
    deserialize::Queryable,
    sql_types::{Array, BigInt, Bool, Integer, Json, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};
use uuid::Uuid;

use crate::{
    db::{
        Plans,
        json::Stored,
        moment::Moment,
        statement::{Fixed, Statement},
    },
    domain::{
        Result, TaskId, UserId,
        attempt::{Claim, Lease, WorkerId},
    },
};

// A worker that was given up (its row is gone) gets nothing, nor does anybody from a paused queue. Rows that the
// statement has locked are where it found them: no index is asked for them again. What was claimed is noted by its lease, so that
// running tasks are found without an index of their own. A large payload (one that is compressed may be) stays where it is
// until its attempt begins: what is claimed ahead is bounded in bytes, and no size has to be summed up for it.
macro_rules! claim_ready {
    ($($ready:tt)*) => {
        concat!(
            $($ready)*,
            "
        ), noted as (
            insert into task_claims (lease, worker_id, task_type, task_ids, first_place, begun_to)
            select $5, $3, $6, array_agg(id), $7, $8 from ready having count(*) > 0
        )
        update tasks set status = 'running', stage = null, attempt = attempt + 1, worker_id = $3, lease = $5, progress = null,
            started_at = statement_timestamp(), updated_at = statement_timestamp()
        where ctid = any(array(select ctid from ready))
        returning id, task_type,
            case when pg_column_size(payload) <= 4096 and pg_column_compression(payload) is null then payload end, attempt, retry_count, timeout_secs, request_id, created_by, priority, run_at,
            retry_count + 1 >= max_attempts or crashes >= 2"
        )
    };
}
pub(super) use claim_ready;

macro_rules! claim_tasks {
    ($whence:literal) => {
        claim_ready!(
            "
        with ready as (
            select ctid, id from tasks
            where stage = 'due' and queue = $1 and task_type = any($2) and run_at <= now()",
            $whence,
            "
                and exists (select 1 from workers where id = $3)
                and (select paused_at from queues where name = $1) is null
            order by priority desc, run_at, id
            limit $4
            for update skip locked"
        )
    };
}

pub(super) type Columns = (
    SqlUuid,
    Text,
    Nullable<Json>,
    Integer,
    Integer,
    Integer,
    Nullable<Text>,
    Nullable<SqlUuid>,
    SmallInt,
    Timestamptz,
    Bool,
);

struct ClaimTasks<const REPLAN: bool>;

impl<const REPLAN: bool> Fixed for ClaimTasks<REPLAN> {
    const SQL: &'static str = claim_tasks!("");
    const REPLAN: bool = REPLAN;
    type Args = (Text, Array<Text>, BigInt, BigInt, BigInt, Nullable<Text>, BigInt, BigInt);
    type Row = Columns;
}

struct ClaimTasksFrom<const REPLAN: bool>;

impl<const REPLAN: bool> Fixed for ClaimTasksFrom<REPLAN> {
    // With one priority only, the time is a bound in the index: the scan begins there.
    const SQL: &'static str = claim_tasks!(" and priority = $9 and run_at >= $10");
    const REPLAN: bool = REPLAN;
    type Args =
        (Text, Array<Text>, BigInt, BigInt, BigInt, Nullable<Text>, BigInt, BigInt, SmallInt, Timestamptz);
    type Row = Columns;
}

/// Where in a queue to begin: at tasks of this priority that were due at this time or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whence {
    /// The tasks' priority.
    pub priority: i16,
    /// When the first of them was due.
    pub run_at: DateTime<Utc>,
}

#[derive(Queryable)]
pub(super) struct Row {
    id: Uuid,
    task_type: String,
    payload: Option<Stored>,
    attempt: i32,
    retry_count: i32,
    timeout_secs: i32,
    request_id: Option<String>,
    created_by: Option<Uuid>,
    priority: i16,
    run_at: Moment,
    last_chance: bool,
}

/// Claims at most `at_most` due tasks of `queue`, best first, of types that are in `task_types`: the others are left
/// for a worker that knows them.
///
/// When the answer is lost on its way, the tasks may be claimed all the same: [`super::take_back`].
///
/// # Errors
/// As the database tells.
pub async fn claim(
    connection: &mut AsyncPgConnection,
    worker_id: WorkerId,
    lease: Lease,
    queue: &str,
    task_types: &[&str],
    at_most: usize,
) -> Result<Vec<Claim>> {
    let wanted =
        Wanted { queue, task_types, limited: None, at_most, whence: None, places: Places::ALL_BEGIN };
    claim_from(connection, Plans::Fresh, worker_id, lease, wanted).await
}

/// Where the tasks of a claim are in the order in which their worker begins them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// The first one's; the others follow.
    pub first: i64,
    /// Those up to this place may begin as soon as they are claimed. Those behind it may when [`super::note_begun`] has
    /// it in writing.
    pub begun_to: i64,
}

impl Places {
    /// All may begin.
    pub const ALL_BEGIN: Self = Self { first: 1, begun_to: i64::MAX };
}

/// What to claim.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// From where.
    pub queue: &'a str,
    /// Of these types.
    pub task_types: &'a [&'a str],
    /// The only type, if just so many of it may run: the claim is counted as such.
    pub limited: Option<&'a str>,
    /// No more than that.
    pub at_most: usize,
    /// Where in the queue to begin; `None`: at the front.
    pub whence: Option<Whence>,
    /// Which of them may begin.
    pub places: Places,
}

/// As [`claim`], but may look only at tasks of one priority, from one time on. The index still has an entry for each task
/// that was claimed and that an open transaction may yet see; who begins behind them need not step over them.
///
/// # Errors
/// As the database tells.
pub async fn claim_from(
    connection: &mut AsyncPgConnection,
    plans: Plans,
    worker_id: WorkerId,
    lease: Lease,
    wanted: Wanted<'_>,
) -> Result<Vec<Claim>> {
    let Wanted { queue, task_types, limited, at_most, whence, places: Places { first, begun_to } } = wanted;
    let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
    let from_front = (queue, task_types, worker_id.0, at_most, lease.0, limited, first, begun_to);
    let from = |Whence { priority, run_at }| {
        (queue, task_types, worker_id.0, at_most, lease.0, limited, first, begun_to, priority, run_at)
    };
    let rows: Vec<Row> = match (whence.map(from), plans) {
        (None, Plans::Kept) => {
            Statement::<ClaimTasks<false>, _>::with(from_front).get_results(connection).await?
        }
        (None, Plans::Fresh) => {
            Statement::<ClaimTasks<true>, _>::with(from_front).get_results(connection).await?
        }
        (Some(from), Plans::Kept) => {
            Statement::<ClaimTasksFrom<false>, _>::with(from).get_results(connection).await?
        }
        (Some(from), Plans::Fresh) => {
            Statement::<ClaimTasksFrom<true>, _>::with(from).get_results(connection).await?
        }
    };
    let mut claims: Vec<Claim> = rows.into_iter().map(|row| row.into_claim(worker_id, lease)).collect();
    claims.sort_by_key(|claim| (std::cmp::Reverse(claim.priority), claim.run_at, claim.id));
    Ok(claims)
}

impl Row {
    pub(super) fn into_claim(self, worker_id: WorkerId, lease: Lease) -> Claim {
        Claim {
            id: TaskId(self.id),
            lease,
            worker_id,
            task_type: self.task_type,
            payload: self.payload.and_then(|payload| payload.read().ok()),
            attempt: self.attempt,
            retry_count: self.retry_count,
            timeout: Duration::from_secs(u64::try_from(self.timeout_secs).unwrap_or(0)),
            request_id: self.request_id.map(Arc::from),
            created_by: self.created_by.map(UserId),
            priority: self.priority,
            run_at: self.run_at.0,
            last_chance: self.last_chance,
        }
    }
}

struct LockType;

impl Fixed for LockType {
    const SQL: &'static str = "select pg_try_advisory_xact_lock(hashtextextended('starter.limit.' || $1, 0))";
    type Args = (Text,);
    type Row = (Bool,);
}

struct CountRunning;

impl Fixed for CountRunning {
    const SQL: &'static str = concat!("select count(*) ", running_tasks!(), " where c.task_type = $1");
    const REPLAN: bool = true;
    type Args = (Text,);
    type Row = (BigInt,);
}

/// As [`claim`], for one type of which only `max_running` may run at once across all workers.
///
/// Workers take turns by a lock that ends with the transaction. A second statement counts, because the first
/// one's snapshot is older than the lock. Nothing is claimed when it is another's turn.
///
/// # Errors
/// As the database tells.
pub async fn claim_limited(
    connection: &mut AsyncPgConnection,
    worker_id: WorkerId,
    lease: Lease,
    queue: &str,
    (task_type, max_running): (&str, u32),
    at_most: usize,
    places: Places,
) -> Result<Vec<Claim>> {
    let turn = connection.transaction(async |connection| {
        let (mine,): (bool,) = Statement::<LockType, _>::with((task_type,)).get_result(connection).await?;
        if !mine {
            return Ok(Vec::new());
        }
        let (running,): (i64,) =
            Statement::<CountRunning, _>::with((task_type,)).get_result(connection).await?;
        let running = usize::try_from(running).unwrap_or(usize::MAX);
        let free = usize::try_from(max_running).unwrap_or(usize::MAX).saturating_sub(running).min(at_most);
        if free == 0 {
            return Ok(Vec::new());
        }
        let task_types = &[task_type];
        let wanted =
            Wanted { queue, task_types, limited: Some(task_type), at_most: free, whence: None, places };
        claim_from(connection, Plans::Fresh, worker_id, lease, wanted).await
    });
    turn.await
}

struct PeekTypes;

impl Fixed for PeekTypes {
    // A bounded look, so that a long queue of other types costs no more than a short one.
    const SQL: &'static str = "
        select distinct task_type from (
            select task_type from tasks where stage = 'due' and queue = $1 and run_at <= now()
            order by priority desc, run_at, id limit 500
        ) as first where task_type = any($2)";
    const REPLAN: bool = true;
    type Args = (Text, Array<Text>);
    type Row = (Text,);
}

/// Which of these types are among the first 500 that are due in `queue`.
///
/// # Errors
/// As the database tells.
pub async fn peek(
    connection: &mut AsyncPgConnection,
    queue: &str,
    task_types: &[&str],
) -> Result<Vec<String>> {
    let rows: Vec<(String,)> =
        Statement::<PeekTypes, _>::with((queue, task_types)).get_results(connection).await?;
    Ok(rows.into_iter().map(|(task_type,)| task_type).collect())
}
