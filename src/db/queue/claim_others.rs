//! Claiming for owners who hold few slots, past the tasks of those who hold many.

use diesel::sql_types::{Array, BigInt, Nullable, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use uuid::Uuid;

use super::{
    Places,
    claim::{Columns, Row, claim_ready},
};
use crate::{
    db::statement::{Fixed, Statement},
    domain::{
        Result, UserId,
        attempt::{Claim, Lease, WorkerId},
    },
};

struct ClaimOfOthers;

impl Fixed for ClaimOfOthers {
    // From owner to owner by leaps in the index, so that a step costs the same however many tasks an owner has. The order
    // names all columns of that index: no other one has it, whatever the statistics say.
    const SQL: &'static str = claim_ready!(
        "
        with recursive owner (id, n) as (
            (select created_by, 1 from tasks where stage = 'due' and created_by > $9
             order by created_by, queue, priority desc, run_at limit 1)
            union all
            select (
                select created_by from tasks where stage = 'due' and created_by > owner.id
                order by created_by, queue, priority desc, run_at limit 1), n + 1
            from owner where id is not null and n < 2000
        ), entitled as (
            select owner.id, $12 - coalesce(held.n, 0) as free
            from owner left join unnest($10, $11) as held (owner, n) on held.owner = owner.id
            where owner.id is not null
        ), ready as (
            select ctid, id from (
                select first.ctid, first.id from (
                    select ctid, id from tasks
                    where stage = 'due' and created_by is null and queue = $1 and task_type = any($2) and run_at <= now()
                    order by created_by, queue, priority desc, run_at limit $13 for update skip locked) first
                union all
                select first.ctid, first.id from entitled cross join lateral (
                    select ctid, id from tasks
                    where stage = 'due' and created_by = entitled.id and queue = $1 and task_type = any($2)
                        and run_at <= now()
                    order by priority desc, run_at limit greatest(entitled.free, 0) for update skip locked) first
            ) found
            where exists (select 1 from workers where id = $3)
                and (select paused_at from queues where name = $1) is null
            limit $4"
    );
    const REPLAN: bool = true;
    type Args = (
        Text,
        Array<Text>,
        BigInt,
        BigInt,
        BigInt,
        Nullable<Text>,
        BigInt,
        BigInt,
        SqlUuid,
        Array<SqlUuid>,
        Array<BigInt>,
        BigInt,
        BigInt,
    );
    type Row = Columns;
}

/// Whose tasks to claim, and how many.
#[derive(Debug, Clone, Copy)]
pub struct Others<'a> {
    /// From where.
    pub queue: &'a str,
    /// Of these types.
    pub task_types: &'a [&'a str],
    /// No more than that.
    pub at_most: usize,
    /// Of these, no more than that for tasks without an owner.
    pub ownerless: usize,
    /// Tasks that one owner may hold.
    pub share: usize,
    /// Owners who hold some already, and how many.
    pub held: &'a [(UserId, usize)],
    /// Begins behind this owner; `None`: at the first.
    pub after: Option<UserId>,
    /// Their places. All may begin.
    pub places: Places,
}

/// Claims due tasks of owners who hold less than their share, and of nobody, whatever is in front of them in the queue. The
/// best of each owner come first; at most 2,000 owners are looked at, in the order of their ids.
///
/// # Errors
/// As for [`super::claim_from`].
pub async fn claim_of_others(
    connection: &mut AsyncPgConnection,
    worker_id: WorkerId,
    lease: Lease,
    others: Others<'_>,
) -> Result<Vec<Claim>> {
    let Others { queue, task_types, at_most, ownerless, share, held, after, places } = others;
    let [at_most, ownerless, share] = [at_most, ownerless, share].map(whole);
    let (owners, counts): (Vec<Uuid>, Vec<i64>) =
        held.iter().map(|(owner, count)| (owner.0, whole(*count))).unzip();
    let after = after.map_or(Uuid::nil(), |owner| owner.0);
    let no_limit: Option<&str> = None;
    let values = (
        queue,
        task_types,
        worker_id.0,
        at_most,
        lease.0,
        no_limit,
        places.first,
        places.begun_to,
        after,
        owners,
        counts,
        share,
        ownerless,
    );
    let rows: Vec<Row> = Statement::<ClaimOfOthers, _>::with(values).get_results(connection).await?;
    Ok(rows.into_iter().map(|row| row.into_claim(worker_id, lease)).collect())
}

fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
