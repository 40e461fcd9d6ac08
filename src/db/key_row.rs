//! The columns that make an API key, for every statement that returns one.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::{
    ApiKey, ApiKeyId, Permissions, UserId,
    api_key::{KeyName, KeyPrefix},
};

/// The columns, of `k`, in the order of [`KeyTypes`].
macro_rules! key_columns {
    () => {
        "k.id, k.name, k.key_prefix, k.permissions, k.expires_at, k.last_used_at, k.created_by, k.created_at, \
         k.updated_at, k.revoked_at"
    };
}
pub(super) use key_columns;

/// The SQL types of `key_columns!`.
pub(super) type KeyTypes = (
    SqlUuid,
    Text,
    Text,
    Jsonb,
    Nullable<Timestamptz>,
    Nullable<Timestamptz>,
    SqlUuid,
    Timestamptz,
    Timestamptz,
    Nullable<Timestamptz>,
);

type Time = DateTime<Utc>;

/// A row of `key_columns!`.
pub(super) type KeyRow =
    (Uuid, String, String, Value, Option<Time>, Option<Time>, Uuid, Time, Time, Option<Time>);

/// What the row says.
pub(super) fn key(row: KeyRow) -> ApiKey {
    let (
        id,
        name,
        key_prefix,
        listed,
        expires_at,
        last_used_at,
        created_by,
        created_at,
        updated_at,
        revoked_at,
    ) = row;
    ApiKey {
        id: ApiKeyId(id),
        name: KeyName::from_stored(name),
        key_prefix: KeyPrefix::from_stored(key_prefix),
        permissions: permissions(&listed),
        expires_at,
        last_used_at,
        created_by: UserId(created_by),
        created_at,
        updated_at,
        revoked_at,
    }
}

/// What is stored, as permissions. Anything but a list of strings grants nothing.
pub(super) fn permissions(stored: &Value) -> Permissions {
    Permissions::from_stored(stored.as_array().into_iter().flatten().filter_map(Value::as_str))
}

/// Permissions, as they are stored.
pub(super) fn stored(permissions: Permissions) -> Value {
    permissions.iter().map(|permission| Value::from(permission.as_str())).collect()
}
