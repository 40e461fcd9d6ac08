//! Migrations: the files that the diesel CLI uses too, embedded in the binary.
//!
//! Every call opens a connection of its own, without a statement time-out, and holds an advisory lock while it
//! works, so that of many processes that start at once one migrates and the others wait for it. Give it a
//! direct target: the lock belongs to the session, which a transaction pooler does not keep.

use std::time::Duration;

use diesel::{
    RunQueryDsl,
    migration::{Migration, MigrationSource, MigrationVersion},
    pg::Pg,
    sql_types::{BigInt, Bool},
};
use diesel_async::{AsyncPgConnection, async_connection_wrapper::AsyncConnectionWrapper};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::target::{Session, Target};
use crate::domain::{Error, Result};

/// The files in `migrations/`.
const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");
/// "starter" in ASCII: any number that is the same everywhere.
const LOCK: i64 = 0x0073_7461_7274_6572;
/// Between two tries for the lock.
const PAUSE: Duration = Duration::from_millis(100);

/// A migration, and whether the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// As its folder is called.
    pub name: String,
    /// It was run.
    pub applied: bool,
}

type AnyMigration = Box<dyn Migration<Pg>>;
type Connection = AsyncConnectionWrapper<AsyncPgConnection>;

/// Runs what is pending; the names of what was run, in order.
///
/// # Errors
/// `Unavailable` without the database; `Internal` when a migration fails: it and those after it were not run.
pub async fn run(target: &Target) -> Result<Vec<String>> {
    locked(target, |connection| {
        let pending = connection.pending_migrations(MIGRATIONS).map_err(failed)?;
        let run: Result<Vec<_>> =
            pending.iter().map(|migration| apply(connection, migration.as_ref())).collect();

        let run = run?;
        if !run.is_empty() {
            log::info!(count = run.len(); "migrations run");
        }
        Ok(run)
    })
    .await
}

/// Takes back the last migration; its name, or `None` when there is none.
///
/// # Errors
/// As [`run`]; also when the database has a migration that this program does not know.
pub async fn revert(target: &Target) -> Result<Option<String>> {
    locked(target, |connection| take_back(connection).map(|taken| taken.map(|migration| name(&*migration))))
        .await
}

/// Takes back the last migration and runs it again; its name, or `None` when there is none.
///
/// # Errors
/// As [`revert`].
pub async fn redo(target: &Target) -> Result<Option<String>> {
    locked(target, |connection| match take_back(connection)? {
        Some(migration) => apply(connection, migration.as_ref()).map(Some),
        None => Ok(None),
    })
    .await
}

/// Every migration of this program, in order.
///
/// # Errors
/// `Unavailable` without the database.
pub async fn status(target: &Target) -> Result<Vec<Status>> {
    with_connection(target, |connection| {
        let applied = connection.applied_migrations().map_err(failed)?;
        let status = |migration: AnyMigration| Status {
            name: name(migration.as_ref()),
            applied: applied.contains(&migration.name().version()),
        };
        Ok(all()?.into_iter().map(status).collect())
    })
    .await
}

/// The names of migrations that the database lacks.
///
/// # Errors
/// As [`status`].
pub async fn pending(target: &Target) -> Result<Vec<String>> {
    let status = status(target).await?;
    Ok(status.into_iter().filter(|migration| !migration.applied).map(|migration| migration.name).collect())
}

/// The versions of all migrations of this program, as the database keeps them.
pub(super) fn versions() -> Result<Vec<String>> {
    Ok(all()?.iter().map(|migration| migration.name().version().to_string()).collect())
}

fn apply(connection: &mut Connection, migration: &dyn Migration<Pg>) -> Result<String> {
    log::debug!(migration:% = migration.name(); "running");
    connection.run_migration(migration).map_err(failed).inspect_err(|_| {
        log::error!(migration:% = migration.name(); "migrations: failed to run one");
    })?;
    Ok(name(migration))
}

fn take_back(connection: &mut Connection) -> Result<Option<AnyMigration>> {
    let applied = connection.applied_migrations().map_err(failed)?;
    let Some(last) = applied.first() else { return Ok(None) };
    let known = all()?.into_iter().find(|migration| migration.name().version() == *last);
    let migration = known.ok_or_else(|| unknown(last))?;
    log::info!(migration:% = migration.name(); "taking back");
    connection.revert_migration(migration.as_ref()).map_err(failed)?;
    Ok(Some(migration))
}

fn all() -> Result<Vec<AnyMigration>> {
    let mut all = MigrationSource::<Pg>::migrations(&MIGRATIONS).map_err(failed)?;
    all.sort_unstable_by(|a, b| a.name().version().cmp(&b.name().version()));
    Ok(all)
}

fn name(migration: &dyn Migration<Pg>) -> String {
    migration.name().to_string()
}

fn unknown(version: &MigrationVersion<'_>) -> Error {
    Error::internal(format!("the database has migration {version}, which this program does not know"))
}

fn failed(cause: Box<dyn std::error::Error + Send + Sync>) -> Error {
    match cause.downcast::<diesel::result::Error>() {
        Ok(error) => Error::from(*error),
        Err(cause) => Error::internal(cause),
    }
}

/// Does `work` while no other process migrates.
async fn locked<T, F>(target: &Target, work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce(&mut Connection) -> Result<T> + Send + 'static,
{
    with_connection(target, |connection| {
        // Asked for again and again, never waited for in the database: a statement that waits there holds a
        // snapshot, for whose end CREATE INDEX CONCURRENTLY waits in turn.
        while !try_lock(connection)? {
            std::thread::sleep(PAUSE);
        }
        // The end of the connection frees the lock.
        work(connection)
    })
    .await
}

fn try_lock(connection: &mut Connection) -> Result<bool> {
    let function = diesel::dsl::sql::<Bool>("pg_try_advisory_lock(").bind::<BigInt, _>(LOCK).sql(")");
    Ok(diesel::select(function).get_result(connection)?)
}

/// Does `work`, which blocks, on a thread made for that.
async fn with_connection<T, F>(target: &Target, work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce(&mut Connection) -> Result<T> + Send + 'static,
{
    let session = Session { connect_timeout: Duration::from_secs(10), statement_timeout: None, scans: true };
    let connection = target.dial(session).await?;
    tokio::task::spawn_blocking(move || work(&mut Connection::from(connection)))
        .await
        .map_err(Error::internal)?
}
