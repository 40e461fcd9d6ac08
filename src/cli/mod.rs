//! The commands. Results go to standard output, logs and complaints to standard error.
//!
//! To add a command: a file with a `run` function, a variant of [`Command`], an arm in [`Cli::run`].

mod admin;
mod config;
pub mod database;
mod failure;
mod flags;
mod health;
mod migrate;
mod openapi;
mod output;
mod serve;
mod shell;
mod signals;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serve::Mode;

pub use failure::{Failure, Outcome};
pub use flags::{CommonFlags, Flags, HealthFlags, ServerFlags, WorkerFlags};
pub use output::{Output, Table};

/// The foundation of a production web service: accounts, sessions, API keys and a durable task queue.
#[derive(Debug, Parser)]
#[command(name = "starter", version, max_term_width = 100)]
#[command(after_help = "\
Configuration: default, then .env, then STARTER__SECTION__KEY, then flag; `starter config show` tells.
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.")]
pub struct Cli {
    /// Print results as JSON instead of tables, where a command prints any
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API and run tasks, in one process
    Standalone(Flags),
    /// Serve the API
    Server {
        #[command(flatten)]
        common: CommonFlags,
        #[command(flatten)]
        server: ServerFlags,
    },
    /// Run tasks
    Worker {
        #[command(flatten)]
        common: CommonFlags,
        #[command(flatten)]
        worker: WorkerFlags,
        #[command(flatten)]
        health: HealthFlags,
    },
    /// Manage users, sessions, API keys, on the database directly
    Admin(admin::Arguments),
    /// Run, take back or list the migrations
    #[command(subcommand)]
    Migrate(migrate::Command),
    /// Show or check the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Ask a running server how it is; exit 0 when it is fine, else 1
    Health(health::Arguments),
    /// Print the OpenAPI document
    Openapi,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

impl Cli {
    fn run(self) -> Outcome {
        let output = Output::new(self.json);
        match self.command {
            Command::Standalone(flags) => serve::run(Mode::Standalone, &flags),
            Command::Server { common, server } => {
                serve::run(Mode::Server, &Flags { common, server, ..Flags::default() })
            }
            Command::Worker { common, worker, health } => {
                serve::run(Mode::Worker, &Flags { common, worker, health, ..Flags::default() })
            }
            Command::Admin(arguments) => admin::run(arguments, &output),
            Command::Migrate(command) => migrate::run(command, &output),
            Command::Config(command) => config::run(&command, &output),
            Command::Health(arguments) => health::run(&arguments, &output),
            Command::Openapi => openapi::run(&output),
            Command::Completions { shell } => shell::completions(shell, &output),
            Command::Man => shell::man(&output),
        }
    }
}

/// Does what the command line says. Wrong usage ends the process here, with exit code 2.
pub fn run() -> ExitCode {
    let json = logs_as_json();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => return answer_of_clap(&answer, json),
    };
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

/// Whether somebody asked for logs in JSON. Looked for here too, because a configuration that does not hold, and a
/// command line that makes no sense, have to be reported in that form.
fn logs_as_json() -> bool {
    const FLAG: &str = "--log-format";
    let mut arguments = std::env::args_os().filter_map(|argument| argument.into_string().ok());
    let flag = arguments.find_map(|argument| match argument.strip_prefix(FLAG) {
        Some("") => Some(None),
        Some(value) => value.strip_prefix('=').map(|value| Some(value.to_owned())),
        None => None,
    });
    let flag = flag.map(|value| value.or_else(|| arguments.next()).unwrap_or_default());
    crate::config::logs_as_json(flag.as_deref())
}

/// Help and versions are results, everything else is wrong usage.
fn answer_of_clap(answer: &clap::Error, json: bool) -> ExitCode {
    if answer.use_stderr() && json {
        let text = answer.render().to_string();
        let text = text.trim().trim_start_matches("error: ");
        failure::say(&text.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" "), json);
        return ExitCode::from(2);
    }
    match answer.print() {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe && !answer.use_stderr() => {
            Failure::Failed(format!("cannot write to standard output: {error}")).report(json)
        }
        _ => ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2)),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn verify_cli() {
        Cli::command().debug_assert();
    }
}
