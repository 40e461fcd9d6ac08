//! Sessions: log-ins that are alive.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{SessionId, UserId};

/// Most sessions of one user; one more ends the oldest (OWASP ASVS 7.1.2).
pub const MAX_PER_USER: u16 = 100;

/// A session as its owner sees it. Neither its token nor the token's hash is in here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Session {
    /// Not the token.
    pub id: SessionId,
    /// When he logged in.
    pub created_at: DateTime<Utc>,
    /// To about a minute.
    pub last_seen_at: DateTime<Utc>,
    /// When it ends if it is not used any more.
    pub idle_expires_at: DateTime<Utc>,
    /// When it ends in any case.
    pub expires_at: DateTime<Utc>,
    /// Where he logged in from.
    #[schema(value_type = Option<String>, required = true)]
    pub ip_address: Option<IpAddr>,
    /// What he logged in with.
    #[schema(required = true)]
    pub user_agent: Option<String>,
}

/// A session as operators see it, who see those of all users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OwnedSession {
    /// The session.
    #[serde(flatten)]
    pub session: Session,
    /// Whose.
    pub user_id: UserId,
    /// Whose, by name.
    pub username: String,
}
