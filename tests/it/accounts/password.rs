//! Changing one's password, and what goes with it.

use futures_util::future::join_all;
use starter::{
    actors::accounts::{ChangePassword, DeleteProfile, RequestReset, ResetPassword},
    domain::{Email, Error, PresentedPassword, Result},
};

use super::{Guest, OTHER, Office, PASSWORD, mailbox::token, nobody};

impl Office {
    pub(super) async fn change_password(&self, guest: &Guest, current: &str, new: &str) -> Result<()> {
        let (by, actor) = (guest.caller.clone(), guest.actor.clone());
        let current = PresentedPassword::new(&current.into());
        self.accounts.ask(ChangePassword { by, current, new: new.into(), actor }).await
    }

    async fn leave(&self, guest: &Guest, password: &str) -> Result<()> {
        let (by, actor) = (guest.caller.clone(), guest.actor.clone());
        self.accounts
            .ask(DeleteProfile { by, password: PresentedPassword::new(&password.into()), actor })
            .await
    }
}

fn violation(outcome: Result<()>) -> (String, &'static str) {
    let Err(Error::Invalid(violations)) = outcome else { panic!("{outcome:?}") };
    (violations[0].field.to_string(), violations[0].code)
}

#[actix_web::test]
async fn every_other_session_ends_and_the_present_one_lives_on() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    let (here, there) = (office.guest("alice").await, office.guest("alice").await);
    office.change_password(&here, PASSWORD, OTHER).await.unwrap();
    assert!(office.is_alive(&here.token).await);
    assert!(!office.is_alive(&there.token).await);
    assert!(matches!(office.log_in("alice", PASSWORD).await, Err(Error::InvalidCredentials)));
    let later = office.guest_with("alice", OTHER).await;
    assert!(office.is_alive(&later.token).await && office.is_alive(&here.token).await);
    let mails = office.deliver().await;
    assert!(mails.iter().any(|mail| mail.subject == "Your password was changed"));
    assert_eq!(office.audit("user.password.change").await.len(), 1);
}

#[actix_web::test]
async fn a_wrong_current_password_counts_as_a_failed_log_in() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    let alice = office.guest("alice").await;
    for n in 0..12 {
        let refused = office.change_password(&alice, "wrong", OTHER).await;
        match refused {
            Err(Error::CurrentPasswordIncorrect) => assert!(n < 10, "{n}"),
            Err(Error::AccountLocked { .. }) => assert!(n >= 10, "{n}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(office.log_in("alice", PASSWORD).await, Err(Error::AccountLocked { .. })));
    assert!(office.is_alive(&alice.token).await);
    let entries = office.audit("user.password.change").await;
    assert_eq!((entries.len(), entries[0].outcome.as_str()), (10, "failure"));
}

#[actix_web::test]
async fn a_new_password_that_the_policy_refuses_changes_nothing() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    let alice = office.guest("alice").await;
    let long = "x".repeat(257);
    for (new, code) in [
        (PASSWORD, "password_unchanged"),
        ("short", "password_too_short"),
        (long.as_str(), "password_too_long"),
        ("password1234", "password_too_common"),
        ("alice@example.com", "password_too_personal"),
    ] {
        let refused = violation(office.change_password(&alice, PASSWORD, new).await);
        assert_eq!(refused, ("/new_password".to_owned(), code), "{new}");
    }
    assert!(office.log_in("alice", PASSWORD).await.is_ok());
}

#[actix_web::test]
async fn what_was_mailed_before_is_void() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    let alice = office.guest("alice").await;
    let email = Email::parse("alice@example.com").unwrap();
    office.accounts.ask(RequestReset { email, actor: nobody() }).await.unwrap();
    let mails = office.deliver().await;
    let mailed = token(mails.last().unwrap(), "reset-password");
    office.change_password(&alice, PASSWORD, OTHER).await.unwrap();
    let reset = ResetPassword { token: Some(mailed), new: PASSWORD.into(), actor: nobody() };
    assert!(matches!(office.accounts.ask(reset).await, Err(Error::InvalidToken)));
}

#[actix_web::test]
async fn of_changes_at_once_one_is_made() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    let guests = join_all((0..6).map(|_| office.guest("alice"))).await;
    let passwords: Vec<String> = (0..6).map(|n| format!("{OTHER} number {n}")).collect();
    let changes =
        guests.iter().zip(&passwords).map(|(guest, new)| office.change_password(guest, PASSWORD, new));
    let outcomes = join_all(changes).await;
    let made: Vec<usize> = (0..6).filter(|n| outcomes[*n].is_ok()).collect();
    let [one] = made[..] else { panic!("{outcomes:?}") };
    for n in 0..6 {
        assert_eq!(office.is_alive(&guests[n].token).await, n == one);
        assert_eq!(office.log_in("alice", &passwords[n]).await.is_ok(), n == one);
    }
}

#[actix_web::test]
async fn a_log_in_with_the_old_password_leaves_no_session_behind() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    let (mut now, mut then) = (PASSWORD, OTHER);
    for _ in 0..30 {
        let alice = office.guest_with("alice", now).await;
        let change = office.change_password(&alice, now, then);
        let (changed, old) = tokio::join!(change, office.log_in("alice", now));
        changed.unwrap();
        if let Ok(old) = old {
            assert!(!office.is_alive(&old.token).await, "made with the old password");
        }
        (now, then) = (then, now);
    }
}

#[actix_web::test]
async fn an_account_is_deleted_by_whoever_knows_its_password() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    let (here, there) = (office.guest("alice").await, office.guest("alice").await);
    assert!(matches!(office.leave(&here, OTHER).await, Err(Error::CurrentPasswordIncorrect)));
    assert!(office.is_alive(&here.token).await);
    office.leave(&here, PASSWORD).await.unwrap();
    assert!(!office.is_alive(&here.token).await && !office.is_alive(&there.token).await);
    assert!(matches!(office.log_in("alice", PASSWORD).await, Err(Error::InvalidCredentials)));
    office.register("alice").await.unwrap();
}
