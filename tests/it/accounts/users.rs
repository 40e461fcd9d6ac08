//! What admins do with users; and the last of them cannot vanish.

use starter::{
    actors::accounts::{ChangeUser, DeleteProfile, DeleteUser, FindUser, ListUsers},
    domain::{
        Conflict, Cursor, Error, Limit, PresentedPassword, Result, Role, User, UserId,
        account::{Changes, UserFilter},
        audit::Actor,
    },
};

use super::{Office, PASSWORD};

const DEMOTE: Changes =
    Changes { username: None, email: None, role: Some(Role::User), is_active: None, email_verified: None };
const SWITCH_OFF: Changes = Changes { role: None, is_active: Some(false), ..DEMOTE };
const PROMOTE: Changes = Changes { role: Some(Role::Admin), is_active: Some(true), ..DEMOTE };

impl Office {
    async fn change(&self, id: UserId, changes: Changes) -> Result<User> {
        self.accounts.ask(ChangeUser { id, changes, actor: Actor::cli() }).await
    }

    async fn remove(&self, id: UserId) -> Result<()> {
        self.accounts.ask(DeleteUser { id, actor: Actor::cli() }).await
    }

    async fn list(&self, filter: UserFilter) -> Vec<User> {
        let limit = Limit::parse(Some("7")).unwrap();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let list = ListUsers { filter: filter.clone(), after, limit };
            let mut page: Vec<User> = self.accounts.ask(list).await.unwrap();
            let more = page.len() > limit.get();
            page.truncate(limit.get());
            after = page.last().map(|user| Cursor { at: Some(user.created_at), id: user.id.0 });
            seen.extend(page);
            if !more {
                return seen;
            }
        }
    }

    async fn active_admins(&self) -> usize {
        let filter = UserFilter { role: Some(Role::Admin), is_active: Some(true), text: None };
        self.list(filter).await.len()
    }
}

fn is_last_admin<T>(outcome: &Result<T>) -> bool {
    matches!(outcome, Err(Error::Conflict(Conflict::LastAdmin)))
}

#[actix_web::test]
async fn the_last_active_admin_stays_one() {
    let office = Office::open().await;
    let root = office.create("boss", Role::Admin).await;
    let sleeper = office.create("sleeper", Role::Admin).await;
    office.change(sleeper.id, SWITCH_OFF).await.unwrap();
    assert!(is_last_admin(&office.change(root.id, DEMOTE).await));
    assert!(is_last_admin(&office.change(root.id, SWITCH_OFF).await));
    assert!(is_last_admin(&office.remove(root.id).await));
    let guest = office.guest("boss").await;
    let password = PresentedPassword::new(&PASSWORD.into());
    let leave = DeleteProfile { by: guest.caller, password, actor: guest.actor };
    assert!(is_last_admin(&office.accounts.ask(leave).await));
    assert!(office.is_alive(&guest.token).await);
    office.change(sleeper.id, PROMOTE).await.unwrap();
    assert_eq!(office.change(root.id, DEMOTE).await.unwrap().role, Role::User);
    assert!(is_last_admin(&office.remove(sleeper.id).await));
    office.remove(root.id).await.unwrap();
}

#[actix_web::test]
async fn of_two_admins_who_take_each_other_away_one_stays_in_a_hundred_rounds() {
    let office = Office::open().await;
    let (one, other) =
        (office.create("one", Role::Admin).await.id, office.create("two", Role::Admin).await.id);
    for round in 0..100 {
        let outcomes = match round % 3 {
            0 => tokio::join!(office.change(one, DEMOTE), office.change(other, DEMOTE)),
            1 => tokio::join!(office.change(one, SWITCH_OFF), office.change(other, DEMOTE)),
            _ => tokio::join!(office.change(one, SWITCH_OFF), office.change(other, SWITCH_OFF)),
        };
        let refused = [&outcomes.0, &outcomes.1].into_iter().filter(|outcome| is_last_admin(outcome)).count();
        assert_eq!(refused, 1, "round {round}: {outcomes:?}");
        assert_eq!(office.active_admins().await, 1);
        office.change(one, PROMOTE).await.unwrap();
        office.change(other, PROMOTE).await.unwrap();
    }
}

