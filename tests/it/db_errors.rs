//! What a real PostgreSQL says, in the terms of the domain.

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use starter::domain::{Conflict, Error};

use crate::support::db::TestDatabase;

async fn error(connection: &mut AsyncPgConnection, statements: &str) -> Error {
    let told = connection.batch_execute(statements).await;
    Error::from(told.expect_err(statements))
}

fn assert_unavailable(error: &Error) {
    assert!(matches!(error, Error::Unavailable { what: "database", .. }), "{error:?}");
}

#[tokio::test]
async fn waiting_too_long_for_a_lock_is_unavailable() {
    let database = TestDatabase::empty().await;
    let (mut holder, mut waiter) = (database.connection().await, database.connection().await);
    for statements in ["CREATE TABLE t (n int)", "BEGIN; LOCK TABLE t"] {
        holder.batch_execute(statements).await.unwrap();
    }
    assert_unavailable(&error(&mut waiter, "SET lock_timeout = '10ms'; LOCK TABLE t").await);
}

#[tokio::test]
async fn a_database_that_became_read_only_is_unavailable() {
    let database = TestDatabase::empty().await;
    let mut connection = database.connection().await;
    connection.batch_execute("SET default_transaction_read_only = on").await.unwrap();
    assert_unavailable(&error(&mut connection, "CREATE TABLE t (n int)").await);
}

#[tokio::test]
async fn a_deadlock_is_unavailable_to_the_one_that_lost() {
    let database = TestDatabase::empty().await;
    let (mut one, mut two) = (database.connection().await, database.connection().await);
    one.batch_execute("CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t VALUES (1), (2)").await.unwrap();
    for connection in [&mut one, &mut two] {
        connection.batch_execute("SET deadlock_timeout = '10ms'; BEGIN").await.unwrap();
    }
    one.batch_execute("UPDATE t SET n = n WHERE n = 1").await.unwrap();
    two.batch_execute("UPDATE t SET n = n WHERE n = 2").await.unwrap();
    let (first, second) = tokio::join!(
        one.batch_execute("UPDATE t SET n = n WHERE n = 2"),
        two.batch_execute("UPDATE t SET n = n WHERE n = 1"),
    );
    let lost = first.and(second).expect_err("a deadlock");
    assert_unavailable(&Error::from(lost));
}

#[tokio::test]
async fn a_lost_race_of_serializable_transactions_is_unavailable() {
    let database = TestDatabase::empty().await;
    let (mut one, mut two) = (database.connection().await, database.connection().await);
    one.batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();
    one.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT * FROM t").await.unwrap();
    two.batch_execute("UPDATE t SET n = 2").await.unwrap();
    assert_unavailable(&error(&mut one, "UPDATE t SET n = 3").await);
}

#[tokio::test]
async fn a_statement_cut_off_by_an_administrator_is_unavailable() {
    let database = TestDatabase::empty().await;
    let mut connection = database.connection().await;
    assert_unavailable(&error(&mut connection, "SELECT pg_terminate_backend(pg_backend_pid())").await);
    assert_unavailable(&error(&mut connection, "SELECT 1").await);
}

#[tokio::test]
async fn a_taken_name_is_a_conflict_and_shows_no_value() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    let insert = |id: u8, name: &str, email: &str| {
        format!(
            "INSERT INTO users (id, username, username_canon, email, email_canon, password_hash) \
             VALUES ('00000000-0000-7000-8000-00000000000{id}', '{name}', '{name}', '{email}', '{email}', '')"
        )
    };
    connection.batch_execute(&insert(1, "ada", "ada@example.org")).await.unwrap();
    for statement in [insert(2, "ada", "other@example.org"), insert(2, "other", "ada@example.org")] {
        let error = error(&mut connection, &statement).await;
        assert!(matches!(error, Error::Conflict(Conflict::AccountExists)), "{error:?}");
    }
    let error = error(&mut connection, &insert(1, "other", "other@example.org")).await;
    assert!(matches!(error, Error::Internal(_)), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(text.contains("users_pkey") && !text.contains("00000000-0000"), "{text}");
}
