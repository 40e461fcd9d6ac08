//! The database that a command works on.

use std::{io, time::Duration};

use tokio::sync::oneshot;

use super::{Failure, Outcome, signals::Signals};
use crate::{
    config::{self, Config},
    db::{
        Limits, Target,
        embedded::{self, Cluster},
    },
    domain::Result,
};

/// Of the credentials' pool, which is apart so that slow requests cannot keep people from being recognised.
const CREDENTIAL_SHARE: u32 = 4;

/// What happens when there is no embedded database yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// It is made: for what serves, and for the migrations.
    Make,
    /// The command fails. A new and empty one would only hide that this is the wrong directory.
    Refuse,
}

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
    /// Finds it in the configuration, and starts the embedded one if that is it; makes that one only if `absent` says so.
    /// Blocks.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the embedded database does not run, with what to do about it; `Invalid` for a URL
    /// that is none.
    pub fn open(config: &config::Database, absent: Absent) -> Result<Self> {
        if let (Some(url), Some(direct)) = (config.connection_url(), config.listen_connection_url()) {
            return Ok(Self { target: Target::parse(&url)?, direct: Target::parse(&direct)?, cluster: None });
        }
        if absent == Absent::Refuse {
            embedded::require(&config.embedded_dir)?;
        }
        let cluster = Cluster::start(&config.embedded_dir)?;
        let target = Target::parse(&cluster.url().into())?;
        Ok(Self { direct: target.clone(), target, cluster: Some(cluster) })
    }

    /// Where it is, for the person who started the process, and who said so: a URL in the environment that was meant for
    /// another program would be taken without a word otherwise.
    pub fn place(&self, config: &Config) -> String {
        let Some(cluster) = &self.cluster else {
            let key = |key: &str| format!("STARTER__DATABASE__{key}");
            let said = ["URL", "HOST", "NAME", "USER", "PORT"]
                .into_iter()
                .find_map(|name| config.source(&key(name)));
            return format!("{} ({})", self.target.place(), said.unwrap_or("configured"));
        };
        let directory = config.database.embedded_dir.display();
        format!("{directory} (embedded, PostgreSQL {})", cluster.major().unwrap_or_default())
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

/// Opens the database, does `work` with it, and closes it again; also when a signal ends it early, so that no command
/// leaves an embedded database running. A second signal ends the process at once.
///
/// # Errors
///
/// Those of `work`; the database cannot be opened; a signal came.
pub fn with<T>(
    config: &config::Database,
    absent: Absent,
    work: impl AsyncFnOnce(&Database) -> Outcome<T>,
) -> Outcome<T> {
    let failed = |error: io::Error| Failure::Failed(error.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(failed)?;

    // Caught from here on, by a runtime of its own: the end of the database is watched over too.
    let watch = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let watch = watch.map_err(failed)?;
    let (first, mut came) = oneshot::channel();
    let mut signals = {
        let _guard = watch.enter();
        Signals::catch().map_err(failed)?
    };
    watch.spawn(async move {
        let _ended = first.send(signals.next().await);
        signals.end_at_second(1).await;
    });

    let database = Database::open(config, absent)?;
    let done = runtime.block_on(async {
        tokio::select! {
            biased;
            Ok(signal) = &mut came => Err(Failure::Failed(match signal {
                "SIGINT" => "interrupted".to_owned(),
                signal => format!("told to stop by {signal}"),
            })),
            done = work(&database) => done,
        }
    });

    // Connections end with the runtime, and only then the server they lead to.
    runtime.shutdown_timeout(Duration::from_secs(1));
    database.close()?;
    watch.shutdown_background();
    done
}

/// How large the main pool is, and how patient.
pub fn limits(config: &config::Database) -> Limits {
    Limits {
        max_connections: config.max_connections,
        min_connections: config.min_connections(),
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