#[actix_web::test]
async fn two_admins_who_delete_each_other_leave_one() {
    let office = Office::open().await;
    for round in 0..20 {
        let mut admins = Vec::new();
        for side in ["a", "b"] {
            admins.push(office.create(&format!("admin{round}{side}"), Role::Admin).await.id);
        }
        let left: Vec<UserId> = office
            .list(UserFilter { role: Some(Role::Admin), ..UserFilter::default() })
            .await
            .into_iter()
            .map(|user| user.id)
            .filter(|id| !admins.contains(id))
            .collect();
        for id in left {
            office.remove(id).await.unwrap();
        }
        let outcomes = tokio::join!(office.remove(admins[0]), office.remove(admins[1]));
        assert_ne!(outcomes.0.is_ok(), outcomes.1.is_ok(), "{outcomes:?}");
        assert_eq!(office.active_admins().await, 1);
    }
}

#[actix_web::test]
async fn a_change_takes_effect_on_the_next_request_of_every_session() {
    let office = Office::open().await;
    office.create("boss", Role::Admin).await;
    let bob = office.create("bob", Role::User).await;
    let session = office.guest("bob").await;
    for (changes, role) in [(PROMOTE, Role::Admin), (DEMOTE, Role::User)] {
        office.change(bob.id, changes).await.unwrap();
        assert_eq!(office.caller(&session.token).await.unwrap().user.role, role);
    }
    office.change(bob.id, SWITCH_OFF).await.unwrap();
    assert!(!office.is_alive(&session.token).await);
    office.change(bob.id, Changes { is_active: Some(true), role: None, ..SWITCH_OFF }).await.unwrap();
    assert!(!office.is_alive(&session.token).await, "coming back does not bring it back");
    let session = office.guest("bob").await;
    office.remove(bob.id).await.unwrap();
    assert!(!office.is_alive(&session.token).await);
    assert!(matches!(office.change(bob.id, DEMOTE).await, Err(Error::NotFound)));
    assert!(matches!(office.remove(bob.id).await, Err(Error::NotFound)));
    assert!(matches!(office.accounts.ask(FindUser(bob.id)).await, Err(Error::NotFound)));
}

#[actix_web::test]
async fn users_are_listed_newest_first_and_filtered() {
    let office = Office::open().await;
    for n in 0..20 {
        let role = if n % 5 == 0 { Role::Admin } else { Role::User };
        let user = office.create(&format!("user_{n:02}"), role).await;
        if n % 2 == 1 {
            office.change(user.id, SWITCH_OFF).await.unwrap();
        }
    }
    let all = office.list(UserFilter::default()).await;
    assert_eq!(all.len(), 20);
    assert!(all.is_sorted_by(|a, b| (a.created_at, a.id) > (b.created_at, b.id)));
    let count = async |filter| office.list(filter).await.len();
    assert_eq!(count(UserFilter { role: Some(Role::Admin), ..UserFilter::default() }).await, 4);
    assert_eq!(count(UserFilter { is_active: Some(false), ..UserFilter::default() }).await, 10);
    let text = |text: &str| UserFilter { text: Some(text.to_owned()), ..UserFilter::default() };
    for (wanted, found) in [
        ("USER_0", 10),
        ("r_07", 1),
        ("user_07@example", 1),
        ("", 20),
        ("%", 0),
        ("user_%", 0),
        ("user0", 0),
        ("\\", 0),
        ("'", 0),
        ("user__7", 0),
    ] {
        assert_eq!(count(text(wanted)).await, found, "{wanted}");
    }
}

#[actix_web::test]
async fn what_an_admin_did_is_written_down_with_what_changed() {
    let office = Office::open().await;
    office.create("boss", Role::Admin).await;
    let bob = office.create("bob", Role::User).await;
    office.change(bob.id, PROMOTE).await.unwrap();
    let entries = office.audit("user.").await;
    let update = entries.iter().find(|entry| entry.action == "user.update").unwrap();
    assert_eq!(update.detail, serde_json::json!({"changed": ["role"], "role": "admin"}));
    assert_eq!((update.actor_kind.as_str(), update.target_id), ("cli", Some(bob.id.0)));
    assert!(!serde_json::to_string(&entries).unwrap().contains("argon2"));
}
