//! A worker that looks once an hour, and whose listening connection is cut again and again, still hears of every task.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_with_the_connection_that_would_have_brought_it() {
    let database = TestDatabase::create().await;
    let rarely = [("STARTER__WORKER__POLL_INTERVAL_MS", "3600000"), ("RUST_LOG", "warn")];
    let _worker = Running::start("worker", &database, &rarely).await;
    let mut cuts = 0;
    for round in 0..30 {
        let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid() and query = 'select pg_backend_pid()'";
        let id = starter::domain::TaskId::new();
        let insert = format!(
            "insert into tasks (id, task_type, max_attempts, timeout_secs) values ('{id}', 'noop', 1, 60);
             select pg_notify('starter_tasks', 'default')"
        );
        // Before, after, and at the same time.
        match round % 3 {
            0 => {
                cuts += database.count(cut).await;
                database.sql(&insert).await;
            }
            1 => {
                database.sql(&insert).await;
                cuts += database.count(cut).await;
            }
            _ => cuts += tokio::join!(database.count(cut), database.sql(&insert)).0,
        }
        let done = format!("select count(*) from tasks where id = '{id}' and status = 'succeeded'");
        eventually(LONG, || async { database.count(&done).await == 1 }).await;
    }
    assert!(cuts > 10, "{cuts} connections were cut");
}
