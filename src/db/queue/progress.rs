//! How far running tasks are, as their handlers say.

use diesel::sql_types::{Array, BigInt, Jsonb, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde_json::Value;
use uuid::Uuid;

use super::columns;
use crate::{
    db::statement::{Fixed, Statement},
    domain::{Result, attempt::Leased},
};

struct Progress;

impl Fixed for Progress {
    // No index has these columns, so the row stays where it is (a heap-only update).
    const SQL: &'static str = "
        update tasks t set progress = x.progress, updated_at = statement_timestamp()
        from unnest($1, $2, $3) as x (id, lease, progress)
        where t.id = any($1) and t.id = x.id and t.lease = x.lease
        returning t.id";
    const REPLAN: bool = true;
    type Args = (Array<SqlUuid>, Array<BigInt>, Array<Jsonb>);
    type Row = (SqlUuid,);
}

/// Writes down how far these tasks are, those whose lease is good.
///
/// # Errors
/// As the database tells.
pub async fn report_progress(connection: &mut AsyncPgConnection, tasks: &[(Leased, Value)]) -> Result<()> {
    let (ids, leases) = columns(tasks.iter().map(|(leased, _)| leased));
    let values: Vec<Value> = tasks.iter().map(|(_, value)| storable(value.clone())).collect();
    let _written: Vec<(Uuid,)> =
        Statement::<Progress, _>::with((ids, leases, values)).get_results(connection).await?;
    Ok(())
}

/// Without the one character that PostgreSQL cannot store: for it, what all the others said would be lost too.
fn storable(value: Value) -> Value {
    let clean = |text: String| if text.contains('\0') { text.replace('\0', "") } else { text };
    match value {
        Value::String(text) => Value::String(clean(text)),
        Value::Array(values) => values.into_iter().map(storable).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (clean(name), storable(value))).collect()
        }
        other => other,
    }
}
