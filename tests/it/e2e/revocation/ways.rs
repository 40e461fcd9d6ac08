//! Every way to take a right away over HTTP.

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
}

pub(super) const WAYS: [Way; 13] = [
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
];

/// Somebody with a session, another session, and a key.
pub(super) struct Victim {
    pub(super) user: String,
    session: String,
    other_session: String,
    key: String,
    key_id: String,
}

impl Victim {
    pub(super) fn key_id(&self) -> &str {
        &self.key_id
    }

    pub(super) async fn enter(at: &Running, name: &str) -> Option<Self> {
        let email = format!("{name}@example.com");
        let body = json!({ "username": name, "email": email, "password": PASSWORD });
        let user = patiently(at, Method::POST, "", "/api/v1/auth/register", Some(body)).await?;
        let login = json!({ "login": name, "password": PASSWORD });
        let session = patiently(at, Method::POST, "", "/api/v1/auth/login", Some(login.clone())).await?;
        let other = patiently(at, Method::POST, "", "/api/v1/auth/login", Some(login)).await?;
        let session = text(&session["token"]);
        let wanted = json!({ "name": "k", "permissions": ["tasks:read"] });
        let key = patiently(at, Method::POST, &session, "/api/v1/api-keys", Some(wanted)).await?;
        Some(Self {
            user: text(&user["id"]),
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
            Self::RevokeKey | Self::RotateKey | Self::DeactivateOwner => {
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
    pub(super) async fn revoke(self, at: &Running, admin: &str, victim: &Victim) -> bool {
        let Victim { user, session, other_session, key_id, .. } = victim;
        let user = format!("/api/v1/users/{user}");
        let of_user = format!("{user}/sessions");
        let key = format!("/api/v1/api-keys/{key_id}");
        let rotate = format!("{key}/rotate");
        let off = Some(json!({ "is_active": false }));
        let passwords = json!({ "current_password": PASSWORD, "new_password": "another quiet engine" });
        let own = format!("/api/v1/auth/sessions/{}", self.id_of(at, victim).await);
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
        };
        match ask(at, method, credential, path, body).await {
            Some((status, _)) if status < 300 => true,
            Some((503, _)) | None => false,
            Some((status, body)) => panic!("{self:?} was answered {status} {body}"),
        }
    }

    async fn id_of(self, at: &Running, victim: &Victim) -> String {
        if !matches!(self, Self::CloseSession) {
            return String::new();
        }
        match patiently(at, Method::GET, &victim.session, "/api/v1/auth/me", None).await {
            Some(me) => text(&me["credential"]["id"]),
            None => String::new(),
        }
    }
}
