//! Whether the database takes writes, and whether its clock was set back: seen by a small write every few seconds.

use diesel::sql_types::{BigInt, Bool, Double, Nullable, Text};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};

use super::statement::{Fixed, Statement};
use crate::domain::{Error, Result};

struct Look;

impl Fixed for Look {
    const SQL: &'static str = "
        select current_setting('transaction_read_only')::boolean,
            (select extract(epoch from clock_timestamp() - written_at)::float8 from database_writes)";
    type Args = ();
    type Row = (Bool, Nullable<Double>);
}

/// How many seconds ago somebody wrote, by the clock of the database: less than nothing after it was set back. `None` when
/// nobody did.
///
/// # Errors
/// `Unavailable` when this connection may not write: on a standby, and where the database is set to read only.
pub async fn age(connection: &mut AsyncPgConnection) -> Result<Option<f64>> {
    let (read_only, age) = Statement::<Look, _>::with(()).get_result::<(bool, _)>(connection).await?;
    if read_only { Err(Error::unavailable("database", "it takes no writes")) } else { Ok(age) }
}

/// Between two writes, whoever makes them, seconds.
const EVERY: f64 = 5.0;

/// Makes sure that somebody wrote not long ago.
///
/// # Errors
/// As the database tells, as when its disk is full.
pub async fn prove(connection: &mut AsyncPgConnection) -> Result<()> {
    match age(connection).await? {
        Some(age) if age < EVERY => Ok(()),
        _ => write(connection).await,
    }
}

struct LittleMemory;

impl Fixed for LittleMemory {
    const SQL: &'static str = "select set_config('work_mem', '64kB', true)";
    type Args = ();
    type Row = (Text,);
}

struct Spill;

impl Fixed for Spill {
    // More than its memory holds, so half a megabyte goes to a file for the moment: a full disk has room for a row in the place of
    // another, but not for this.
    const SQL: &'static str = "select count(*) from generate_series(1, 20000)";
    type Args = ();
    type Row = (BigInt,);
}

struct Write;

impl Fixed for Write {
    const SQL: &'static str = "
        insert into database_writes (written_at) values (clock_timestamp())
        on conflict (only_row) do update set written_at = clock_timestamp()
        returning only_row";
    type Args = ();
    type Row = (Bool,);
}

/// Writes.
///
/// # Errors
/// As the database tells, as when its disk is full.
pub async fn write(connection: &mut AsyncPgConnection) -> Result<()> {
    let written = connection.transaction(async |connection| {
        let _: (String,) = Statement::<LittleMemory, _>::with(()).get_result(connection).await?;
        let _: (i64,) = Statement::<Spill, _>::with(()).get_result(connection).await?;
        let _: (bool,) = Statement::<Write, _>::with(()).get_result(connection).await?;
        Ok::<_, Error>(())
    });
    written.await
}
