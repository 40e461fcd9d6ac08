//! Flags that win over the environment. They are texts here: the configuration parses and checks
//! them like any other value.

use clap::Args;

use super::Outcome;
use crate::{
    config::{Config, Invalid, Overrides, Problem},
    tasks::Registry,
};

/// For every command that needs a configuration.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Configuration, over the environment")]
pub struct CommonFlags {
    /// PostgreSQL URL (visible to others in `ps`: keep passwords in the environment)
    #[arg(long, value_name = "URL", global = true)]
    pub database_url: Option<String>,
    /// How logs are written: text or json
    #[arg(long, value_name = "FORMAT", global = true)]
    pub log_format: Option<String>,
    /// Which logs are written, such as info or starter=debug
    #[arg(long, value_name = "FILTER", global = true)]
    pub log_filter: Option<String>,
}

/// For what serves HTTP.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Configuration, over the environment")]
pub struct ServerFlags {
    /// Address to listen on
    #[arg(long)]
    pub host: Option<String>,
    /// Port to listen on; 0 picks a free one
    #[arg(long)]
    pub port: Option<String>,
    /// File that the chosen port is written to
    #[arg(long, value_name = "FILE")]
    pub port_file: Option<String>,
    /// HTTP threads
    #[arg(long, value_name = "N")]
    pub workers: Option<String>,
    /// Where people reach the service
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
}

/// For what runs tasks.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Configuration, over the environment")]
pub struct WorkerFlags {
    /// Tasks that run at once
    #[arg(long, value_name = "N")]
    pub concurrency: Option<String>,
    /// Queues to take tasks from, separated by commas
    #[arg(long, value_name = "NAMES")]
    pub queues: Option<String>,
}

/// For a worker alone: with a server beside it, that one answers.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Configuration, over the environment")]
pub struct HealthFlags {
    /// Port for health and metrics
    #[arg(long, value_name = "PORT")]
    pub health_port: Option<String>,
}

/// All of them.
#[derive(Debug, Clone, Default, Args)]
pub struct Flags {
    /// For every command.
    #[command(flatten)]
    pub common: CommonFlags,
    /// For what serves HTTP.
    #[command(flatten)]
    pub server: ServerFlags,
    /// For what runs tasks.
    #[command(flatten)]
    pub worker: WorkerFlags,
    /// For a worker alone.
    #[arg(skip)]
    pub health: HealthFlags,
}

impl Flags {
    /// The configuration under these flags.
    ///
    /// # Errors
    ///
    /// The configuration does not hold: exit code 2.
    pub fn load(&self) -> Outcome<Config> {
        Ok(self.read()?)
    }

    /// The configuration under these flags, or all that is wrong with it.
    ///
    /// # Errors
    ///
    /// Every problem; only the command line knows which types of tasks there are.
    pub fn read(&self) -> Result<Config, Invalid> {
        let config = Config::load(&self.overrides())?;
        let registry = Registry::builtin();
        let known: Vec<&str> = registry.definitions().map(|known| known.task_type).collect();
        if config.worker.user_task_types.iter().all(|name| known.contains(&name.as_str())) {
            return Ok(config);
        }

        Err(Invalid(vec![Problem {
            variable: "STARTER__WORKER__USER_TASK_TYPES".to_owned(),
            wrong: "names a task type that there is not".to_owned(),
            allowed: format!("of {}, separated by commas", known.join(", ")),
        }]))
    }

    /// As [`Self::load`], for a command that is no service: it logs from `warn` up, unless somebody chose a filter.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn load_quiet(&self) -> Outcome<Config> {
        let mut config = self.load()?;
        config.quiet();
        Ok(config)
    }

    /// The flags as the configuration takes them.
    pub fn overrides(&self) -> Overrides {
        let Self { common, server, worker, health } = self;
        Overrides::default()
            .with("--database-url", "STARTER__DATABASE__URL", common.database_url.as_ref())
            .with("--log-format", "STARTER__TELEMETRY__LOG_FORMAT", common.log_format.as_ref())
            .with("--log-filter", "STARTER__TELEMETRY__LOG_FILTER", common.log_filter.as_ref())
            .with("--host", "STARTER__SERVER__HOST", server.host.as_ref())
            .with("--port", "STARTER__SERVER__PORT", server.port.as_ref())
            .with("--port-file", "STARTER__SERVER__PORT_FILE", server.port_file.as_ref())
            .with("--workers", "STARTER__SERVER__WORKERS", server.workers.as_ref())
            .with("--public-url", "STARTER__SERVER__PUBLIC_URL", server.public_url.as_ref())
            .with("--concurrency", "STARTER__WORKER__CONCURRENCY", worker.concurrency.as_ref())
            .with("--queues", "STARTER__WORKER__QUEUES", worker.queues.as_ref())
            .with("--health-port", "STARTER__WORKER__HEALTH_PORT", health.health_port.as_ref())
    }
}

impl From<CommonFlags> for Flags {
    fn from(common: CommonFlags) -> Self {
        Self { common, ..Self::default() }
    }
}
