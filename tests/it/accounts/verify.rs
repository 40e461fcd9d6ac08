//! Proving an address.

use starter::{
    actors::accounts::{ChangeProfile, RequestReset, ResendVerification, VerifyEmail},
    domain::{Email, Error, Result, User, Username, token::OneTimeToken},
};

use super::{Guest, Office, mailbox::token, nobody};

impl Office {
    async fn verify(&self, token: &OneTimeToken) -> Result<()> {
        self.accounts.ask(VerifyEmail { token: Some(token.clone()), actor: nobody() }).await
    }

    async fn resend(&self, guest: &Guest) {
        let (by, actor) = (guest.caller.clone(), guest.actor.clone());
        self.accounts.ask(ResendVerification { by, actor }).await.unwrap();
    }

    async fn rename(&self, guest: &Guest, username: Option<&str>, email: Option<&str>) -> Result<User> {
        let (by, actor) = (guest.caller.clone(), guest.actor.clone());
        let username = username.map(|text| Username::parse(text).unwrap());
        let email = email.map(|text| Email::parse(text).unwrap());
        self.accounts.ask(ChangeProfile { by, username, email, actor }).await
    }
}

#[actix_web::test]
async fn a_mailed_token_proves_the_address_once() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    let alice = office.guest("alice").await;
    let mailed = token(&office.deliver().await[0], "verify-email");
    office.verify(&mailed).await.unwrap();
    assert!(office.caller(&alice.token).await.unwrap().user.email_verified);
    assert!(matches!(office.verify(&mailed).await, Err(Error::InvalidToken)));
    assert!(matches!(office.verify(&OneTimeToken::generate()).await, Err(Error::InvalidToken)));
}

#[actix_web::test]
async fn a_letter_to_an_international_domain_is_addressed_in_ascii() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    let alice = office.guest("alice").await;
    office.deliver().await;
    let changed = office.rename(&alice, None, Some("Alice@bücher.example")).await.unwrap();
    assert_eq!(changed.email.as_str(), "Alice@bücher.example");
    let mails = office.deliver().await;
    assert!(mails.iter().any(|mail| mail.to == "Alice@xn--bcher-kva.example"), "{mails:?}");
    assert!(mails.iter().all(|mail| mail.to.is_ascii()));
}

#[actix_web::test]
async fn the_mail_is_sent_again_on_demand_three_times_an_hour_and_not_when_it_is_of_no_use() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    office.deliver().await;
    let alice = office.guest("alice").await;
    for _ in 0..10 {
        office.resend(&alice).await;
    }
    let mails = office.deliver().await;
    assert_eq!(mails.len(), 3);
    office.verify(&token(&mails[2], "verify-email")).await.unwrap();
    office.database.sql("delete from login_throttle").await;
    office.resend(&office.guest("alice").await).await;
    assert!(office.deliver().await.is_empty());
}

#[actix_web::test]
async fn changing_the_address_to_and_fro_floods_nobody() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    office.register("mallory").await.unwrap();
    office.deliver().await;
    let mallory = office.guest("mallory").await;
    // Each is delivered at once: what is no longer of use when its turn comes is not sent anyway.
    let mut mails = Vec::new();
    for n in 0..30 {
        office.rename(&mallory, None, Some("victim@example.org")).await.unwrap();
        mails.extend(office.deliver().await);
        office.rename(&mallory, None, Some(&format!("mallory{n}@example.org"))).await.unwrap();
        mails.extend(office.deliver().await);
    }
    assert!(mails.len() <= 5, "{} mails of one user", mails.len());
    let to_victim = mails.iter().filter(|mail| mail.to == "victim@example.org").count();
    assert!((1..=5).contains(&to_victim), "{to_victim}");

    // Nobody else loses anything by it.
    let alice = office.guest("alice").await;
    office.resend(&alice).await;
    assert_eq!(office.deliver().await.len(), 1);
}

#[actix_web::test]
async fn mails_of_all_kinds_share_one_limit_for_each_address() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    let alice = office.guest("alice").await;
    let mut mails = Vec::new();
    for _ in 0..10 {
        office.resend(&alice).await;
        let (email, actor) = (Email::parse("alice@example.com").unwrap(), nobody());
        office.accounts.ask(RequestReset { email, actor }).await.unwrap();
        mails.extend(office.deliver().await);
    }
    // Several users who take turns share it too.
    for name in ["bobby", "carol", "david", "erika"] {
        office.register(name).await.unwrap();
        mails.extend(office.deliver().await);
        let guest = office.guest(name).await;
        office.rename(&guest, None, Some("alice2@example.com")).await.unwrap();
        mails.extend(office.deliver().await);
        for _ in 0..3 {
            office.resend(&office.guest(name).await).await;
            mails.extend(office.deliver().await);
        }
        office.rename(&guest, None, Some(&format!("{name}@example.net"))).await.unwrap();
    }
    let to = |address: &str| mails.iter().filter(|mail| mail.to == address).count();
    assert_eq!((to("alice@example.com"), to("alice2@example.com")), (5, 5));
}

#[actix_web::test]
async fn a_new_address_is_unproved_gets_a_mail_and_voids_what_was_mailed_before() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    let alice = office.guest("alice").await;
    let mailed = token(&office.deliver().await[0], "verify-email");
    let user = office.rename(&alice, None, Some("alice@example.org")).await.unwrap();
    assert_eq!((user.email.as_str(), user.email_verified), ("alice@example.org", false));
    assert!(matches!(office.verify(&mailed).await, Err(Error::InvalidToken)));
    let mails = office.deliver().await;
    assert_eq!(mails.iter().map(|mail| mail.to.as_str()).collect::<Vec<_>>(), ["alice@example.org"]);
    office.verify(&token(&mails[0], "verify-email")).await.unwrap();

    let user = office.rename(&alice, None, Some("alice@example.net")).await.unwrap();
    assert!(!user.email_verified);
    let mails = office.deliver().await;
    let told: Vec<_> = mails.iter().map(|mail| (mail.to.as_str(), mail.subject.as_str())).collect();
    assert!(told.contains(&("alice@example.org", "Your e-mail address was changed")), "{told:?}");
    assert_eq!(told.len(), 2);
    assert!(office.is_alive(&alice.token).await);
}

#[actix_web::test]
async fn somebody_changes_his_name_but_not_to_one_that_is_taken_or_reserved() {
    let office = Office::open().await;
    office.register("alice").await.unwrap();
    office.register("bob").await.unwrap();
    let alice = office.guest("alice").await;
    assert_eq!(office.rename(&alice, Some("Alice"), None).await.unwrap().username.as_str(), "Alice");
    assert!(matches!(office.rename(&alice, Some("BOB"), None).await, Err(Error::Conflict(_))));
    assert!(matches!(office.rename(&alice, None, Some("bob@example.com")).await, Err(Error::Conflict(_))));
    assert!(matches!(office.rename(&alice, Some("support"), None).await, Err(Error::Invalid(_))));
    let same = office.rename(&alice, Some("Alice"), Some("alice@example.com")).await.unwrap();
    assert_eq!(same.username.as_str(), "Alice");
    assert_eq!(office.audit("user.update").await.len(), 1, "what changes nothing is no act");
}
