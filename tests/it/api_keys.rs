//! API keys in the database: when they are good for something, and when not any more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use starter::{
    actors::api_keys::{FindKey, IssueKey, ListKeys, RevokeKey, RotateKey, ShownOnce, UpdateKey},
    domain::{
        Caller, Conflict, Credential, Error, Limit, Permission, Permissions, Reach, Result, UserId,
        api_key::{ApiKeySecret, KeyName},
        issued_key::{KeyChange, NewKey},
    },
};

use crate::support::{
    db::TestDatabase,
    eventually,
    stores::{Stores, origin},
};

const LONG: Duration = Duration::from_secs(30);

fn refused(outcome: Result<Arc<Caller>>) -> bool {
    match outcome {
        Ok(_) => false,
        Err(Error::Unauthenticated { presented: true }) => true,
        Err(other) => panic!("{other:?}"),
    }
}

fn new_key() -> NewKey {
    let permissions = [Permission::TasksRead].into_iter().collect();
    NewKey { name: KeyName::parse("ci").unwrap(), permissions, expires_at: None }
}

/// Somebody who is logged in.
async fn caller(stores: &Stores, user: UserId) -> Arc<Caller> {
    let session = stores.open(user).await;
    stores.resolve(&session.token).await.unwrap()
}

async fn issue(stores: &Stores, by: &Arc<Caller>) -> Result<ShownOnce> {
    let by = Arc::clone(by);
    stores.keys.ask(IssueKey { key: new_key(), by, origin: origin() }).await
}

fn rotate(by: &Arc<Caller>, key: &ShownOnce, grace: u64) -> RotateKey {
    let grace = Duration::from_secs(grace);
    RotateKey { id: key.key.id, grace, by: Arc::clone(by), origin: origin() }
}

#[actix_rt::test]
async fn a_key_is_recognised_from_its_issue_to_its_revocation() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    let alice = caller(&stores, database.user("alice").await).await;
    let issued = issue(&stores, &alice).await.unwrap();
    assert_eq!(issued.key.key_prefix, issued.secret.prefix());
    assert_eq!((issued.key.created_by, issued.key.expires_at), (alice.user.id, None));
    let found = stores.verify(&issued.secret).await.unwrap();
    assert_eq!(found.user.id, alice.user.id);
    let Credential::ApiKey { id, permissions, .. } = found.credential else { panic!("{found:?}") };
    assert_eq!((id, permissions), (issued.key.id, new_key().permissions));
    let revoke = || RevokeKey { id, by: Arc::clone(&alice), origin: origin() };
    stores.keys.ask(revoke()).await.unwrap();
    assert!(refused(stores.verify(&issued.secret).await));
    stores.keys.ask(revoke()).await.unwrap();
    let kept = stores.keys.ask(FindKey { id, reach: Reach::All }).await.unwrap();
    assert!(kept.revoked_at.is_some());
    assert!(refused(stores.verify(&ApiKeySecret::generate()).await));
}

#[actix_rt::test]
async fn a_key_ends_by_each_part_of_the_rule_and_shrinks_with_its_owner() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    for (name, change) in [
        ("expired", "update api_keys set expires_at = now() where created_by = $id"),
        ("revoked", "update api_keys set revoked_at = now() where created_by = $id"),
        ("inactive", "update users set is_active = false where id = $id"),
        ("gone", "delete from users where id = $id"),
    ] {
        let user = database.user(name).await;
        let key = issue(&stores, &caller(&stores, user).await).await.unwrap();
        assert!(stores.verify(&key.secret).await.is_ok());
        database.sql(&change.replace("$id", &format!("'{user}'"))).await;
        assert!(refused(stores.verify(&key.secret).await), "{name}");
    }
    let admin = database.user_with_role("boss", "admin").await;
    let key = issue(&stores, &caller(&stores, admin).await).await.unwrap();
    assert!(stores.verify(&key.secret).await.unwrap().is_admin());
    database.sql("update users set role = 'user'").await;
    assert!(!stores.verify(&key.secret).await.unwrap().is_admin());
}

