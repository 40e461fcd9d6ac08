//! Setting a password by a link in a mail.

use futures_util::future::join_all;
use starter::{
    actors::accounts::{ChangeUser, RequestReset, ResetPassword, VerifyEmail},
    domain::{Email, Error, Result, account::Changes, audit::Actor, token::OneTimeToken},
};

use super::{OTHER, Office, PASSWORD, mailbox::token, nobody};

impl Office {
    async fn forget(&self, email: &str) {
        let email = Email::parse(email).unwrap();
        self.accounts.ask(RequestReset { email, actor: nobody() }).await.unwrap();
    }

    async fn reset(&self, token: &OneTimeToken, new: &str) -> Result<()> {
        let token = Some(token.clone());
        self.accounts.ask(ResetPassword { token, new: new.into(), actor: nobody() }).await
    }

    /// Registers somebody, and returns the token of a mail that he asked for.
    async fn mailed_token(&self, username: &str) -> OneTimeToken {
        self.register(username).await.unwrap();
        self.deliver().await;
        self.forget(&format!("{username}@example.com")).await;
        token(&self.deliver().await[0], "reset-password")
    }
}

fn is_invalid(outcome: &Result<()>) -> bool {
    matches!(outcome, Err(Error::InvalidToken))
}

#[actix_web::test]
async fn a_mailed_token_sets_a_password_once_and_ends_every_session() {
    let office = Office::open().await;
    let mailed = office.mailed_token("alice").await;
    let session = office.guest("alice").await;
    office.reset(&mailed, OTHER).await.unwrap();
    assert!(!office.is_alive(&session.token).await);
    assert!(office.log_in("alice", PASSWORD).await.is_err());
    assert!(office.log_in("alice", OTHER).await.is_ok());
    assert!(is_invalid(&office.reset(&mailed, PASSWORD).await));
    assert_eq!(office.deliver().await[0].subject, "Your password was changed");
}

#[actix_web::test]
async fn a_password_that_is_refused_does_not_use_the_token_up() {
    let office = Office::open().await;
    let mailed = office.mailed_token("alice").await;
    for bad in ["short", "password1234", "alice@example.com"] {
        assert!(
            matches!(office.reset(&mailed, bad).await, Err(Error::Invalid(v)) if v[0].field == "/new_password")
        );
    }
    office.reset(&mailed, OTHER).await.unwrap();
}

#[actix_web::test]
async fn of_sixteen_who_redeem_a_token_at_once_one_sets_the_password() {
    // All sixteen passwords are tried afterwards, wherever among them the right one is.
    let office = Office::with(&[("STARTER__AUTH__LOGIN_MAX_FAILURES", "100")]).await;
    let mailed = office.mailed_token("alice").await;
    let passwords: Vec<String> = (0..16).map(|n| format!("{OTHER} number {n}")).collect();
    let outcomes = join_all(passwords.iter().map(|new| office.reset(&mailed, new))).await;
    for (outcome, password) in outcomes.iter().zip(&passwords) {
        assert!(outcome.is_ok() || is_invalid(outcome), "{outcome:?}");
        assert_eq!(office.log_in("alice", password).await.is_ok(), outcome.is_ok());
    }
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
}

#[actix_web::test]
async fn a_token_that_is_unknown_expired_or_for_something_else_is_invalid() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    let verification = token(&office.deliver().await[0], "verify-email");
    assert!(is_invalid(&office.reset(&verification, OTHER).await));
    assert!(is_invalid(&office.reset(&OneTimeToken::generate(), OTHER).await));
    let none = ResetPassword { token: None, new: OTHER.into(), actor: nobody() };
    assert!(is_invalid(&office.accounts.ask(none).await));
    office.forget("alice@example.com").await;
    let mailed = token(&office.deliver().await[0], "reset-password");
    let verify = VerifyEmail { token: Some(mailed.clone()), actor: nobody() };
    assert!(is_invalid(&office.accounts.ask(verify).await));
    office.database.sql("update one_time_tokens set expires_at = now() - interval '1 second'").await;
    assert!(is_invalid(&office.reset(&mailed, OTHER).await));
    assert!(office.log_in("alice", PASSWORD).await.is_ok());
}

