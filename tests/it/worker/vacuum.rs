//! Clearing away dead rows: when there are many, and not again and again beside a long transaction.

use diesel_async::SimpleAsyncConnection;
use starter::db::sweep::{Vacuum, vacuum_tasks};

use super::workshop::{PATIENCE, rows};
use crate::support::{db::TestDatabase, eventually};

/// Whoever writes has to be gone before PostgreSQL has counted.
async fn kill_rows(database: &TestDatabase, at_least: i64) {
    database.sql("update tasks set progress = '1'").await;
    let mut connection = database.connection().await;
    let dead =
        format!("select from pg_stat_user_tables where relname = 'tasks' and n_dead_tup >= {at_least}");
    eventually(PATIENCE, async || !rows(&mut connection, &dead).await.is_empty()).await;
}

#[tokio::test]
async fn beside_a_long_transaction_the_table_is_not_vacuumed_again_and_again() {
    let database = TestDatabase::create().await;
    database
        .sql(
            "alter table tasks set (autovacuum_enabled = false);
             insert into tasks (id, task_type, max_attempts, timeout_secs)
             select gen_random_uuid(), 'noop', 3, 1 from generate_series(1, 21000)",
        )
        .await;
    let mut connection = database.connection().await;
    assert_eq!(vacuum_tasks(&mut connection, Vacuum::default()).await.unwrap(), Vacuum::default());
    kill_rows(&database, 21_000).await;
    let first = vacuum_tasks(&mut connection, Vacuum::default()).await.unwrap();
    assert!(first.done && first.left < 1_000, "{first:?}");

    let mut old = database.connection().await;
    old.batch_execute("begin isolation level repeatable read; select from tasks limit 1").await.unwrap();
    kill_rows(&database, 21_000).await;
    let beside = vacuum_tasks(&mut connection, first).await.unwrap();
    assert!(beside.done && beside.left >= 21_000, "{beside:?}");
    kill_rows(&database, 42_000).await;
    let again = vacuum_tasks(&mut connection, beside).await.unwrap();
    assert_eq!(again, Vacuum { done: false, ..beside });
    kill_rows(&database, 63_000).await;
    assert!(vacuum_tasks(&mut connection, again).await.unwrap().done);

    // When somebody else has cleared away, what was left does not count any more.
    old.batch_execute("commit").await.unwrap();
    database.sql("vacuum tasks").await;
    let after = vacuum_tasks(&mut connection, Vacuum { left: 63_000, done: true }).await.unwrap();
    assert!(!after.done && after.left < 1_000, "{after:?}");
}
