//! The database that a command works on.

use std::{io, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, Outcome};
use crate::{
    config,
    db::{Limits, Target, embedded::Cluster},
    domain::Result,
};

/// Of the credentials' pool, which is apart so that slow requests cannot keep people from being recognised.
const CREDENTIAL_SHARE: u32 = 4;

/// Where the database is; with the embedded one, running for as long as this value lives.
#[derive(Debug)]
pub struct Database {
    /// For pools; perhaps a transaction pooler.
    pub target: Target,
    /// The database itself, for LISTEN and for migrations, which need a session of their own.
    pub direct: Target,
    cluster: Option<Cluster>,
}

impl Database {
    /// Finds it in the configuration, and starts the embedded one if that is it. Blocks.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the embedded database does not run, with what to do about it; `Invalid` for a URL
    /// that is none.
    pub fn open(config: &config::Database) -> Result<Self> {
        if let (Some(url), Some(direct)) = (config.connection_url(), config.listen_connection_url()) {
            return Ok(Self { target: Target::parse(&url)?, direct: Target::parse(&direct)?, cluster: None });
        }
        let cluster = Cluster::start(&config.embedded_dir)?;
        let target = Target::parse(&cluster.url().into())?;
        Ok(Self { direct: target.clone(), target, cluster: Some(cluster) })
    }

    /// Stops the embedded one, unless another process uses it. Blocks; close the pools first.
    ///
    /// # Errors
    ///
    /// `Unavailable` when its lock files cannot be used any more.
    pub fn close(self) -> Result<()> {
        self.cluster.map_or(Ok(()), |cluster| cluster.stop())
    }
}

/// Opens the database, does `work` with it, and closes it again; also when SIGINT or SIGTERM ends it early, so
/// that no command leaves an embedded database running.
///
/// # Errors
///
/// Those of `work`; the database cannot be opened; a signal came.
pub fn with<T>(config: &config::Database, work: impl AsyncFnOnce(&Database) -> Outcome<T>) -> Outcome<T> {
    let failed = |error: io::Error| Failure::Failed(error.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(failed)?;
    // Caught from here on: a signal while the database is opened waits for its end.
    let (mut interrupt, mut terminate) = {
        let _guard = runtime.enter();
        (signal(SignalKind::interrupt()).map_err(failed)?, signal(SignalKind::terminate()).map_err(failed)?)
    };
    let database = Database::open(config)?;
    let done = runtime.block_on(async {
        tokio::select! {
            biased;
            _ = interrupt.recv() => Err(Failure::Failed("interrupted".to_owned())),
            _ = terminate.recv() => Err(Failure::Failed("told to stop".to_owned())),
            done = work(&database) => done,
        }
    });
    // Connections end with the runtime, and only then the server they lead to.
    runtime.shutdown_timeout(Duration::from_secs(1));
    database.close()?;
    done
}

/// How large the main pool is, and how patient.
pub fn limits(config: &config::Database) -> Limits {
    Limits {
        max_connections: config.max_connections,
        min_connections: config.min_connections,
        connect_timeout: Duration::from_secs(config.connect_timeout_secs),
        idle_timeout: Duration::from_secs(config.idle_timeout_secs),
        max_lifetime: Duration::from_secs(config.max_lifetime_secs),
        statement_timeout: Duration::from_secs(config.statement_timeout_secs),
        scans: true,
    }
}

/// The small pool beside it: a quarter of its size, besides what MAX_CONNECTIONS allows.
pub fn credential_limits(config: &config::Database) -> Limits {
    let limits = limits(config);
    Limits {
        max_connections: (limits.max_connections / CREDENTIAL_SHARE).max(2),
        min_connections: limits.min_connections.min(1),
        ..limits
    }
}
