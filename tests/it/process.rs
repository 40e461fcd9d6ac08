//! The real binary, run in an empty directory with an empty environment.

use std::{
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

/// A command that is about to run.
pub(crate) struct Starter {
    command: Command,
    directory: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// `starter ARGUMENTS…`
pub(crate) fn starter(arguments: &[&str]) -> Starter {
    let directory = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_starter"));
    command.args(arguments).env_clear().current_dir(directory.path()).stdin(Stdio::null());
    Starter { command, directory }
}

impl Starter {
    /// With this variable in its environment.
    pub(crate) fn env(mut self, variable: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(variable, value);
        self
    }

    /// With this text as its standard input.
    pub(crate) fn input(mut self, text: &str) -> Self {
        let path = self.directory.path().join("standard_input");
        std::fs::write(&path, text).unwrap();
        self.command.stdin(std::fs::File::open(path).unwrap());
        self
    }

    /// Where it runs.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts it with all that it reads and writes at this terminal. The directory is where it runs.
    pub(crate) fn at_terminal(mut self, line: &OwnedFd) -> (Child, TempDir) {
        let end = || Stdio::from(line.try_clone().unwrap());
        let child = self.command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        (child, self.directory)
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Ran {
        self.keep().0
    }

    /// Runs it to its end; where it ran is there for as long as the second value.
    pub(crate) fn keep(mut self) -> (Ran, TempDir) {
        let output = self.command.output().unwrap();
        let ran = Ran {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        (ran, self.directory)
    }
}
