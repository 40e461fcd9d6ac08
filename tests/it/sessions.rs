//! Sessions in the database: when they are good for something, and when not any more.

use std::{sync::Arc, time::Duration};

use starter::{
    actors::sessions::{CloseAllSessions, CloseSession, ListSessions, RefreshSession},
    db::{self, sessions::Lifetime},
    domain::{Caller, Error, Limit, Result, token::SessionToken},
};

use crate::support::{
    db::TestDatabase,
    eventually,
    stores::{LIFETIME, Stores, opening, origin},
};

const LONG: Duration = Duration::from_secs(30);

fn refused(outcome: Result<Arc<Caller>>) -> bool {
    match outcome {
        Ok(_) => false,
        Err(Error::Unauthenticated { presented: true }) => true,
        Err(other) => panic!("{other:?}"),
    }
}

#[actix_rt::test]
async fn a_token_is_recognised_from_log_in_to_log_out() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    let alice = database.user("alice").await;
    let session = stores.open(alice).await;
    assert_eq!(session.user.id, alice);
    assert!(session.user.last_login_at.is_some());
    let caller = stores.resolve(&session.token).await.unwrap();
    assert_eq!(caller.user, session.user);
    let close = || CloseSession { id: session.id, by: Arc::clone(&caller), origin: origin() };
    stores.sessions.ask(close()).await.unwrap();
    assert!(refused(stores.resolve(&session.token).await));
    assert!(matches!(stores.sessions.ask(close()).await, Err(Error::NotFound)));
    assert!(refused(stores.resolve(&SessionToken::generate()).await), "a token that nobody was given");
}

#[actix_rt::test]
async fn a_session_ends_by_each_part_of_the_rule() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    for (name, change) in [
        ("unused", "update sessions set idle_expires_at = now() where user_id = $id"),
        ("old", "update sessions set idle_expires_at = now(), expires_at = now() where user_id = $id"),
        ("inactive", "update users set is_active = false where id = $id"),
        ("outdated", "update users set auth_version = auth_version + 1 where id = $id"),
        ("gone", "delete from users where id = $id"),
    ] {
        let user = database.user(name).await;
        let session = stores.open(user).await;
        assert!(stores.resolve(&session.token).await.is_ok());
        // Constraints want times after the creation.
        database.sql("update sessions set created_at = now() - interval '1 hour'").await;
        database.sql(&change.replace("$id", &format!("'{user}'"))).await;
        assert!(refused(stores.resolve(&session.token).await), "{name}");
    }
}

#[actix_rt::test]
async fn nobody_logs_in_with_what_changed_since_his_password_was_checked() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    for (name, change) in [
        ("rehashed", "update users set password_hash = 'other' where id = $id"),
        ("moved", "update users set auth_version = 1 where id = $id"),
        ("inactive", "update users set is_active = false where id = $id"),
        ("gone", "delete from users where id = $id"),
    ] {
        let user = database.user(name).await;
        database.sql(&change.replace("$id", &format!("'{user}'"))).await;
        let outcome = stores.sessions.ask(opening(user)).await;
        assert!(matches!(outcome, Err(Error::InvalidCredentials)), "{name}: {outcome:?}");
    }
    assert_eq!(database.count("select count(*) from sessions").await, 0);
}

#[actix_rt::test]
async fn the_hundred_and_first_log_in_ends_the_oldest_session_also_in_a_crowd() {
    let database = TestDatabase::create().await;
    let stores = [Stores::start(&database).await, Stores::start(&database).await];
    let (alice, bob) = (database.user("alice").await, database.user("bob").await);
    let (oldest, other) = (stores[0].open(alice).await, stores[0].open(bob).await);
    let crowd = (0..110).map(|n| stores[n % 2].open(alice));
    futures_util::future::join_all(crowd).await;
    assert_eq!(
        database.count(&format!("select count(*) from sessions where user_id = '{alice}'")).await,
        100
    );
    assert!(refused(stores[1].resolve(&oldest.token).await));
    assert!(stores[1].resolve(&other.token).await.is_ok());
}

