//! The clock that all processes share.

use chrono::{DateTime, Utc};
use diesel::sql_types::Timestamptz;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::statement::{Fixed, Statement};
use crate::domain::Result;

struct Now;

impl Fixed for Now {
    const SQL: &'static str = "select statement_timestamp()";
    type Args = ();
    type Row = (Timestamptz,);
}

/// The time, by the database's clock.
///
/// # Errors
/// As the database tells.
pub async fn now(connection: &mut AsyncPgConnection) -> Result<DateTime<Utc>> {
    let (now,) = Statement::<Now, _>::with(()).get_result(connection).await?;
    Ok(now)
}
