//! How fast tasks end, and how long they waited and ran, from the notes of which ended together: the latest of the last
//! hour, at a price that does not grow with their number.

use diesel::sql_types::{Array, BigInt, Double, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::{
    db::statement::{Fixed, Statement},
    domain::{
        Result,
        task_stats::{Percentiles, Recent, Throughput},
    },
};

/// Tasks that are counted.
const BOUND: i64 = 100_000;
/// Tasks that percentiles are taken of.
const SAMPLE: i64 = 10_000;

/// Statements that ended tasks within the last hour: the latest, until they make `$1` tasks.
macro_rules! latest_endings {
    () => {
        "from (
            select at, task_ids, sum(cardinality(task_ids)) over (order by id desc) - cardinality(task_ids) as after
            from (select * from task_endings where at > statement_timestamp() - interval '1 hour'
                order by id desc limit $1) latest
        ) endings where after < $1"
    };
}

struct CountRecent;

impl Fixed for CountRecent {
    const SQL: &'static str = concat!(
        "select coalesce(sum(cardinality(task_ids)), 0)::int8,
            coalesce(extract(epoch from statement_timestamp() - min(at)), 0)::float8 ",
        latest_endings!()
    );
    type Args = (BigInt,);
    type Row = (BigInt, Double);
}

pub(super) async fn throughput(connection: &mut AsyncPgConnection) -> Result<Throughput> {
    let (finished, since): (i64, f64) =
        Statement::<CountRecent, _>::with((BOUND,)).get_result(connection).await?;
    let window_secs = if finished < BOUND { 3600.0 } else { since.max(0.001) };
    let finished = u64::try_from(finished).unwrap_or(0);
    // At most BOUND: exact.
    let per_second = u32::try_from(finished).map_or(f64::INFINITY, f64::from) / window_secs;
    Ok(Throughput { finished, window_secs, per_second })
}

struct MeasureRecent;

impl Fixed for MeasureRecent {
    const SQL: &'static str = concat!(
        "
        with recent as (
            select task_type, status,
                case when status <> 'cancelled' then extract(epoch from started_at - least(run_at, started_at)) end::float8
                    as wait,
                case when status <> 'cancelled' then extract(epoch from finished_at - started_at) end::float8 as run
            from (select unnest(task_ids) as id ",
        latest_endings!(),
        ") ended, lateral (select * from tasks where id = ended.id and finished_at is not null limit 1) t
            order by finished_at desc limit $1)
        select task_type, count(*), count(*) filter (where status = 'succeeded'),
            count(*) filter (where status = 'failed'), count(*) filter (where status = 'cancelled'),
            percentile_cont(array[0.5, 0.95, 0.99]) within group (order by wait),
            percentile_cont(array[0.5, 0.95, 0.99]) within group (order by run)
        from recent group by grouping sets ((), (task_type)) order by task_type nulls first"
    );
    type Args = (BigInt,);
    type Row = (
        Nullable<Text>,
        BigInt,
        BigInt,
        BigInt,
        BigInt,
        Nullable<Array<Nullable<Double>>>,
        Nullable<Array<Nullable<Double>>>,
    );
}

type Spread = Option<Vec<Option<f64>>>;
type RecentRow = (Option<String>, i64, i64, i64, i64, Spread, Spread);

pub(super) async fn recent(connection: &mut AsyncPgConnection) -> Result<Vec<Recent>> {
    let rows: Vec<RecentRow> = Statement::<MeasureRecent, _>::with((SAMPLE,)).get_results(connection).await?;
    let number = |n: i64| u64::try_from(n).unwrap_or(0);
    let measure = |(task_type, sample, succeeded, failed, cancelled, wait, run): RecentRow| Recent {
        task_type,
        sample: number(sample),
        succeeded: number(succeeded),
        failed: number(failed),
        cancelled: number(cancelled),
        wait_secs: percentiles(wait),
        run_secs: percentiles(run),
    };
    Ok(rows.into_iter().map(measure).collect())
}

fn percentiles(spread: Spread) -> Option<Percentiles> {
    match spread?.as_slice() {
        &[Some(p50), Some(p95), Some(p99)] => Some(Percentiles { p50, p95, p99 }),
        _ => None,
    }
}