#[actix_rt::test]
async fn logging_out_everywhere_counts_what_was_alive() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    let (alice, bob) = (database.user("alice").await, database.user("bob").await);
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(stores.open(alice).await);
    }
    let other = stores.open(bob).await;
    let ended = sessions.pop().unwrap();
    database.sql(&format!("update sessions set idle_expires_at = now() where id = '{}'", ended.id)).await;
    let by = stores.resolve(&sessions[0].token).await.unwrap();
    let all = |except| CloseAllSessions { user: alice, except, by: Arc::clone(&by), origin: origin() };
    assert_eq!(stores.sessions.ask(all(Some(sessions[0].id))).await.unwrap(), 4);
    assert!(stores.resolve(&sessions[0].token).await.is_ok(), "the one that was excepted");
    assert_eq!(stores.sessions.ask(all(None)).await.unwrap(), 1);
    for session in &sessions {
        assert!(refused(stores.resolve(&session.token).await));
    }
    assert!(stores.resolve(&other.token).await.is_ok());
}

#[actix_rt::test]
async fn a_session_that_is_inserted_behind_a_log_out_everywhere_is_dead_on_arrival() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    let alice = database.user("alice").await;
    let first = stores.open(alice).await;
    let by = stores.resolve(&first.token).await.unwrap();
    let all = CloseAllSessions { user: alice, except: None, by, origin: origin() };
    stores.sessions.ask(all).await.unwrap();
    assert!(matches!(stores.sessions.ask(opening(alice)).await, Err(Error::InvalidCredentials)));
}

#[actix_rt::test]
async fn of_two_that_refresh_at_once_one_gets_the_session() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    let alice = database.user("alice").await;
    let session = stores.open(alice).await;
    let by = stores.resolve(&session.token).await.unwrap();
    let refresh = || RefreshSession { by: Arc::clone(&by), hash: session.token.hash(), origin: origin() };
    let (a, b) = tokio::join!(stores.sessions.ask(refresh()), stores.sessions.ask(refresh()));
    let (won, lost) = if a.is_ok() { (a, b) } else { (b, a) };
    assert!(matches!(lost, Err(Error::Unauthenticated { .. })), "{lost:?}");
    let won = won.unwrap();
    assert_eq!((won.id, won.expires_at), (session.id, session.expires_at), "the absolute end stays");
    assert!(refused(stores.resolve(&session.token).await));
    assert!(stores.resolve(&won.token).await.is_ok());
}

#[actix_rt::test]
async fn refreshing_never_moves_the_absolute_end() {
    let database = TestDatabase::create().await;
    let short = Lifetime { idle: Duration::from_secs(100), absolute: Duration::from_secs(150) };
    let stores = Stores::start_with(&database, short).await;
    let session = stores.open(database.user("alice").await).await;
    let mut token = session.token.clone();
    for _ in 0..30 {
        database.sql("update sessions set last_seen_at = now() - interval '1 hour'").await;
        let by = stores.resolve(&token).await.unwrap();
        let refresh = RefreshSession { by, hash: token.hash(), origin: origin() };
        let renewed = stores.sessions.ask(refresh).await.unwrap();
        assert_eq!(renewed.expires_at, session.expires_at);
        token = renewed.token;
    }
    assert_eq!(database.count("select count(*) from sessions where idle_expires_at > expires_at").await, 0);
}

#[actix_rt::test]
async fn use_is_written_down_once_a_minute_and_lengthens_the_session() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    let session = stores.open(database.user("alice").await).await;
    database
        .sql(
            "update sessions set last_seen_at = now() - interval '70 seconds', \
             idle_expires_at = now() + interval '9 minutes', updated_at = now()",
        )
        .await;
    let seen = "select count(*) from sessions where last_seen_at > now() - interval '30 seconds' \
                and idle_expires_at > now() + interval '9 minutes 30 seconds'";
    assert_eq!(database.count(seen).await, 0);
    stores.resolve(&session.token).await.unwrap();
    eventually(LONG, async || database.count(seen).await == 1).await;
    let version = database.count("select xmin::text::int8 from sessions").await;
    for _ in 0..200 {
        stores.resolve(&session.token).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(database.count("select xmin::text::int8 from sessions").await, version, "written once");
}

