//! API keys as they are kept: everything but the secret.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    ApiKeyId, Permission, Permissions, UserId,
    api_key::{KeyName, KeyPrefix},
};

/// Most keys of one user that are not revoked.
pub const MAX_PER_USER: u16 = 1_000;
/// Revoked keys that are kept of each user, the last ones; older ones are deleted when another key is made. The audit log
/// still has them.
pub const MAX_REVOKED_PER_USER: u16 = 100;

/// An API key as every answer shows it. The secret is shown once, beside it, when it is made or rotated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ApiKey {
    /// Stays the same when the secret is rotated.
    pub id: ApiKeyId,
    /// What its owner calls it.
    #[schema(value_type = String)]
    pub name: KeyName,
    /// The start of the secret.
    #[schema(value_type = String)]
    pub key_prefix: KeyPrefix,
    /// As given; what the owner's role does not allow is of no effect.
    #[schema(value_type = Vec<Permission>, example = json!(["tasks:read"]))]
    pub permissions: Permissions,
    /// `None`: never.
    #[schema(required = true)]
    pub expires_at: Option<DateTime<Utc>>,
    /// To about a minute.
    #[schema(required = true)]
    pub last_used_at: Option<DateTime<Utc>>,
    /// Its owner.
    pub created_by: UserId,
    /// By the database's clock.
    pub created_at: DateTime<Utc>,
    /// Last change of any field but `last_used_at`.
    pub updated_at: DateTime<Utc>,
    /// A revoked key is good for nothing, and stays so.
    #[schema(required = true)]
    pub revoked_at: Option<DateTime<Utc>>,
}

/// What a new key shall be.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// What its owner calls it.
    pub name: KeyName,
    /// What it is allowed.
    pub permissions: Permissions,
    /// `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What shall change; `None` leaves it.
#[derive(Debug, Clone, Default)]
pub struct KeyChange {
    /// What its owner calls it.
    pub name: Option<KeyName>,
    /// What it is allowed.
    pub permissions: Option<Permissions>,
    /// `Some(None)`: never.
    pub expires_at: Option<Option<DateTime<Utc>>>,
}
