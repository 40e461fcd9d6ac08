//! What must be there before the first actor: the database, its tables, the pools, somebody to let the others in.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use super::{Mode, failed, services::services};
use crate::{
    actors::{
        accounts::{FirstAdmin, Tools, ensure_first_admin},
        hashers::{self, Hashers},
        system::Ground,
    },
    cli::{
        Outcome,
        database::{self, Database},
    },
    config::Config,
    db::{self, Limits, migrate},
    domain::{Error, Result},
    tasks::Registry,
};

/// Connections for the worker's own statements.
const QUEUE_CONNECTIONS: u32 = 6;

/// What must be there before the first actor.
pub(super) struct Foundation {
    pub(super) ground: Ground,
    pub(super) first_admin: Option<FirstAdmin>,
    database: Database,
}

impl Foundation {
    pub(super) async fn lay(mode: Mode, config: Arc<Config>, port: u16) -> Outcome<Self> {
        let runtime = Arc::new(
            Builder::new_multi_thread().enable_all().thread_name("starter").build().map_err(failed)?,
        );
        let opened = Arc::clone(&config);
        let opened = runtime.spawn_blocking(move || Database::open(&opened.database)).await;
        let database = match opened.map_err(failed).and_then(|opened| Ok(opened?)) {
            Ok(database) => database,
            Err(failure) => {
                // Nobody else has it yet. Dropped here, inside of another runtime, it would panic.
                if let Some(runtime) = Arc::into_inner(runtime) {
                    runtime.shutdown_background();
                }
                return Err(failure);
            }
        };

        let laid = prepare(mode, &config, port, &runtime, &database).await;
        match laid {
            Ok((ground, first_admin)) => Ok(Self { ground, first_admin, database }),
            Err(error) => {
                close(database, runtime).await?;
                Err(error.into())
            }
        }
    }

    /// Takes it away again: pools first, then the database that was started for them.
    pub(super) async fn remove(self) -> Outcome {
        let runtime = Arc::clone(&self.ground.runtime);
        drop(self.ground);
        close(self.database, runtime).await
    }
}

async fn close(database: Database, runtime: Arc<Runtime>) -> Outcome {
    // Connections end with the runtime, and only then the server they lead to.
    let closed = tokio::task::spawn_blocking(move || {
        if let Some(runtime) = Arc::into_inner(runtime) {
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        }
        database.close()
    });
    Ok(closed.await.map_err(failed)??)
}

async fn prepare(
    mode: Mode,
    config: &Arc<Config>,
    port: u16,
    runtime: &Arc<Runtime>,
    database: &Database,
) -> Result<(Ground, Option<FirstAdmin>)> {
    let hashing = hashers::Settings::from(&config.auth);
    let hashers = runtime.spawn_blocking(move || Hashers::start(hashing));
    // Connections are driven by the runtime that dialled them, so it is this one that dials.
    let (laid, target, direct) = (Arc::clone(config), database.target.clone(), database.direct.clone());
    let dialled = runtime.spawn(async move {
        let pool = db::connect(&target, database::limits(&laid.database)).await?;
        migrate_or_warn(&laid, &direct).await?;
        let credentials = db::connect(&target, database::credential_limits(&laid.database)).await?;
        let of_worker =
            Limits { max_connections: QUEUE_CONNECTIONS, scans: false, ..database::limits(&laid.database) };
        let queue = if mode.works() { Some(db::connect(&target, of_worker).await?) } else { None };
        Ok::<_, Error>((pool, credentials, queue))
    });
    let (pool, credentials, queue) = dialled.await.map_err(Error::internal)??;
    let hashers = hashers.await.map_err(Error::internal)??;
    let accounts = Arc::new(Tools::new(pool.clone(), hashers.clone(), &config.auth));
    let (tools, initial) = (Arc::clone(&accounts), config.initial_admin.clone());
    // Only whoever tries it out on a database of its own is given an admin unasked.
    let generate = mode == Mode::Standalone && config.database.embedded();
    let made = runtime.spawn(async move { ensure_first_admin(&tools, &initial, generate).await });
    let first_admin = match made.await.map_err(Error::internal)? {
        Ok(first_admin) => first_admin,
        Err(error) if !config.database.auto_migrate() => {
            log::warn!(error:% = error; "cannot look for an admin; are all migrations run?");
            None
        }
        Err(error) => return Err(error),
    };
    let registry = Registry::builtin();
    let (services, upkeep) = services(config, &pool, &registry, port)?;
    let ground = Ground {
        config: Arc::clone(config),
        runtime: Arc::clone(runtime),
        remembers: config.auth.cache && mode != Mode::Worker,
        credentials,
        queue,
        pool,
        direct: database.direct.clone(),
        hashers,
        accounts,
        registry,
        services: Arc::new(services),
        upkeep,
    };
    Ok((ground, first_admin))
}

/// Runs what is pending, or says that something is: the process then starts all the same, and is not ready.
async fn migrate_or_warn(config: &Config, direct: &db::Target) -> Result<()> {
    if config.database.auto_migrate() {
        migrate::run(direct).await?;
        return Ok(());
    }
    let pending = migrate::pending(direct).await?;
    if !pending.is_empty() {
        log::warn!(pending = pending.len(); "migrations are pending; run `starter migrate run`");
    }
    Ok(())
}
