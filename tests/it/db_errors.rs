//! What a real PostgreSQL says, in the terms of the domain.

use std::time::Duration;

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use starter::{
    db::{Session, Target},
    domain::{Conflict, Error},
};

use crate::support::db::{TestDatabase, number};

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

/// An error of this code with a text of any language.
async fn raised(connection: &mut AsyncPgConnection, code: &str, text: &str) -> Error {
    let raise = format!("do $$ begin raise exception using errcode = '{code}', message = '{text}'; end $$");
    error(connection, &raise).await
}

#[tokio::test]
async fn a_full_disk_and_all_that_passes_is_unavailable_in_every_language() {
    let database = TestDatabase::empty().await;
    let mut connection = database.connection().await;
    for code in [
        "53000", "53100", "53200", "53300", "53400", "40001", "40P01", "57014", "57P01", "57P03", "55P03",
        "25006",
    ] {
        assert_unavailable(&raised(&mut connection, code, "kein Platz mehr auf dem Gerät").await);
    }
}

#[tokio::test]
async fn the_code_decides_and_no_text() {
    let database = TestDatabase::empty().await;
    let mut connection = database.connection().await;
    for code in ["P0001", "22023", "XX000", "42P01"] {
        let error = raised(&mut connection, code, "deadlock detected").await;
        assert!(matches!(error, Error::Internal(_)), "{code}: {error:?}");
    }
}

#[tokio::test]
async fn every_connection_reads_what_is_committed_whatever_the_database_has_by_default() {
    let database = TestDatabase::create().await;
    let level =
        "select case current_setting('transaction_isolation') when 'read committed' then 1 else 0 end::int8";
    for default in ["serializable", "repeatable read"] {
        let alter = format!(
            "do $$ begin execute format('alter database %I set default_transaction_isolation = %L',
                current_database(), '{default}'); end $$"
        );
        database.sql(&alter).await;
        assert_eq!(number(&mut database.connection().await, level).await, 1, "{default}");
        assert_eq!(number(&mut database.pool().await.get().await.unwrap(), level).await, 1, "{default}");
        // Options of the URL's own do not take it away.
        let url = format!("{}?options=-c%20geqo%3Doff", database.url());
        let target = Target::parse(&secrecy::SecretString::from(url)).unwrap();
        let session =
            Session { connect_timeout: Duration::from_secs(30), statement_timeout: None, scans: true };
        assert_eq!(number(&mut target.dial(session).await.unwrap(), level).await, 1, "{default}, options");
        let geqo = "select case current_setting('geqo') when 'off' then 1 else 0 end::int8";
        assert_eq!(number(&mut target.dial(session).await.unwrap(), geqo).await, 1, "options of the URL");
    }
}