#[actix_web::test]
async fn a_newer_mail_voids_the_one_before_and_a_mail_sent_twice_works() {
    let office = Office::open().await;
    let first = office.mailed_token("alice").await;
    office.forget("alice@example.com").await;
    let mails = office.deliver_again(2).await;
    let [lost, last] = [0, 1].map(|n| token(&mails[n], "reset-password"));
    assert!(is_invalid(&office.reset(&first, OTHER).await));
    assert!(is_invalid(&office.reset(&lost, OTHER).await));
    office.reset(&last, OTHER).await.unwrap();
}

#[actix_web::test]
async fn strangers_and_friends_are_asked_for_alike_and_only_friends_get_mail() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    office.deliver().await;
    office.forget("nobody@example.com").await;
    assert!(office.deliver().await.is_empty());
    for _ in 0..10 {
        office.forget("ALICE@example.com").await;
    }
    let mails = office.deliver().await;
    assert_eq!(mails.len(), 3, "an hour");
    assert!(
        mails.iter().all(|mail| mail.to == "alice@example.com"),
        "as it is stored, never as it was asked"
    );
}

#[actix_web::test]
async fn a_user_who_was_switched_off_or_moved_cannot_reset() {
    let office = Office::open().await;
    let mailed = office.mailed_token("alice").await;
    let id = office.guest("alice").await.caller.user.id;
    let off = Changes { is_active: Some(false), ..Changes::default() };
    office.accounts.ask(ChangeUser { id, changes: off, actor: Actor::cli() }).await.unwrap();
    assert!(is_invalid(&office.reset(&mailed, OTHER).await));
    let on = Changes { is_active: Some(true), ..Changes::default() };
    office.accounts.ask(ChangeUser { id, changes: on, actor: Actor::cli() }).await.unwrap();
    assert!(is_invalid(&office.reset(&mailed, OTHER).await), "it does not come back");

    office.forget("alice@example.com").await;
    let mailed = token(&office.deliver().await[0], "reset-password");
    office.database.sql("update users set email = 'new@example.com', email_canon = 'new@example.com'").await;
    assert!(is_invalid(&office.reset(&mailed, OTHER).await), "it was sent to another address");
}

#[actix_web::test]
async fn whoever_proves_an_unproved_address_finds_nothing_of_the_former_owner() {
    let office = Office::open().await;
    let mailed = office.mailed_token("alice").await;
    office
        .database
        .sql(
            "insert into api_keys (id, name, key_hash, key_prefix, created_by)
             select gen_random_uuid(), 'mine', sha256('x'), 'key_x', id from users",
        )
        .await;
    office.reset(&mailed, OTHER).await.unwrap();
    let alice = office.guest_with("alice", OTHER).await;
    assert!(alice.caller.user.email_verified);
    office
        .database
        .sql("do $$ begin assert (select bool_and(revoked_at is not null) from api_keys); end $$")
        .await;
}

#[actix_web::test]
async fn a_reset_lets_the_owner_in_where_strangers_had_locked_the_account() {
    let office = Office::open().await;
    let mailed = office.mailed_token("alice").await;
    for n in 0..15 {
        let _ = office.log_in_from(&format!("203.0.113.{n}"), "alice", OTHER).await;
    }
    assert!(matches!(office.log_in("alice", PASSWORD).await, Err(Error::AccountLocked { .. })));
    office.reset(&mailed, OTHER).await.unwrap();
    for n in 0..15 {
        let _ = office.log_in_from(&format!("203.0.113.{n}"), "alice", PASSWORD).await;
    }
    assert!(office.log_in("alice", OTHER).await.is_ok(), "from where the password was reset");
}
