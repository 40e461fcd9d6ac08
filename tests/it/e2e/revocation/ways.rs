//! Every way to take a right away over HTTP.

use chrono::{TimeDelta, Utc};
use starter::{
    db::one_time_tokens,
    domain::{Email, UserId, letter::Purpose, token::OneTimeToken},
};

use super::*;

/// Every way to take a right away.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    LogOut,
    LogOutEverywhere,
    Refresh,
    CloseSession,
    ChangePassword,
    Deactivate,
    Delete,
    CloseByAdmin,
    Demote,
    RevokeKey,
    RotateKey,
    NarrowKey,
    DeactivateOwner,
    ResetPassword,
    LetKeyExpire,
}

pub(super) const WAYS: [Way; 15] = [
    Way::LogOut,
    Way::LogOutEverywhere,
    Way::Refresh,
    Way::CloseSession,
    Way::ChangePassword,
    Way::Deactivate,
    Way::Delete,
    Way::CloseByAdmin,
    Way::Demote,
    Way::RevokeKey,
    Way::RotateKey,
    Way::NarrowKey,
    Way::DeactivateOwner,
    Way::ResetPassword,
    Way::LetKeyExpire,
];

/// Until a key that is about to expire has: longer than the request takes on a busy machine, since an end that has passed is
/// refused.
const EXPIRES_IN: TimeDelta = TimeDelta::milliseconds(1_500);

/// Somebody with a session, another session, and a key.
pub(super) struct Victim {
    pub(super) user: String,
    email: String,
    pub(super) session: String,
    other_session: String,
    key: String,
    key_id: String,
}

impl Victim {
    pub(super) fn key_id(&self) -> &str {
        &self.key_id
    }

    pub(super) async fn session_id(&self, at: &Running) -> Option<String> {
        let me = patiently(at, Method::GET, &self.session, "/api/v1/auth/me", None).await?;
        Some(text(&me["credential"]["id"]))
    }

    /// As if it had been mailed; `None`: the database is away. That the mail carries it is shown elsewhere.
    async fn mailed_token(&self, url: &str) -> Option<String> {
        let token = OneTimeToken::generate();
        let (id, email) = (UserId(self.user.parse().unwrap()), Email::parse(&self.email).unwrap());
        let (purpose, hour) = (Purpose::ResetPassword, Duration::from_secs(3_600));
        let mut connection = connect(url).await?;
        one_time_tokens::put(&mut connection, id, purpose, &token.hash(), &email, hour).await.ok()?;
        Some(token.expose().to_owned())
    }

    pub(super) async fn enter(at: &Running, name: &str) -> Option<Self> {
        let email = format!("{name}@example.com");
        let body = json!({ "username": name, "email": &email, "password": PASSWORD });
        let user = patiently(at, Method::POST, "", "/api/v1/auth/register", Some(body)).await?;
        let login = json!({ "login": name, "password": PASSWORD });
        let session = patiently(at, Method::POST, "", "/api/v1/auth/login", Some(login.clone())).await?;
        let other = patiently(at, Method::POST, "", "/api/v1/auth/login", Some(login)).await?;
        let session = text(&session["token"]);
        let wanted = json!({ "name": "k", "permissions": ["tasks:read"] });
        let key = patiently(at, Method::POST, &session, "/api/v1/api-keys", Some(wanted)).await?;
        Some(Self {
            user: text(&user["id"]),
            email,
            session,
            other_session: text(&other["token"]),
            key: text(&key["key"]),
            key_id: text(&key["id"]),
        })
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

impl Way {
    /// What will be asked with which credential, and how it will be refused.
    pub(super) fn question(self, victim: &Victim) -> (&str, &'static str, u16) {
        match self {
            Self::Demote => (&victim.session, "/api/v1/users?limit=1", 403),
            Self::RevokeKey | Self::RotateKey | Self::DeactivateOwner | Self::LetKeyExpire => {
                (&victim.key, "/api/v1/tasks?limit=1", 401)
            }
            Self::NarrowKey => (&victim.key, "/api/v1/tasks?limit=1", 403),
            _ => (&victim.session, "/api/v1/auth/me", 401),
        }
    }

    /// What has to be so before.
    pub(super) async fn prepare(self, at: &Running, admin: &str, victim: &Victim) -> Option<()> {
        if matches!(self, Self::Demote) {
            let path = format!("/api/v1/users/{}", victim.user);
            patiently(at, Method::PATCH, admin, &path, Some(json!({ "role": "admin" }))).await?;
        }
        Some(())
    }

    /// `false`: nobody answered that it was done.
    pub(super) async fn revoke(self, url: &str, at: &Running, admin: &str, victim: &Victim) -> bool {
        let Victim { user, session, other_session, key_id, .. } = victim;
        let user = format!("/api/v1/users/{user}");
        let of_user = format!("{user}/sessions");
        let key = format!("/api/v1/api-keys/{key_id}");
        let rotate = format!("{key}/rotate");
        let off = Some(json!({ "is_active": false }));
        let passwords = json!({ "current_password": PASSWORD, "new_password": "another quiet engine" });
        let own = match self {
            Self::CloseSession => victim.session_id(at).await.unwrap_or_default(),
            _ => String::new(),
        };
        let own = format!("/api/v1/auth/sessions/{own}");
        let expires_at = Utc::now() + EXPIRES_IN;
        let mut reset = Value::Null;
        if matches!(self, Self::ResetPassword) {
            let Some(token) = victim.mailed_token(url).await else { return false };
            reset = json!({ "token": token, "new_password": "another quiet engine" });
        }
        let (method, credential, path, body) = match self {
            Self::LogOut => (Method::POST, session.as_str(), "/api/v1/auth/logout", None),
            Self::LogOutEverywhere => (Method::POST, other_session.as_str(), "/api/v1/auth/logout-all", None),
            Self::Refresh => (Method::POST, session.as_str(), "/api/v1/auth/refresh", None),
            Self::CloseSession => (Method::DELETE, other_session.as_str(), own.as_str(), None),
            Self::ChangePassword => {
                (Method::POST, other_session.as_str(), "/api/v1/auth/password", Some(passwords))
            }
            Self::Deactivate | Self::DeactivateOwner => (Method::PATCH, admin, user.as_str(), off),
            Self::Delete => (Method::DELETE, admin, user.as_str(), None),
            Self::CloseByAdmin => (Method::DELETE, admin, of_user.as_str(), None),
            Self::Demote => (Method::PATCH, admin, user.as_str(), Some(json!({ "role": "user" }))),
            Self::RevokeKey => (Method::DELETE, session.as_str(), key.as_str(), None),
            Self::RotateKey => (Method::POST, session.as_str(), rotate.as_str(), Some(json!({}))),
            Self::NarrowKey => {
                (Method::PATCH, session.as_str(), key.as_str(), Some(json!({ "permissions": [] })))
            }
            Self::ResetPassword => (Method::POST, "", "/api/v1/auth/password/reset", Some(reset)),
            Self::LetKeyExpire => {
                let soon = json!({ "expires_at": expires_at.to_rfc3339() });
                (Method::PATCH, session.as_str(), key.as_str(), Some(soon))
            }
        };
        match ask(at, method, credential, path, body).await {
            Some((status, _)) if status < 300 => {
                if matches!(self, Self::LetKeyExpire) {
                    eventually(LONG, async || Utc::now() > expires_at).await;
                }
                true
            }
            Some((503, _)) | None => false,
            // It took so long to be asked that the time was over.
            Some((422, _)) if matches!(self, Self::LetKeyExpire) => false,
            Some((status, body)) => panic!("{self:?} was answered {status} {body}"),
        }
    }
}