#[actix_rt::test]
async fn writing_use_down_revives_nothing_and_is_capped_by_the_absolute_end() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    let alice = database.user("alice").await;
    let (ended, closed, near) =
        (stores.open(alice).await, stores.open(alice).await, stores.open(alice).await);
    database.sql("update sessions set last_seen_at = now() - interval '1 hour', created_at = now() - interval '1 hour'").await;
    database.sql(&format!("update sessions set idle_expires_at = now() where id = '{}'", ended.id)).await;
    database.sql(&format!("delete from sessions where id = '{}'", closed.id)).await;
    let end = "now() + interval '20 seconds'";
    database
        .sql(&format!(
            "update sessions set idle_expires_at = {end}, expires_at = {end} where id = '{}'",
            near.id
        ))
        .await;
    let ids = [near.id, closed.id, ended.id];
    let mut connection = database.connection().await;
    let touched = db::sessions::touch(&mut connection, &ids, LIFETIME.idle, Duration::from_secs(60)).await;
    assert_eq!(touched.unwrap(), 1);
    assert_eq!(database.count("select count(*) from sessions where idle_expires_at = expires_at").await, 1);
    assert!(refused(stores.resolve(&ended.token).await) && refused(stores.resolve(&closed.token).await));
}

#[actix_rt::test]
async fn a_list_shows_what_is_alive_page_by_page() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    let (alice, bob) = (database.user("alice").await, database.user("bob").await);
    stores.open(bob).await;
    let mut opened = Vec::new();
    for _ in 0..5 {
        opened.push(stores.open(alice).await.id);
    }
    database
        .sql(&format!("update sessions set idle_expires_at = now() where id = '{}'", opened.remove(2)))
        .await;
    let limit = Limit::parse(Some("3")).unwrap();
    let list = stores.sessions.ask(ListSessions { user: alice, after: None, limit }).await.unwrap();
    opened.reverse();
    assert_eq!(list.iter().map(|session| session.id).collect::<Vec<_>>(), opened);
    assert_eq!(list[0].ip_address, origin().ip_address);
    assert_eq!(list[0].user_agent.as_deref(), Some("test/1.0"));
}

#[actix_rt::test]
async fn what_ended_is_really_deleted_and_nobody_is_told() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    let alice = database.user("alice").await;
    for _ in 0..7 {
        stores.open(alice).await;
    }
    let alive = stores.open(alice).await;
    database.sql(&format!("update sessions set idle_expires_at = now() where id <> '{}'", alive.id)).await;
    let mut connection = database.connection().await;
    assert_eq!(db::sessions::sweep(&mut connection, 5).await.unwrap(), 5);
    assert_eq!(db::sessions::sweep(&mut connection, 5).await.unwrap(), 2);
    assert!(stores.resolve(&alive.token).await.is_ok());
}

#[actix_rt::test]
async fn callers_at_once_share_statements() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    let mut tokens = Vec::new();
    for n in 0..20 {
        let user = database.user(&format!("user{n}")).await;
        tokens.push((user, stores.open(user).await.token));
    }
    let before = stores.lookups.lookups();
    let asked = (0..400).map(|n| {
        let (user, token) = &tokens[n % tokens.len()];
        async { stores.resolve(token).await.unwrap().user.id == *user }
    });
    assert!(futures_util::future::join_all(asked).await.into_iter().all(|right| right));
    let after = stores.lookups.lookups();
    assert!(after.statements - before.statements < 40, "{} statements", after.statements - before.statements);
}

#[actix_rt::test]
async fn a_broken_connection_is_passing() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    let session = stores.open(database.user("alice").await).await;
    for _ in 0..10 {
        database
            .sql("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
            .await;
        match stores.resolve(&session.token).await {
            Ok(_) | Err(Error::Unavailable { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    eventually(LONG, async || stores.resolve(&session.token).await.is_ok()).await;
}
