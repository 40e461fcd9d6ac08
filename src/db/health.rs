//! Whether the database answers, and whether it has every migration of this program.

use diesel::{
    dsl::sql,
    result::{DatabaseErrorKind, Error as DieselError},
    select,
    sql_types::{Array, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::{migrate, writes};
use crate::domain::Result;

/// How many migrations of this program the database lacks.
///
/// # Errors
/// `Unavailable` when it does not answer.
pub async fn pending_migrations(connection: &mut AsyncPgConnection) -> Result<usize> {
    let versions = sql::<Array<Text>>("array(select version::text from __diesel_schema_migrations)");
    let applied: Vec<String> = match select(versions).get_result(connection).await {
        Ok(applied) => applied,
        Err(DieselError::DatabaseError(DatabaseErrorKind::Unknown, why))
            if why.message().contains("__diesel_schema_migrations") =>
        {
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    Ok(migrate::versions()?.iter().filter(|version| !applied.contains(version)).count())
}

/// As [`pending_migrations`]; when it lacks none, it also has to take writes.
///
/// # Errors
/// `Unavailable` when it does not answer, or takes no writes.
pub async fn look(connection: &mut AsyncPgConnection) -> Result<usize> {
    let pending = pending_migrations(connection).await?;
    if pending == 0 {
        writes::prove(connection).await?;
    }
    Ok(pending)
}
