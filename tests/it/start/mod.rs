//! Starting and ending: what a person sees of the real binary when something is missing, wrong or in a hurry.

mod ends;
mod failures;
mod links;
mod pages;
mod texts;
mod waiting;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::process::{Ran, Starter, starter};

/// Where the database programs may be found on the machines of the tests.
pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Says aloud that a test, or a part of it, does nothing here.
pub(crate) fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// Whether these tests run as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// `starter ARGUMENTS…` on the embedded database in `directory`, on a port of its own.
pub(crate) fn embedded(arguments: &[&str], directory: &Path) -> Starter {
    starter(arguments)
        .env("PATH", PATH)
        .env("STARTER__DATABASE__EMBEDDED_DIR", directory)
        .env("STARTER__SERVER__PORT", "0")
        .env("STARTER__AUTH__ARGON2_MEMORY_KIB", "1024")
}

/// A command failed as it should: exit code 1, the reason as the last line, and no panic.
pub(crate) fn assert_failed(ran: &Ran, reason: &str) {
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(!ran.stderr.contains("panicked"), "{ran:?}");
    let last = ran.stderr.lines().last().unwrap_or_default();
    assert!(last.contains(reason), "{reason:?} is not in {last:?}, the last line of {ran:?}");
}

/// A cluster's place that holds something: then it is used as it is.
pub(crate) fn with_data(directory: &Path, version: &str) -> PathBuf {
    let data = directory.join("data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("PG_VERSION"), format!("{version}\n")).unwrap();
    data
}
