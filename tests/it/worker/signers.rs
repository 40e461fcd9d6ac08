//! Whose key signs a webhook.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::BoxFuture;
use hmac::{Hmac, KeyInit as _, Mac as _};
use starter::{
    domain::{Email, Error, Result, Role, User, UserId, Username, task::NewTask},
    tasks::{Services, services::UserDirectory},
};

use super::{
    outside::{KEY, hook, receiver, run_with, webhooks},
    workshop::in_workshop,
};

/// One user, or nobody.
#[derive(Debug)]
struct Directory(Option<User>);

impl UserDirectory for Directory {
    fn find(&self, id: UserId) -> BoxFuture<'_, Result<Option<User>>> {
        let found = self.0.clone().filter(|user| user.id == id);
        Box::pin(async move { Ok(found) })
    }

    fn page(&self, _: Option<UserId>, _: u32) -> BoxFuture<'_, Result<Vec<User>>> {
        Box::pin(async { Err(Error::NotFound) })
    }
}

fn user(id: UserId, role: Role, is_active: bool) -> User {
    User {
        id,
        username: Username::parse("alice").unwrap(),
        email: Email::parse("alice@example.com").unwrap(),
        role,
        is_active,
        email_verified: true,
        created_at: chrono::Utc::now(),
        updated_at: chrono::Utc::now(),
        last_login_at: None,
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Delivers a webhook that `owner` ordered, whom the directory knows like this, and looks at its signature.
fn delivered(owner: UserId, found: Option<User>, signer: &str, key: &[u8]) {
    in_workshop(async |workshop| {
        let insert = format!(
            "insert into users (id, username, username_canon, email, email_canon, password_hash)
             values ('{owner}', 'x', 'x', 'x@x.co', 'x@x.co', 'x')"
        );
        workshop.database.sql(&insert).await;
        let (url, mut requests) = receiver("204 No Content").await;
        let services = Services { users: Arc::new(Directory(found.clone())), ..webhooks(true) };
        let task = NewTask { created_by: Some(owner), ..hook(&url) };
        assert_eq!(run_with(&workshop, services, task).await["status"], "succeeded", "{found:?}");

        let request = requests.recv().await.unwrap();
        let header = |name: &str| request.headers[name].as_str();
        assert_eq!(header("webhook-signer"), signer, "{found:?}");
        let signed = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), request.body);
        let expected = format!("v1,{}", STANDARD.encode(mac(key, &signed)));
        assert_eq!(header("webhook-signature"), expected, "{found:?}");
    });
}

#[test]
fn what_users_order_is_not_signed_by_the_service() {
    let owner = UserId::new();
    // As docs/queue.md has it, for receivers.
    let derived = mac(KEY, &format!("starter webhooks of user {owner}"));
    let of_owner = format!("user/{owner}");
    delivered(owner, Some(user(owner, Role::Admin, true)), "service", KEY);
    delivered(owner, Some(user(owner, Role::User, true)), &of_owner, &derived);
    delivered(owner, Some(user(owner, Role::Admin, false)), &of_owner, &derived);
    delivered(owner, None, &of_owner, &derived);
}
