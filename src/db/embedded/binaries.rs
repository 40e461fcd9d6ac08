//! Where PostgreSQL's programs are on this machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{Problem, account};

/// What the statements of this program need.
const OLDEST_MAJOR: u32 = 14;

/// Folders that hold one PostgreSQL per major version: parent, start of the name, what follows.
const FOLDERS: [(&str, &str, &str); 9] = [
    ("/usr/lib/postgresql", "", "bin"),         // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),                  // PostgreSQL's own packages for Red Hat and kin
    ("/usr/lib", "postgresql", "bin"),          // SUSE
    ("/usr/libexec", "postgresql", ""),         // Alpine
    ("/usr/local", "pgsql", "bin"),             // built from source
    ("/opt/homebrew/opt", "postgresql", "bin"), // Homebrew on Apple silicon
    ("/usr/local/opt", "postgresql", "bin"),    // Homebrew on Intel
    ("/opt/local/lib", "postgresql", "bin"),    // MacPorts
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// One installation of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Binaries {
    /// Major and minor version: first, so that installations sort by it.
    version: (u32, u32),
    directory: PathBuf,
}

impl Binaries {
    /// The newest on this machine.
    pub(super) fn newest() -> Result<Self, Problem> {
        let newest = all().into_iter().max().ok_or(Problem::NotInstalled)?;
        if newest.version.0 < OLDEST_MAJOR {
            return Err(Problem::TooOld { found: newest.version.0, needed: OLDEST_MAJOR });
        }
        Ok(newest)
    }

    /// The one that can open a data directory made by major version `major`: PostgreSQL opens no other.
    pub(super) fn of_major(major: u32) -> Result<Self, Problem> {
        let fitting = all().into_iter().filter(|found| found.version.0 == major).max();
        fitting.ok_or(Problem::OtherVersion { data: major })
    }

    /// The path of `program`.
    pub(super) fn path(&self, program: &str) -> PathBuf {
        self.directory.join(program)
    }

    /// The major version.
    pub(super) fn major(&self) -> u32 {
        self.version.0
    }

    fn at(directory: PathBuf) -> Option<Self> {
        if !directory.join("initdb").is_file() {
            return None;
        }
        let version = parse_version(&output(&directory.join("postgres"), &["--version"])?)?;
        Some(Self { version, directory })
    }
}

fn all() -> Vec<Binaries> {
    let mut directories = Vec::new();
    // Asking the shell and pg_config leaves the reading of PATH to them.
    if let Some(initdb) = output(Path::new("sh"), &["-c", "command -v initdb"]) {
        let real = fs::canonicalize(initdb.trim()).ok();
        directories.extend(real.and_then(|path| path.parent().map(Path::to_owned)));
    }
    directories.extend(output(Path::new("pg_config"), &["--bindir"]).map(|dir| PathBuf::from(dir.trim())));
    for (parent, start, rest) in FOLDERS {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(start));
        directories.extend(named.map(|entry| entry.path().join(rest)));
    }
    directories.sort();
    directories.dedup();
    directories.into_iter().filter_map(Binaries::at).collect()
}

fn output(program: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    account::without_secrets(&mut command);
    let done = command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}

/// From `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`, also `18beta1` and `19devel`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let version = text.split_whitespace().nth(2)?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok());
    Some((numbers.next()?, numbers.next().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_releases_and_prereleases() {
        assert_eq!(parse_version("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some((15, 14)));
        assert_eq!(parse_version("postgres (PostgreSQL) 18beta1"), Some((18, 0)));
        assert_eq!(parse_version("postgres (PostgreSQL) 19devel"), Some((19, 0)));
        assert_eq!(parse_version("postgres"), None);
        assert_eq!(parse_version("postgres (PostgreSQL) new"), None);
    }

    #[test]
    fn the_newest_version_wins() {
        let old = Binaries { version: (14, 20), directory: "/z".into() };
        let new = Binaries { version: (15, 1), directory: "/a".into() };
        assert_eq!([new.clone(), old].into_iter().max(), Some(new));
    }

    #[test]
    fn an_installation_of_a_version_nobody_has_is_a_clear_problem() {
        let problem = Binaries::of_major(9).unwrap_err().to_string();
        assert!(problem.contains("PostgreSQL 9") && problem.contains("STARTER__DATABASE__"), "{problem}");
    }
}