#[actix_rt::test]
async fn a_rotated_key_lives_on_for_its_grace_only() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    let alice = caller(&stores, database.user("alice").await).await;
    let first = issue(&stores, &alice).await.unwrap();
    let second = stores.keys.ask(rotate(&alice, &first, 600)).await.unwrap();
    assert_eq!((second.key.id, &second.key.name), (first.key.id, &first.key.name));
    assert!(stores.verify(&first.secret).await.is_ok() && stores.verify(&second.secret).await.is_ok());
    database.sql("update api_keys set previous_expires_at = now()").await;
    assert!(refused(stores.verify(&first.secret).await));
    let third = stores.keys.ask(rotate(&alice, &first, 0)).await.unwrap();
    assert!(refused(stores.verify(&second.secret).await), "no grace by default");
    assert!(stores.verify(&third.secret).await.is_ok());
}

/// A key whose end the clock of the application calls future, and that of the database past, would be dead from the start.
#[actix_rt::test]
async fn the_clock_of_the_database_decides_whether_an_end_lies_ahead() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    let alice = caller(&stores, database.user("alice").await).await;
    let past = Some(chrono::Utc::now() - chrono::TimeDelta::hours(1));
    let key = NewKey { expires_at: past, ..new_key() };
    let made = stores.keys.ask(IssueKey { key, by: alice, origin: origin() }).await;
    let Err(Error::Invalid(wrong)) = made.map(drop) else { panic!("a key that is dead from the start") };
    assert_eq!((wrong[0].field.as_ref(), wrong[0].code), ("/expires_at", "expires_in_the_past"));
    assert_eq!(database.count("select count(*) from api_keys").await, 0);
}

#[actix_rt::test]
async fn revoked_keys_of_one_user_do_not_pile_up() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    let users = [database.user("alice").await, database.user("bob").await];
    for user in users {
        database
            .sql(&format!(
                "insert into api_keys (id, name, key_hash, key_prefix, permissions, created_by, revoked_at)
                 select gen_random_uuid(), 'k' || n, sha256(('{user}' || n)::bytea), 'key_abcdefgh', '[]', '{user}',
                     now() - n * interval '1 s'
                 from generate_series(1, 150) n"
            ))
            .await;
    }
    let alice = caller(&stores, users[0]).await;
    issue(&stores, &alice).await.unwrap();
    let of = async |what: &str| database.count(&format!("select count(*) from api_keys where {what}")).await;
    assert_eq!(of(&format!("created_by = '{}' and revoked_at is not null", users[0])).await, 100);
    assert_eq!(of(&format!("created_by = '{}' and name = 'k1'", users[0])).await, 1, "the last ones stay");
    assert_eq!(of(&format!("created_by = '{}'", users[1])).await, 150);
}

#[actix_rt::test]
async fn of_two_concurrent_rotations_one_secret_is_live_beyond_the_grace() {
    let database = TestDatabase::create().await;
    let stores = [Stores::start(&database).await, Stores::start(&database).await];
    let alice = caller(&stores[0], database.user("alice").await).await;
    for grace in [0, 600] {
        let first = issue(&stores[0], &alice).await.unwrap();
        let (a, b) = tokio::join!(
            stores[0].keys.ask(rotate(&alice, &first, grace)),
            stores[1].keys.ask(rotate(&alice, &first, grace))
        );
        let secrets = [first.secret.clone(), a.unwrap().secret, b.unwrap().secret];
        database
            .sql("update api_keys set previous_expires_at = now() where previous_expires_at is not null")
            .await;
        let mut live = 0;
        for secret in &secrets {
            live += usize::from(!refused(stores[0].verify(secret).await));
        }
        assert_eq!(live, 1);
    }
}

#[actix_rt::test]
async fn what_others_own_is_not_there_but_for_admins() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    let alice = caller(&stores, database.user("alice").await).await;
    let bob = caller(&stores, database.user("bob").await).await;
    let admin = caller(&stores, database.user_with_role("boss", "admin").await).await;
    let key = issue(&stores, &alice).await.unwrap();
    let id = key.key.id;
    let rename = |by: &Arc<Caller>| {
        let change = KeyChange { name: Some(KeyName::parse("new").unwrap()), ..KeyChange::default() };
        UpdateKey { id, change, by: Arc::clone(by), origin: origin() }
    };
    let find = |by: &Arc<Caller>| FindKey { id, reach: by.reach() };
    assert!(matches!(stores.keys.ask(find(&bob)).await, Err(Error::NotFound)));
    assert!(matches!(stores.keys.ask(rename(&bob)).await, Err(Error::NotFound)));
    assert!(matches!(stores.keys.ask(rotate(&bob, &key, 0)).await, Err(Error::NotFound)));
    let revoke = |by: &Arc<Caller>| RevokeKey { id, by: Arc::clone(by), origin: origin() };
    assert!(matches!(stores.keys.ask(revoke(&bob)).await, Err(Error::NotFound)));
    assert!(stores.verify(&key.secret).await.is_ok());
    assert_eq!(stores.keys.ask(rename(&admin)).await.unwrap().name.as_str(), "new");
    let list = |by: &Arc<Caller>| ListKeys { reach: by.reach(), after: None, limit: Limit::default() };
    assert_eq!(stores.keys.ask(list(&bob)).await.unwrap().len(), 0);
    assert_eq!(stores.keys.ask(list(&alice)).await.unwrap().len(), 1);
    assert_eq!(stores.keys.ask(list(&admin)).await.unwrap().len(), 1);
    stores.keys.ask(revoke(&admin)).await.unwrap();
    assert!(matches!(stores.keys.ask(rename(&alice)).await, Err(Error::Conflict(Conflict::State(_)))));
    assert!(matches!(stores.keys.ask(rotate(&alice, &key, 0)).await, Err(Error::Conflict(_))));
}

