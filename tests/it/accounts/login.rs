//! Log-in: the same answer for whoever may not, and never more tries than allowed.

use std::time::Duration;

use futures_util::future::join_all;
use starter::{
    actors::{
        accounts::{Authenticate, ChangeUser},
        hashers::{Cost, Hashers, Settings, Share},
    },
    domain::{
        Email, Error, Login, PasswordPolicy, PresentedPassword, Role, Username, account::Changes,
        audit::Actor,
    },
};

use super::{OTHER, Office, PASSWORD, from};
use crate::support::eventually;

fn is_refused<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::InvalidCredentials))
}

fn is_locked<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::AccountLocked { .. }))
}

#[actix_web::test]
async fn somebody_logs_in_by_name_or_address_in_any_letter_case() {
    let office = Office::open().await;
    let user = office.register("alice").await.unwrap();
    for login in ["alice", "ALICE", " alice ", "Alice@Example.COM"] {
        let session = office.log_in(login, PASSWORD).await.unwrap();
        assert_eq!(session.user.id, user.id);
        assert!(session.user.last_login_at.is_some());
        assert_eq!(office.caller(&session.token).await.unwrap().user.id, user.id);
    }
}

#[actix_web::test]
async fn whoever_may_not_log_in_is_told_the_same_whatever_the_reason() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    let bob = office.register("bob").await.unwrap();
    let changes = Changes { is_active: Some(false), ..Changes::default() };
    office.accounts.ask(ChangeUser { id: bob.id, changes, actor: Actor::cli() }).await.unwrap();
    let long = "x".repeat(1_000);
    for (login, password) in [
        ("alice", OTHER),
        ("alice", ""),
        ("nobody", PASSWORD),
        ("bob", PASSWORD),
        ("alice@nowhere.example", PASSWORD),
        ("not a name", PASSWORD),
        ("", PASSWORD),
        (long.as_str(), PASSWORD),
    ] {
        let before = office.hashers.load().done;
        assert!(is_refused(&office.log_in(login, password).await), "{login} {password}");
        // The same work, so that the time tells nothing either.
        eventually(Duration::from_secs(30), async || office.hashers.load().done == before + 1).await;
    }
}

#[actix_web::test]
async fn stored_hashes_that_are_none_of_ours_let_nobody_in() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    for hash in [
        "",
        "x",
        "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
        "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
    ] {
        office.database.sql(&format!("update users set password_hash = '{hash}'")).await;
        assert!(is_refused(&office.log_in("alice", PASSWORD).await), "{hash}");
    }
}

#[actix_web::test]
async fn after_ten_wrong_log_ins_the_right_password_does_not_help_either() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    // By name and by address: one account, one count.
    for n in 0..10 {
        let login = if n % 2 == 0 { "alice" } else { "alice@example.com" };
        assert!(is_refused(&office.log_in(login, OTHER).await), "{n}");
    }
    for login in ["alice", "alice@example.com"] {
        let Err(Error::AccountLocked { retry_after }) = office.log_in(login, PASSWORD).await else {
            panic!("not locked")
        };
        assert!(retry_after > Duration::from_secs(800) && retry_after <= Duration::from_secs(900));
    }
    office.database.sql("update login_throttle set blocked_until = now() - interval '1 second'").await;
    assert!(office.log_in("alice", PASSWORD).await.is_ok());
}

#[actix_web::test]
async fn an_account_that_does_not_exist_is_locked_like_one_that_does() {
    let office = Office::open().await;
    for n in 0..12 {
        let outcome = office.log_in("Nobody", PASSWORD).await;
        assert_eq!((is_refused(&outcome), is_locked(&outcome)), (n < 10, n >= 10), "{n}: {outcome:?}");
    }
    assert!(is_refused(&office.log_in("nobody-else", PASSWORD).await));
}

#[actix_web::test]
async fn right_passwords_do_not_count_however_many_come_at_once() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    for _ in 0..9 {
        assert!(is_refused(&office.log_in("alice", OTHER).await));
    }
    let outcomes = join_all((0..30).map(|_| office.log_in("alice", PASSWORD))).await;
    for outcome in outcomes {
        assert!(outcome.is_ok() || matches!(outcome, Err(Error::Overloaded)), "{outcome:?}");
    }
}

