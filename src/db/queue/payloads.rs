//! Payloads that were too large to come with their claim.

use diesel::sql_types::{Array, BigInt, Json, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use uuid::Uuid;

use super::{columns, leased};
use crate::{
    db::{
        json::Stored,
        statement::{Fixed, Statement},
    },
    domain::{JsonText, Result, attempt::Leased},
};

struct Payloads;

impl Fixed for Payloads {
    const SQL: &'static str = "
        select t.id, x.lease, t.payload from tasks t join unnest($1, $2) as x (id, lease) on t.id = x.id and t.lease = x.lease
        where t.id = any($1)";
    const REPLAN: bool = true;
    type Args = (Array<SqlUuid>, Array<BigInt>);
    type Row = (SqlUuid, BigInt, Json);
}

/// Returns the payloads of those tasks whose lease is good, each by itself: `None` for one that is not JSON to us.
///
/// # Errors
/// As the database tells.
pub async fn payloads(
    connection: &mut AsyncPgConnection,
    tasks: &[Leased],
) -> Result<Vec<(Leased, Option<JsonText>)>> {
    let rows: Vec<(Uuid, i64, Stored)> =
        Statement::<Payloads, _>::with(columns(tasks.iter())).get_results(connection).await?;
    Ok(rows.into_iter().map(|(id, lease, payload)| (leased((id, lease)), payload.read().ok())).collect())
}