#[actix_rt::test]
async fn a_change_touches_only_what_it_names() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    let alice = caller(&stores, database.user("alice").await).await;
    let key = issue(&stores, &alice).await.unwrap().key;
    let update = |change| UpdateKey { id: key.id, change, by: Arc::clone(&alice), origin: origin() };
    let expires_at = "2999-01-01T00:00:00Z".parse().unwrap();
    let change = KeyChange { expires_at: Some(Some(expires_at)), ..KeyChange::default() };
    let changed = stores.keys.ask(update(change)).await.unwrap();
    assert_eq!(
        (changed.expires_at, changed.name, changed.permissions),
        (Some(expires_at), key.name.clone(), key.permissions)
    );
    let change = KeyChange { permissions: Some(Permissions::default()), ..KeyChange::default() };
    let changed = stores.keys.ask(update(change)).await.unwrap();
    assert_eq!((changed.expires_at, changed.permissions), (Some(expires_at), Permissions::default()));
    let change = KeyChange { expires_at: Some(None), ..KeyChange::default() };
    assert_eq!(stores.keys.ask(update(change)).await.unwrap().expires_at, None);
}

#[actix_rt::test]
async fn the_thousand_and_first_key_is_refused_also_in_a_crowd() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    let alice = caller(&stores, database.user("alice").await).await;
    database
        .sql(&format!(
            "insert into api_keys (id, name, key_hash, key_prefix, created_by) \
             select gen_random_uuid(), 'k', sha256(n::text::bytea), 'key_', '{}' from generate_series(1, 995) n",
            alice.user.id
        ))
        .await;
    let crowd = futures_util::future::join_all((0..20).map(|_| issue(&stores, &alice))).await;
    let (made, refused): (Vec<_>, Vec<_>) = crowd.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 5);
    assert!(refused.into_iter().all(|outcome| matches!(outcome, Err(Error::Conflict(Conflict::State(_))))));
}

#[actix_rt::test]
async fn writing_use_down_never_undoes_a_revocation() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    let alice = caller(&stores, database.user("alice").await).await;
    for _ in 0..10 {
        let key = issue(&stores, &alice).await.unwrap();
        let revoked = AtomicBool::new(false);
        let use_it = async {
            for _ in 0..100 {
                let before = revoked.load(Ordering::SeqCst);
                let outcome = stores.verify(&key.secret).await;
                assert!(!(before && outcome.is_ok()), "used after the revocation was answered");
            }
        };
        let revoke_it = async {
            let revoke = RevokeKey { id: key.key.id, by: Arc::clone(&alice), origin: origin() };
            stores.keys.ask(revoke).await.unwrap();
            revoked.store(true, Ordering::SeqCst);
        };
        tokio::join!(use_it, revoke_it);
    }
    assert_eq!(database.count("select count(*) from api_keys where revoked_at is null").await, 0);
}

#[actix_rt::test]
async fn use_is_written_down_and_changes_nothing_else() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    let alice = caller(&stores, database.user("alice").await).await;
    let key = issue(&stores, &alice).await.unwrap();
    assert_eq!(key.key.last_used_at, None);
    stores.verify(&key.secret).await.unwrap();
    let find = FindKey { id: key.key.id, reach: Reach::All };
    eventually(LONG, async || stores.keys.ask(find).await.unwrap().last_used_at.is_some()).await;
    let kept = stores.keys.ask(find).await.unwrap();
    assert_eq!(kept.updated_at, key.key.updated_at);
}