#[actix_web::test]
async fn of_a_hundred_wrong_tries_at_once_ten_are_looked_at() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    let outcomes = join_all((0..100).map(|_| office.log_in("alice", OTHER))).await;
    assert_eq!(outcomes.iter().filter(|outcome| is_refused(outcome)).count(), 10);
    assert_eq!(outcomes.iter().filter(|outcome| is_locked(outcome)).count(), 90);
    assert_eq!(office.audit("session.open").await.len(), 10);
}

#[actix_web::test]
async fn strangers_lock_each_other_out_and_not_the_owner_where_he_is_known() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    let home = "198.51.100.7";
    let session = office.log_in_from(home, "alice", PASSWORD).await.unwrap();
    for n in 0..20 {
        let outcome = office.log_in_from(&format!("203.0.113.{n}"), "alice", OTHER).await;
        assert_eq!(is_locked(&outcome), n >= 10, "{n}: {outcome:?}");
    }
    assert!(is_locked(&office.log_in_from("203.0.113.200", "alice", PASSWORD).await));
    assert!(office.is_alive(&session.token).await, "a session is not concerned");
    assert!(office.log_in_from(home, "alice", PASSWORD).await.is_ok());
    for _ in 0..10 {
        assert!(is_refused(&office.log_in_from(home, "alice", OTHER).await));
    }
    assert!(is_locked(&office.log_in_from(home, "alice", PASSWORD).await), "here too, at last");
}

#[actix_web::test]
async fn a_password_is_hashed_anew_when_the_cost_changed_and_sessions_live_on() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    let dear = Cost { memory_kib: 128, iterations: 1, parallelism: 1 };
    let other = Hashers::start(Settings { cost: dear, threads: 1 }).unwrap();
    let (name, address) = (Username::parse("alice").unwrap(), Email::parse("a@example.com").unwrap());
    let policy = PasswordPolicy::new(12);
    let password = policy.check("/p", &PASSWORD.into(), &name, &address).unwrap();
    let hash = other.hash(password, Share::Accounts).await.unwrap();
    office.database.sql(&format!("update users set password_hash = '{}'", hash.expose())).await;
    let sessions = join_all((0..8).map(|_| office.log_in("alice", PASSWORD))).await;
    for session in sessions {
        assert!(office.is_alive(&session.unwrap().token).await);
    }
    let stored =
        starter::db::users::by_login(&mut office.pool.get().await.unwrap(), &Login::parse("alice")).await;
    let stored = stored.unwrap().unwrap();
    assert!(stored.password_hash.expose().contains("m=64,"), "at the cost of now");
    assert!(office.log_in("alice", PASSWORD).await.is_ok());
}

#[actix_web::test]
async fn the_log_tells_of_a_refused_log_in_and_not_what_was_typed() {
    let office = Office::open().await;
    let typed = "hunter2hunter2";
    let (login, password) = (Login::parse(typed), PresentedPassword::new(&OTHER.into()));
    let refused = office.accounts.ask(Authenticate { login, password, actor: from("192.0.2.9") }).await;
    assert!(is_refused(&refused));
    let entries = office.audit("session.open").await;
    let shown = serde_json::to_value(&entries).unwrap();
    assert_eq!((&shown[0]["outcome"], &shown[0]["ip_address"]), (&"failure".into(), &"192.0.2.9".into()));
    assert!(!shown.to_string().contains("hunter2") && !shown.to_string().contains("another"), "{shown}");
}

#[actix_web::test]
async fn an_admin_who_is_switched_off_while_he_logs_in_gets_no_session() {
    let office = Office::open().await;
    office.create("root", Role::Admin).await;
    let bob = office.create("bob", Role::Admin).await;
    for _ in 0..20 {
        let on = Changes { is_active: Some(true), ..Changes::default() };
        office.accounts.ask(ChangeUser { id: bob.id, changes: on, actor: Actor::cli() }).await.unwrap();
        let off = Changes { is_active: Some(false), ..Changes::default() };
        let switch = office.accounts.ask(ChangeUser { id: bob.id, changes: off, actor: Actor::cli() });
        let (session, switched) = tokio::join!(office.log_in("bob", PASSWORD), switch);
        switched.unwrap();
        if let Ok(session) = session {
            assert!(!office.is_alive(&session.token).await);
        }
    }
}
