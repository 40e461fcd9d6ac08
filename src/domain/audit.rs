//! Who did what to whom: the audit log's entries.
//!
//! An entry is written in the transaction of the act, so there is no act without one and none without its act. It holds
//! no secret: no password, token, key or hash, and not what somebody typed as his login, which is often a password.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use derive_more::Display;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    ApiKeyId, Origin, ScheduleId, SessionId, TaskId, UserId,
    caller::{Caller, Credential},
};

/// What somebody proved with who he is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// Nothing.
    #[display("anonymous")]
    Anonymous,
    /// He logged in.
    #[display("session")]
    Session,
    /// A program of his.
    #[display("api_key")]
    ApiKey,
    /// Whoever may run the command-line tool.
    #[display("cli")]
    Cli,
    /// The service itself.
    #[display("system")]
    System,
}

impl ActorKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Anonymous, Self::Session, Self::ApiKey, Self::Cli, Self::System];
}

/// Who acts, and from where.
#[derive(Debug, Clone)]
pub struct Actor {
    /// How he is known.
    pub kind: ActorKind,
    /// Who, when known.
    pub user: Option<UserId>,
    /// The session or API key that he used.
    pub credential: Option<Uuid>,
    /// From where.
    pub origin: Origin,
}

impl Actor {
    /// Somebody without a credential.
    pub fn anonymous(origin: Origin) -> Self {
        Self { kind: ActorKind::Anonymous, user: None, credential: None, origin }
    }

    /// A recognised caller.
    pub fn of(caller: &Caller, origin: Origin) -> Self {
        let (kind, credential) = match caller.credential {
            Credential::Session { id, .. } => (ActorKind::Session, id.0),
            Credential::ApiKey { id, .. } => (ActorKind::ApiKey, id.0),
        };
        Self { kind, user: Some(caller.user.id), credential: Some(credential), origin }
    }

    /// Whoever runs the command-line tool on the database's doorstep.
    pub fn cli() -> Self {
        Self { kind: ActorKind::Cli, user: None, credential: None, origin: Origin::default() }
    }

    /// The service itself.
    pub fn system() -> Self {
        Self { kind: ActorKind::System, user: None, credential: None, origin: Origin::default() }
    }
}

/// What was acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// `user`, `session`, …
    pub kind: &'static str,
    /// Of the object; `None` where it has none, such as a queue, or for all of a kind.
    pub id: Option<Uuid>,
}

macro_rules! targets {
    ($($id:ty: $kind:literal,)*) => {$(
        impl From<$id> for Target {
            fn from(id: $id) -> Self {
                Self { kind: $kind, id: Some(id.0) }
            }
        }
    )*};
}

targets! {
    UserId: "user",
    SessionId: "session",
    ApiKeyId: "api_key",
    TaskId: "task",
    ScheduleId: "schedule",
}

/// Whether it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    #[display("success")]
    Success,
    /// It was refused.
    #[display("failure")]
    Failure,
    /// The caller was known, and had no right to do it.
    #[display("denied")]
    Denied,
}

/// One act, to be written down.
#[derive(Debug, Clone)]
pub struct Act {
    /// `object.verb`, such as `user.create`.
    pub action: &'static str,
    /// On what.
    pub target: Option<Target>,
    /// With what success.
    pub outcome: Outcome,
    /// What else is worth knowing; no secrets.
    pub detail: Map<String, Value>,
}

impl Act {
    /// Something that was done.
    pub fn done(action: &'static str, target: impl Into<Target>) -> Self {
        Self { action, target: Some(target.into()), outcome: Outcome::Success, detail: Map::new() }
    }

    /// Something that was refused; there may be no target.
    pub fn refused(action: &'static str, target: Option<Target>) -> Self {
        Self { action, target, outcome: Outcome::Failure, detail: Map::new() }
    }

    /// Something that a known caller had no right to do.
    pub fn denied(action: &'static str) -> Self {
        Self { action, target: None, outcome: Outcome::Denied, detail: Map::new() }
    }

    /// The same with one more thing worth knowing.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.detail.insert(name.to_owned(), value.into());
        self
    }
}

/// One entry of the log, as admins read it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct Entry {
    /// UUID v7.
    pub id: Uuid,
    /// By the database's clock.
    pub at: DateTime<Utc>,
    /// `anonymous`, `session`, `api_key`, `cli` or `system`.
    pub actor_kind: String,
    /// The user who acted; he may be gone.
    #[schema(required = true)]
    pub actor_id: Option<UserId>,
    /// The session or API key that was used.
    #[schema(required = true)]
    pub credential_id: Option<Uuid>,
    /// `object.verb`.
    pub action: String,
    /// `user`, `session`, …
    #[schema(required = true)]
    pub target_kind: Option<String>,
    /// Of the object that was acted on.
    #[schema(required = true)]
    pub target_id: Option<Uuid>,
    /// `success`, `failure` or `denied`.
    pub outcome: String,
    /// The client's address.
    #[schema(value_type = Option<String>, example = "192.0.2.1", required = true)]
    pub ip_address: Option<IpAddr>,
    /// `X-Request-Id` of the request.
    #[schema(required = true)]
    pub request_id: Option<String>,
    /// What else is worth knowing.
    #[schema(value_type = Object)]
    pub detail: Value,
}

/// Which entries.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this user.
    pub actor: Option<UserId>,
    /// Of this action, or with a trailing `.`, of all actions that begin so.
    pub action: Option<String>,
    /// On this object.
    pub target: Option<Uuid>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_outcomes_are_written_as_the_database_knows_them() {
        let kinds = ActorKind::ALL.map(|kind| kind.to_string());
        assert_eq!(kinds, ["anonymous", "session", "api_key", "cli", "system"]);
        for kind in ActorKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.to_string());
        }
        assert_eq!(
            [Outcome::Success, Outcome::Failure, Outcome::Denied].map(|outcome| outcome.to_string()),
            ["success", "failure", "denied"]
        );
    }

    #[test]
    fn an_act_carries_its_target_and_what_is_worth_knowing() {
        let id = UserId::new();
        let act = Act::done("user.role", id).with("role", "admin");
        assert_eq!(act.target, Some(Target { kind: "user", id: Some(id.0) }));
        assert_eq!(Value::Object(act.detail), serde_json::json!({"role": "admin"}));
        assert_eq!(Act::refused("session.open", None).outcome, Outcome::Failure);
    }
}
