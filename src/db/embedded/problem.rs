//! What can go wrong with the embedded database, each told with what to do about it.

use std::{io, path::PathBuf};

use derive_more::Display;

use crate::domain;

/// Why the embedded database does not run.
#[derive(Debug, Display, derive_more::Error)]
pub(super) enum Problem {
    #[display(
        "no PostgreSQL server found on this machine: install it (Debian, Ubuntu: apt install postgresql), \
         or set STARTER__DATABASE__URL to a database that runs elsewhere"
    )]
    NotInstalled,
    #[display(
        "PostgreSQL {found} is too old, {needed} or newer is needed: install the package postgresql of a newer \
         release, or set STARTER__DATABASE__URL"
    )]
    TooOld { found: u32, needed: u32 },
    #[display(
        "the data directory was made by PostgreSQL {data}, which is not installed (Debian, Ubuntu: apt install \
         postgresql-{data}): install it, or name another directory in STARTER__DATABASE__EMBEDDED_DIR"
    )]
    OtherVersion { data: u32 },
    #[display(
        "PostgreSQL refuses to run as root, and this machine has no unprivileged account to run it as: add one \
         (useradd --system postgres), or set STARTER__DATABASE__URL"
    )]
    NoAccount,
    #[display(
        "{} cannot be used by the account {account} that runs the server: name a directory that it can reach in \
         STARTER__DATABASE__EMBEDDED_DIR",
        directory.display()
    )]
    OutOfReach { directory: PathBuf, account: String },
    #[display("{}: {cause}; name another directory in STARTER__DATABASE__EMBEDDED_DIR?", path.display())]
    Directory { path: PathBuf, cause: io::Error },
    #[display(
        "{} {what}, so it is left alone: move it away, or name another directory in STARTER__DATABASE__EMBEDDED_DIR",
        path.display()
    )]
    NotOurs { path: PathBuf, what: &'static str },
    #[display(
        "there is no database in {}: run this where scripts/run runs, or set STARTER__DATABASE__URL or \
         STARTER__DATABASE__EMBEDDED_DIR",
        directory.display()
    )]
    Absent { directory: PathBuf },
    #[display("stopped before it was ready")]
    Abandoned,
    #[display("{program} could not be run: {cause}")]
    Spawn { program: String, cause: io::Error },
    #[display("{program} failed: {output}")]
    Failed { program: &'static str, output: String },
    #[display("the server was not ready after {seconds} s; its last words: {output}")]
    NotReady { seconds: u64, output: String },
}

impl Problem {
    /// For `map_err`: an input or output error at `path`.
    pub(super) fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Directory { path, cause }
    }
}

impl From<Problem> for domain::Error {
    fn from(problem: Problem) -> Self {
        Self::unavailable("embedded database", problem)
    }
}
