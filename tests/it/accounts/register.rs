//! Who may become a user, also when many want the same name at once.

use std::sync::Arc;

use futures_util::future::join_all;
use secrecy::ExposeSecret;
use starter::{
    actors::accounts::{Register, ensure_first_admin},
    domain::{Conflict, Error, Role},
};

use super::{Office, PASSWORD, config, draft, nobody};

fn fields(error: Error) -> Vec<String> {
    let Error::Invalid(violations) = error else { panic!("{error:?}") };
    violations.into_iter().map(|violation| violation.field.into_owned()).collect()
}

fn is_clash<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Conflict(Conflict::AccountExists)))
}

#[actix_web::test]
async fn whoever_registers_is_a_user_who_has_yet_to_prove_his_address() {
    let office = Office::open().await;
    let user = office.register_as("Alice", "Alice@Example.com").await.unwrap();
    assert_eq!((user.role, user.is_active, user.email_verified), (Role::User, true, false));
    assert_eq!((user.username.as_str(), user.email.as_str()), ("Alice", "Alice@Example.com"));
    assert!(office.log_in("alice", PASSWORD).await.is_ok());
    let entries = office.audit("user.register").await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].target_id, Some(user.id.0));
}

#[actix_web::test]
async fn a_name_or_an_address_is_taken_in_every_spelling() {
    let office = Office::open().await;
    office.register_as("alice", "a@xn--bcher-kva.example").await.unwrap();
    for (username, email) in [
        ("alice", "other@example.com"),
        ("ALICE", "other@example.com"),
        ("bob", "a@bücher.example"),
        ("bob", "A@BÜCHER.EXAMPLE"),
    ] {
        assert!(is_clash(&office.register_as(username, email).await), "{username} {email}");
    }
    assert!(office.register_as("bob", "a+b@bücher.example").await.is_ok());
}

#[actix_web::test]
async fn of_fifty_who_want_one_name_at_once_one_gets_it() {
    let office = Office::open().await;
    let wanted = (0..50).map(|n| {
        let office = &office;
        async move { office.register_as("alice", &format!("alice{n}@example.com")).await }
    });
    let outcomes = join_all(wanted).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for outcome in outcomes {
        assert!(
            outcome.is_ok() || is_clash(&outcome) || matches!(outcome, Err(Error::Overloaded)),
            "{outcome:?}"
        );
    }
    assert_eq!(office.audit("user.register").await.len(), 1, "nothing is left of the others");
}

#[actix_web::test]
async fn every_bad_field_is_named() {
    let office = Office::open().await;
    let bad = Register { draft: draft("x", "x", "x"), actor: nobody() };
    assert_eq!(fields(office.accounts.ask(bad).await.unwrap_err()), ["/username", "/email", "/password"]);
    let reserved = office.register_as("Support", "someone@example.com").await;
    assert_eq!(fields(reserved.unwrap_err()), ["/username"]);
}

#[actix_web::test]
async fn a_closed_service_takes_nobody() {
    let office = Office::with(&[("STARTER__AUTH__REGISTRATION", "closed")]).await;
    assert!(matches!(office.register("alice").await, Err(Error::RegistrationClosed)));
    office.create("alice", Role::User).await;
    assert!(office.log_in("alice", PASSWORD).await.is_ok());
}

#[actix_web::test]
async fn of_many_processes_that_start_at_once_one_makes_the_first_admin() {
    let office = Office::open().await;
    let configured = config(&[]).initial_admin;
    let made = join_all((0..8).map(|_| ensure_first_admin(&office.tools, &configured, true))).await;
    let made: Vec<_> = made.into_iter().filter_map(Result::unwrap).collect();
    let [first] = made.as_slice() else { panic!("{} admins", made.len()) };
    assert_eq!(first.user.role, Role::Admin);
    let password = first.password.as_ref().unwrap();
    assert!(office.log_in("admin", password.expose_secret()).await.is_ok());
    assert!(ensure_first_admin(&office.tools, &configured, true).await.unwrap().is_none());
}

#[actix_web::test]
async fn the_configured_admin_is_made_once_and_without_configuration_none() {
    let office = Office::open().await;
    assert!(ensure_first_admin(&office.tools, &config(&[]).initial_admin, false).await.unwrap().is_none());
    let configured = config(&[
        ("STARTER__INITIAL_ADMIN__USERNAME", "root"),
        ("STARTER__INITIAL_ADMIN__EMAIL", "root@localhost"),
        ("STARTER__INITIAL_ADMIN__PASSWORD", PASSWORD),
    ]);
    let admin = ensure_first_admin(&office.tools, &configured.initial_admin, true).await.unwrap().unwrap();
    assert_eq!((admin.user.username.as_str(), admin.password.is_none()), ("root", true));
    assert!(office.log_in("root@localhost", PASSWORD).await.is_ok());
    let again = ensure_first_admin(&Arc::clone(&office.tools), &configured.initial_admin, true).await;
    assert!(again.unwrap().is_none());
}
