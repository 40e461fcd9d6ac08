//! What happened to each task, written by a trigger of the test's own, and what must hold in the end.

use diesel::{
    QueryableByName,
    sql_types::{Array, Text},
};
use diesel_async::RunQueryDsl;

use super::{clients::Accepted, *};

/// One row for each change of a task's status.
pub(super) const SET_UP: &str = "
    create table ledger (n bigserial primary key, task_id uuid not null, status text not null, attempt int not null);
    create function keep_ledger() returns trigger language plpgsql as $$
    begin
        insert into ledger (task_id, status, attempt) values (new.id, new.status, new.attempt);
        return null;
    end $$;
    create trigger inserted after insert on tasks for each row when (new.task_type = 'noop') execute function keep_ledger();
    create trigger updated after update on tasks for each row
        when (new.task_type = 'noop' and new.status is distinct from old.status) execute function keep_ledger()";

/// Each is to find nothing.
const VIOLATIONS: [(&str, &str); 9] = [
    (
        "an accepted task is missing",
        "select id::text as told from accepted where id not in (select id from tasks)",
    ),
    (
        "there is a task that no key was answered with",
        "select id::text as told from tasks where task_type = 'noop' and id not in (select id from accepted)",
    ),
    (
        "a task did not end exactly once, or went on after its end",
        "select task_id::text as told from ledger
         group by task_id
         having count(*) filter (where status in ('succeeded', 'failed', 'cancelled')) <> 1
             or (array_agg(status order by n desc))[1] not in ('succeeded', 'failed', 'cancelled')",
    ),
    (
        "the numbers of a task's attempts have a gap, or one has two outcomes",
        "with made as (
             select task_id, attempt from task_attempts
             union all select id, attempt from tasks where status = 'succeeded')
         select format('%s: %s of %s', id, array_agg(made.attempt order by made.attempt), tasks.attempt) as told
         from tasks left join made on task_id = id
         where task_type = 'noop'
         group by id having count(made.attempt) <> tasks.attempt
             or tasks.attempt > 0 and (min(made.attempt), max(made.attempt)) is distinct from (1, tasks.attempt)",
    ),
    (
        "a claim is neither an attempt nor handed back",
        "with steps as (
             select *, lag(status) over by_task as status_before, lag(attempt) over by_task as attempt_before
             from ledger window by_task as (partition by task_id order by n)),
         counted as (
             select task_id, count(*) filter (where status = 'running') as claims,
                 count(*) filter (where status_before = 'running' and attempt = attempt_before - 1) as handed_back
             from steps group by task_id)
         select format('%s: %s claims, %s handed back, %s attempts', id, claims, handed_back, attempt) as told
         from tasks join counted on task_id = id
         where claims <> handed_back + attempt",
    ),
    (
        "crashes are not the lost attempts",
        "select id::text as told from tasks
         where task_type = 'noop'
             and crashes <> (select count(*) from task_attempts where task_id = id and outcome = 'lost')",
    ),
    (
        "retries are not the failures that were followed by another attempt",
        "with counted as (
             select id, status, retry_count, (select count(*) from task_attempts
                 where task_id = id and outcome in ('failed', 'timed_out', 'lost')) as failures
             from tasks where task_type = 'noop')
         select format('%s: %s after %s failures, %s retries', id, status, failures, retry_count) as told from counted
         where not case status when 'succeeded' then retry_count = failures
                 when 'failed' then retry_count = failures - 1
                 else retry_count in (failures, failures - 1) end",
    ),
    (
        "a task failed that had attempts left and was no poison",
        "select id::text as told from tasks
         where status = 'failed' and retry_count + 1 < max_attempts and crashes < 3",
    ),
    (
        "a task was cancelled that nobody wanted cancelled",
        "select id::text as told from tasks
         where status = 'cancelled' and id not in (select id from cancelled)",
    ),
];

#[derive(QueryableByName)]
struct Told {
    #[diesel(sql_type = Text)]
    told: String,
}

/// Until so many rows are found.
async fn until(connection: &mut AsyncPgConnection, query: &str, rows: usize, deadline: Duration) {
    let end = Instant::now() + deadline;
    loop {
        let found: Vec<Told> = diesel::sql_query(query).load(connection).await.unwrap();
        if found.len() == rows {
            return;
        }
        let found: Vec<_> = found.into_iter().map(|one| one.told).collect();
        assert!(Instant::now() < end, "{} in place of {rows}: {found:#?}", found.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(super) async fn until_all_have_ended(connection: &mut AsyncPgConnection) {
    let left = "select format('%s %s attempt %s of %s, due %s, %s', id, status, attempt, max_attempts, run_at, last_error)
        as told from tasks where finished_at is null limit 5";
    until(connection, left, 0, LONG * 2).await;
}

/// Those who were killed are not taken for alive for longer than their leases, and nobody holds what has ended.
pub(super) async fn until_the_dead_are_buried(connection: &mut AsyncPgConnection) {
    until(connection, "select format('%s of %s', id, pid) as told from workers", WORKERS, LONG).await;
    until(connection, "select format('%s of worker %s', lease, worker_id) as told from task_claims", 0, LONG)
        .await;
}

pub(super) async fn audit(connection: &mut AsyncPgConnection, accepted: &Accepted) {
    for (table, ids) in [("accepted", &accepted.tasks), ("cancelled", &accepted.cancelled)] {
        let fill = format!("create temp table {table} as select unnest($1)::uuid as id");
        let ids: Vec<&String> = ids.iter().collect();
        diesel::sql_query(fill).bind::<Array<Text>, _>(ids).execute(connection).await.unwrap();
    }
    let mut wrong = Vec::new();
    for (what, query) in VIOLATIONS {
        let found: Vec<Told> = diesel::sql_query(query).load(connection).await.unwrap();
        if !found.is_empty() {
            let examples: Vec<_> = found.iter().take(5).map(|one| one.told.as_str()).collect();
            wrong.push(format!("{what}: {} times, such as {examples:?}", found.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How attempts ended, for the reader.
pub(super) async fn counts(connection: &mut AsyncPgConnection) -> String {
    let query = "select 'attempts ' || string_agg(format('%s: %s', outcome, times), ', ' order by outcome) as told from (
            select outcome, count(*) as times from (
                select outcome from task_attempts
                union all select 'succeeded' from tasks where status = 'succeeded') all_of_them
            group by outcome) counted";
    diesel::sql_query(query).get_result::<Told>(connection).await.unwrap().told
}
