//! What must be there before the first actor: the database, its tables, the pools, somebody to let the others in.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::{Mode, failed, listener::Socket, services::services, waiting::Start};
use crate::{
    actors::{
        accounts::{FirstAdmin, Tools, ensure_first_admin, has_admin},
        hashers::{self, Hashers},
        system::Ground,
    },
    cli::{
        Outcome,
        database::{self, Absent, Database},
    },
    config::Config,
    db::{self, Limits, Pool, Target, migrate},
    domain::Error,
    tasks::Registry,
};

/// Connections for the worker's own statements.
const QUEUE_CONNECTIONS: u32 = 6;

/// What must be there before the first actor.
pub(super) struct Foundation {
    pub(super) ground: Ground,
    /// The admin that was made just now.
    pub(super) first_admin: Option<FirstAdmin>,
    /// There is one.
    pub(super) has_admin: bool,
    database: Database,
}

/// What [`prepare`] makes.
struct Prepared {
    ground: Ground,
    first_admin: Option<FirstAdmin>,
    has_admin: bool,
}

impl Foundation {
    /// Opens the database and makes everything ready. While the database lacks migrations that this process is not to
    /// run, it answers so on `socket` and waits, until `stop` is cancelled.
    pub(super) async fn lay(
        mode: Mode,
        config: Arc<Config>,
        socket: Option<&Socket>,
        stop: &CancellationToken,
    ) -> Outcome<Self> {
        let runtime = Arc::new(
            Builder::new_multi_thread().enable_all().thread_name("starter").build().map_err(failed)?,
        );
        let opened = Arc::clone(&config);
        let opened = runtime.spawn_blocking(move || Database::open(&opened.database, Absent::Make)).await;
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

        let start = Start { mode, config: &config, runtime: &runtime, socket, stop };
        let prepared = prepare(&start, &config, &database).await;
        match prepared {
            Ok(Prepared { ground, first_admin, has_admin }) => {
                Ok(Self { ground, first_admin, has_admin, database })
            }
            Err(failure) => {
                close(database, runtime).await?;
                Err(failure)
            }
        }
    }

    /// Where the database is, and who said so.
    pub(super) fn database_place(&self, config: &Config) -> String {
        self.database.place(config)
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

async fn prepare(start: &Start<'_>, config: &Arc<Config>, database: &Database) -> Outcome<Prepared> {
    let Start { mode, runtime, socket, .. } = *start;
    let hashing = hashers::Settings::from(&config.auth);
    let hashers = runtime.spawn_blocking(move || Hashers::start(hashing));
    let pool = dial(runtime, &database.target, database::limits(&config.database)).await?;
    if config.database.auto_migrate() {
        let direct = database.direct.clone();
        runtime.spawn(async move { migrate::run(&direct).await }).await.map_err(failed)??;
    } else {
        start.until_migrated(&pool).await?;
    }

    let (credentials, queue) = small_pools(mode, config, runtime, &database.target).await?;
    let hashers = hashers.await.map_err(failed)??;
    let accounts = Arc::new(Tools::new(pool.clone(), hashers.clone(), &config.auth));
    let (first_admin, has_admin) = first_admin(mode, config, runtime, &accounts).await?;
    let registry = Registry::builtin().open_to_users(&config.worker.user_task_types);
    let port = socket.map_or(config.server.port, Socket::port);
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
    Ok(Prepared { ground, first_admin, has_admin })
}

/// Connections are driven by the runtime that dialled them, so it is this one that dials.
async fn dial(runtime: &Runtime, target: &Target, limits: Limits) -> Outcome<Pool> {
    let target = target.clone();
    Ok(runtime.spawn(async move { db::connect(&target, limits).await }).await.map_err(failed)??)
}

/// The pools beside the main one: for recognising callers, and for the worker.
async fn small_pools(
    mode: Mode,
    config: &Config,
    runtime: &Runtime,
    target: &Target,
) -> Outcome<(Pool, Option<Pool>)> {
    let credentials = dial(runtime, target, database::credential_limits(&config.database)).await?;
    let limits =
        Limits { max_connections: QUEUE_CONNECTIONS, scans: false, ..database::limits(&config.database) };
    let queue = if mode.works() { Some(dial(runtime, target, limits).await?) } else { None };
    Ok((credentials, queue))
}

/// Makes the first admin if that is wanted, and looks whether there is one.
async fn first_admin(
    mode: Mode,
    config: &Config,
    runtime: &Runtime,
    accounts: &Arc<Tools>,
) -> Outcome<(Option<FirstAdmin>, bool)> {
    let (tools, initial) = (Arc::clone(accounts), config.initial_admin.clone());
    // Only a trial on a database of its own gets an admin unasked.
    let generate = mode == Mode::Standalone && config.database.embedded();
    let made = runtime.spawn(async move {
        let first_admin = ensure_first_admin(&tools, &initial, generate).await?;
        let has_admin = first_admin.is_some() || has_admin(&tools).await?;
        Ok::<_, Error>((first_admin, has_admin))
    });
    Ok(made.await.map_err(failed)??)
}
