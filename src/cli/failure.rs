//! How a command fails, and the exit code for it.

use std::{io::Write, process::ExitCode};

use crate::{config, domain, telemetry};

/// What a command gives back.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The configuration does not hold: exit code 2.
    Config(config::Invalid),
    /// The arguments make no sense, told in a sentence: exit code 2.
    Usage(String),
    /// What was asked for failed, told in a sentence: exit code 1.
    Failed(String),
    /// As [`Self::Failed`]; the result that was printed says it all.
    Told,
}

impl Failure {
    /// Says on standard error what went wrong, as JSON when the logs are.
    pub(super) fn report(&self, json: bool) -> ExitCode {
        let problems = match self {
            Self::Config(invalid) => invalid.0.iter().map(ToString::to_string).collect(),
            Self::Usage(why) | Self::Failed(why) => vec![why.clone()],
            Self::Told => Vec::new(),
        };
        problems.iter().flat_map(|problem| problem.lines()).for_each(|line| say(line, json));
        ExitCode::from(match self {
            Self::Config(_) | Self::Usage(_) => 2,
            Self::Failed(_) | Self::Told => 1,
        })
    }
}

/// Writes one error on standard error.
pub(super) fn say(error: &str, json: bool) {
    let line = if json { telemetry::json_error(error) } else { format!("error: {error}") };
    // Nobody is left to tell if standard error is closed.
    let _closed = writeln!(std::io::stderr().lock(), "{line}");
}

impl From<config::Invalid> for Failure {
    fn from(invalid: config::Invalid) -> Self {
        Self::Config(invalid)
    }
}

impl From<domain::Error> for Failure {
    /// Values that break a rule came from the command line; everything else is not the caller's fault.
    fn from(error: domain::Error) -> Self {
        match error {
            domain::Error::Invalid(_) | domain::Error::Malformed(_) => Self::Usage(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}
