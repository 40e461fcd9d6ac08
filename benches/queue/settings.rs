//! What the storage settings of the table are worth: tasks enqueued and drained at the same time, finished ones kept, under
//! each setting in turn.

use starter::db::sweep::{Vacuum, vacuum_tasks};

use super::*;

/// Enqueued by one statement.
const BATCH: usize = 1_000;
/// Enqueued ahead of the worker.
const AHEAD: usize = 20_000;

/// Its name, how it is set, and whether the table is vacuumed every 10 s, as maintenance does.
type Setting = (&'static str, &'static str, bool);

const PAGES: &[Setting] = &[
    ("fillfactor 100 (PostgreSQL's)", "fillfactor = 100", true),
    ("fillfactor 80", "fillfactor = 80", true),
    ("fillfactor 50 (ours)", "fillfactor = 50", true),
    ("fillfactor 30", "fillfactor = 30", true),
];

const VACUUMS: &[Setting] = &[
    (
        "autovacuum as PostgreSQL has it",
        "autovacuum_vacuum_scale_factor = 0.2, autovacuum_vacuum_threshold = 50, autovacuum_vacuum_cost_delay = 2",
        false,
    ),
    (
        "autovacuum from 2,000 dead rows, without delay",
        "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0",
        false,
    ),
    (
        "the same, and every 10 s by maintenance (ours)",
        "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0",
        true,
    ),
];

#[derive(Default)]
struct Outcomes {
    per_second: Vec<f64>,
    in_place: Vec<f64>,
    wal: Vec<f64>,
    megabytes: Vec<f64>,
    index_megabytes: Vec<f64>,
}

pub(super) async fn measure(
    target: &Target,
    runtime: &Arc<tokio::runtime::Runtime>,
    what: &str,
    tasks: usize,
    rounds: usize,
) {
    let settings = if what == "pages" { PAGES } else { VACUUMS };
    let mut outcomes: Vec<Outcomes> = settings.iter().map(|_| Outcomes::default()).collect();
    for _ in 0..rounds {
        for (of, setting) in outcomes.iter_mut().zip(settings) {
            flow(target, runtime, tasks, setting, of).await;
        }
    }
    println!("{tasks} no-op tasks enqueued and drained at the same time; medians of {rounds} rounds\n");
    println!("| setting | tasks/s | updates in place | WAL, bytes a task | table, MB | tasks_ready, MB |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for ((name, ..), of) in settings.iter().zip(&outcomes) {
        println!(
            "| {name} | {:.0} | {:.0} % | {:.0} | {:.0} | {:.1} |",
            median(&of.per_second),
            100.0 * median(&of.in_place),
            median(&of.wal),
            median(&of.megabytes),
            median(&of.index_megabytes),
        );
    }
}

async fn number(connection: &mut AsyncPgConnection, expression: &str) -> f64 {
    let select = format!("({expression})::float8");
    diesel::select(diesel::dsl::sql::<diesel::sql_types::Double>(&select))
        .get_result(connection)
        .await
        .unwrap()
}

async fn keep_vacuumed(pool: Pool) {
    let mut last = Vacuum::default();
    loop {
        tokio::time::sleep(Duration::from_secs(10)).await;
        last = vacuum_tasks(&mut pool.get_owned().await.unwrap(), last).await.unwrap();
    }
}

async fn flow(
    target: &Target,
    runtime: &Arc<tokio::runtime::Runtime>,
    tasks: usize,
    (_, setting, vacuums): &Setting,
    outcomes: &mut Outcomes,
) {
    let pool = connect(target, runtime).await;
    let mut connection = pool.get_owned().await.unwrap();
    let set = format!("alter table tasks set ({setting})");
    for statement in ["truncate tasks", &set, "vacuum analyze tasks", "checkpoint"] {
        connection.batch_execute(statement).await.unwrap();
    }
    let updates = "select n_tup_upd from pg_stat_user_tables where relname = 'tasks'";
    let in_place = "select n_tup_hot_upd from pg_stat_user_tables where relname = 'tasks'";
    let written = "pg_current_wal_insert_lsn() - '0/0'";
    let before = [
        number(&mut connection, updates).await,
        number(&mut connection, in_place).await,
        number(&mut connection, written).await,
    ];
    let vacuum = vacuums.then(|| runtime.spawn(keep_vacuumed(pool.clone())));
    let (began, mut enqueued) = (Instant::now(), 0);
    let (shift, worker) = start_worker(&pool, runtime, Registry::builtin(), 200);
    while (shift.standing().ended as usize) < tasks || shift.standing().reporting > 0 {
        if enqueued < tasks && enqueued < shift.standing().ended as usize + AHEAD {
            db::tasks::insert(&mut connection, (0..BATCH).map(|_| noop()).collect()).await.unwrap();
            enqueued += BATCH;
            shift.bell().due();
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    outcomes.per_second.push(tasks as f64 / began.elapsed().as_secs_f64());
    outcomes.wal.push((number(&mut connection, written).await - before[2]) / tasks as f64);
    worker.ask(Drain { limit: Duration::from_secs(5) }).await.unwrap();
    if let Some(vacuum) = vacuum {
        vacuum.abort();
    }
    // Counts are told by each connection when it ends, or a second later.
    drop(connection);
    drop(pool);
    let pool = connect(target, runtime).await;
    let mut connection = pool.get_owned().await.unwrap();
    let wait = Instant::now();
    while number(&mut connection, updates).await - before[0] < 2.0 * tasks as f64
        && wait.elapsed() < Duration::from_secs(10)
    {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let all = number(&mut connection, updates).await - before[0];
    outcomes.in_place.push((number(&mut connection, in_place).await - before[1]) / all);
    outcomes.megabytes.push(number(&mut connection, "pg_relation_size('tasks') / 1e6").await);
    outcomes.index_megabytes.push(number(&mut connection, "pg_relation_size('tasks_ready') / 1e6").await);
}
