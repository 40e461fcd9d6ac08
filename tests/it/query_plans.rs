//! Hot statements keep a good plan, whether PostgreSQL looks at their arguments or not.

use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use sha2::{Digest as _, Sha256};
use starter::{
    db,
    domain::{
        Credential, SessionId, UserId,
        idempotency::{Answer, IdempotencyKey},
        token::TokenHash,
    },
};

use crate::support::{
    db::TestDatabase,
    queue::{keyed, noop},
};

/// A table of 30,000 finished tasks and a few of every other kind, as PostgreSQL's statistics know it.
const FULL: &str = "
    insert into tasks (id, task_type, status, stage, max_attempts, timeout_secs, finished_at, unique_key, unique_scope)
    select gen_random_uuid(), 'noop', 'succeeded', null, 1, 1, now() - n * interval '1s', 'k' || n,
        '00000000-0000-0000-0000-000000000000' from generate_series(1, 30000) n;
    insert into users (id, username, username_canon, email, email_canon, password_hash)
    select gen_random_uuid(), 'user' || n, 'user' || n, n || '@example.com', n || '@example.com', 'x'
    from generate_series(1, 10) n;
    insert into idempotency_keys (user_id, key, request_hash, status, body)
    select id, 'k' || n, sha256(''), 201, '' from users, generate_series(1, 1000) n;
    analyze";

/// Plans that read all of a large table.
async fn scans(connection: &mut AsyncPgConnection) -> i64 {
    #[derive(diesel::QueryableByName)]
    struct Scanned {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        rows: i64,
    }
    let text = "select coalesce(sum(seq_tup_read), 0)::int8 as rows from pg_stat_xact_user_tables
                where relname in ('tasks', 'idempotency_keys', 'users')";
    let scanned: Scanned = diesel::sql_query(text).get_result(connection).await.unwrap();
    scanned.rows
}

#[tokio::test]
async fn no_hot_statement_reads_a_whole_table() {
    let database = TestDatabase::create().await;
    database.sql(FULL).await;
    for mode in ["force_custom_plan", "force_generic_plan"] {
        let mut connection = database.connection().await;
        connection.batch_execute(&format!("set plan_cache_mode = {mode}; begin")).await.unwrap();
        let connection = &mut connection;
        let tasks = db::tasks::insert(connection, (0..200).map(|_| noop()).collect()).await.unwrap();
        assert_eq!(scans(connection).await, 0, "insert, {mode}");
        let same = |n: usize| keyed(&format!("held{}", n % 100));
        db::tasks::insert(connection, (0..200).map(same).collect()).await.unwrap();
        assert_eq!(scans(connection).await, 0, "keyed insert, {mode}");
        let ids: Vec<_> = tasks.iter().map(|one| one.task.id).collect();
        db::tasks::find_many(connection, &ids).await.unwrap();
        assert_eq!(scans(connection).await, 0, "find, {mode}");
        let key = |n| IdempotencyKey { user: UserId::new(), text: format!("k{n}"), request_hash: [0; 32] };
        let keys: Vec<IdempotencyKey> = (0..50).map(key).collect();
        db::idempotency::look_up(connection, &keys).await.unwrap();
        assert_eq!(scans(connection).await, 0, "idempotency, {mode}");
        let answer =
            Answer { status: 201, location: None, body: Vec::new(), sealed: false, tasks: Vec::new() };
        let nobody = db::idempotency::store(connection, &[(key(1), Some(answer))]).await;
        assert!(nobody.is_err(), "no such user");
    }
}

#[tokio::test]
async fn counting_does_not_read_the_finished_ones() {
    let database = TestDatabase::create().await;
    database.sql(FULL).await;
    let mut connection = database.connection().await;
    connection.batch_execute("begin").await.unwrap();
    db::tasks::depths(&mut connection).await.unwrap();
    db::tasks::oldest_due(&mut connection).await.unwrap();
    assert_eq!(scans(&mut connection).await, 0);
}

/// 20,000 users, each with a session and a key.
const CREDENTIALS: &str = "
    insert into users (id, username, username_canon, email, email_canon, password_hash)
    select gen_random_uuid(), 'u' || n, 'u' || n, n || '@e.com', n || '@e.com', 'x' from generate_series(1, 20000) n;
    insert into sessions (id, user_id, token_hash, auth_version, last_seen_at, idle_expires_at, expires_at)
    select gen_random_uuid(), id, sha256(username::bytea), 0, now() - interval '1 hour', now() + interval '1 hour',
        now() + interval '1 hour' from users;
    insert into api_keys (id, name, key_hash, key_prefix, created_by, previous_key_hash, previous_expires_at)
    select gen_random_uuid(), 'k', sha256(('k' || username)::bytea), 'key_', id, sha256(('p' || username)::bytea),
        now() + interval '1 hour' from users;
    analyze";

/// Rows read by scans of whole tables, of credentials.
async fn credentials_scanned(connection: &mut AsyncPgConnection) -> i64 {
    #[derive(diesel::QueryableByName)]
    struct Scanned {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        rows: i64,
    }
    let text = "select coalesce(sum(seq_tup_read), 0)::int8 as rows from pg_stat_xact_user_tables
                where relname in ('users', 'sessions', 'api_keys')";
    let scanned: Scanned = diesel::sql_query(text).get_result(connection).await.unwrap();
    scanned.rows
}

fn hashes(prefix: &str, count: usize) -> Vec<TokenHash> {
    let hash = |n| TokenHash(Sha256::digest(format!("{prefix}u{n}")).into());
    (1..=count).map(hash).collect()
}

#[tokio::test]
async fn recognising_callers_reads_no_whole_table() {
    let database = TestDatabase::create().await;
    database.sql(CREDENTIALS).await;
    for mode in ["force_custom_plan", "force_generic_plan"] {
        let mut connection = database.connection().await;
        connection.batch_execute(&format!("set plan_cache_mode = {mode}; begin")).await.unwrap();
        let connection = &mut connection;
        // With the arguments in sight, PostgreSQL rightly reads 20,000 rows rather than look for 256 of them.
        let counts: &[usize] = if mode == "force_generic_plan" { &[1, 30, 256] } else { &[1, 30] };
        for &count in counts {
            let found = db::sessions::find_valid(connection, &hashes("", count)).await.unwrap();
            assert_eq!(found.len(), count);
            for prefix in ["k", "p"] {
                let found = db::api_keys::find_valid(connection, &hashes(prefix, count)).await.unwrap();
                assert_eq!(found.len(), count);
            }
            assert_eq!(credentials_scanned(connection).await, 0, "{count}, {mode}");
        }
        let found = db::sessions::find_valid(connection, &hashes("", 30)).await.unwrap();
        let ids: Vec<SessionId> = found
            .iter()
            .map(|found| match found.caller.credential {
                Credential::Session { id, .. } => id,
                Credential::ApiKey { .. } => panic!("{found:?}"),
            })
            .collect();
        let minute = std::time::Duration::from_secs(60);
        assert_eq!(db::sessions::touch(connection, &ids, minute, minute).await.unwrap(), 30);
        assert_eq!(db::sessions::sweep(connection, 100).await.unwrap(), 0);
        assert_eq!(credentials_scanned(connection).await, 0, "activity, {mode}");
    }
}
