//! What a full table costs: the same tasks drained from an empty one, beside a million finished, a million scheduled and
//! a million waiting rows, and while a transaction that began before stays open. In one run, taking turns.

use super::*;

// One after the other, as tasks are enqueued: their ids begin with the time.
const ROWS: &str =
    "insert into tasks (id, task_type, status, stage, max_attempts, timeout_secs, run_at, finished_at)
    select (lpad(to_hex(n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid, 'noop', STATUS, STAGE, 5, 60, RUN_AT, FINISHED_AT
    from generate_series(1, COUNT) n";

/// Status, stage, time and end of the rows beside.
type Rows = Option<[&'static str; 4]>;

/// What else there is, its rows, and whether a transaction is open.
const COMPANY: [(&str, Rows, bool); 5] = [
    ("nothing", None, false),
    ("finished tasks", Some(["'succeeded'", "null", "now()", "now()"]), false),
    ("scheduled tasks", Some(["'scheduled'", "'waiting'", "now() + interval '1 day'", "null"]), false),
    (
        "waiting tasks, of which the first are drained",
        Some(["'pending'", "'due'", "now() - (COUNT - n) * interval '1 ms'", "null"]),
        false,
    ),
    ("an open transaction", None, true),
];

pub(super) async fn measure(
    target: &Target,
    runtime: &Arc<tokio::runtime::Runtime>,
    tasks: usize,
    company: usize,
    rounds: usize,
) {
    let mut rates = vec![Vec::new(); COMPANY.len()];
    for _ in 0..rounds {
        for (rates, (_, rows, open)) in rates.iter_mut().zip(COMPANY) {
            rates.push(drained(target, runtime, tasks, company, rows, open).await);
        }
    }
    println!("{tasks} no-op tasks drained, 200 at once; medians of {rounds} rounds\n");
    println!("| beside {company} | drained/s | of an empty table |\n| --- | ---: | ---: |");
    for ((name, ..), of) in COMPANY.iter().zip(&rates) {
        println!("| {name} | {:.0} | {:.2} |", median(of), median(of) / median(&rates[0]));
    }
}

async fn drained(
    target: &Target,
    runtime: &Arc<tokio::runtime::Runtime>,
    tasks: usize,
    company: usize,
    rows: Rows,
    open: bool,
) -> f64 {
    let pool = connect(target, runtime).await;
    let (mut connection, mut other) = (pool.get_owned().await.unwrap(), pool.get_owned().await.unwrap());
    // Filling the table takes longer than a statement may take.
    for statement in ["set statement_timeout = 0", "truncate tasks"] {
        connection.batch_execute(statement).await.unwrap();
    }
    if let Some([status, stage, run_at, finished_at]) = rows {
        let fill = ROWS
            .replace("STATUS", status)
            .replace("STAGE", stage)
            .replace("RUN_AT", run_at)
            .replace("FINISHED_AT", finished_at)
            .replace("COUNT", &company.to_string());
        connection.batch_execute(&fill).await.unwrap();
    }
    let there = rows.is_some_and(|[status, ..]| status == "'pending'");
    let batches = if there { 0 } else { tasks.div_ceil(1_000) };
    for _ in 0..batches {
        db::tasks::insert(&mut connection, (0..1_000).map(|_| noop()).collect()).await.unwrap();
    }
    for statement in ["vacuum analyze tasks", "checkpoint"] {
        connection.batch_execute(statement).await.unwrap();
    }
    if open {
        other.batch_execute("begin isolation level repeatable read; select 1").await.unwrap();
    }
    let began = Instant::now();
    let (shift, worker) = start_worker(&pool, runtime, Registry::builtin(), 200);
    while (shift.standing().ended as usize) < tasks {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let rate = shift.standing().ended as f64 / began.elapsed().as_secs_f64();
    worker.ask(Drain { limit: Duration::from_secs(5) }).await.unwrap();
    if open {
        other.batch_execute("commit").await.unwrap();
    }
    rate
}
