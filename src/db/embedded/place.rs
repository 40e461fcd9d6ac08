//! The directory of an embedded cluster, and what lies in it.
//!
//! ```text
//! DIR/data        PostgreSQL's data directory; data.new-PID while it is being made
//! DIR/run         the socket, mode 0700 (or a short folder under /tmp, when this path is too long for one)
//! DIR/log         the server's own log; log.old before that
//! DIR/users.lock  every process that uses the cluster holds it shared
//! DIR/start.lock  held while the cluster is made, started or stopped
//! ```
//!
//! When root's server account cannot reach DIR (a clone in `/root`), DIR becomes a symbolic link to a new
//! folder under `/var/lib/starter`.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{Problem, account::Account};

/// Where root's clusters go that their account could not reach where they were asked for.
const ELSEWHERE: &str = "/var/lib/starter";
/// Bytes of `sockaddr_un.sun_path` less its NUL where it is shortest (macOS, the BSDs; Linux has 107).
const LONGEST_SOCKET: usize = 103;
/// Start of the name of a data directory that is being made; the number of the process follows.
const NEW_DATA: &str = "data.new-";
const SOCKET: &str = ".s.PGSQL.5432";
/// A log above this is put aside at the next start.
const LONGEST_LOG_BYTES: u64 = 8 << 20;

/// The directory of one cluster, reachable by the account that runs it.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    pub(super) account: Account,
}

impl Place {
    /// Makes `directory` ready, or finds it so.
    pub(super) fn prepare(directory: &Path) -> Result<Self, Problem> {
        // A second round, when another process won the race to make the link.
        for _ in 0..2 {
            if let Some(place) = Self::here(directory)? {
                return Ok(place);
            }
            Self::elsewhere(directory)?;
        }
        Self::here(directory)?.ok_or_else(|| Problem::OutOfReach {
            directory: directory.to_owned(),
            account: "that runs the server".to_owned(),
        })
    }

    /// `directory` itself; `None` when it is empty and out of the account's reach.
    fn here(directory: &Path) -> Result<Option<Self>, Problem> {
        if fs::symlink_metadata(directory).is_ok_and(|m| m.is_symlink()) && !directory.exists() {
            fs::remove_file(directory).map_err(Problem::at(directory))?;
        }
        if let Some(parent) = directory.parent() {
            fs::create_dir_all(parent).map_err(Problem::at(parent))?;
        }
        make_private(directory)?;
        let directory = fs::canonicalize(directory).map_err(Problem::at(directory))?;
        let account = Account::for_data(&directory.join("data"))?;
        let empty = fs::read_dir(&directory).map_err(Problem::at(&directory))?.next().is_none();
        if empty {
            account.own(&directory)?;
        }
        if account.can_enter(&directory) {
            return Ok(Some(Self { directory, account }));
        }
        match empty {
            true => Ok(None),
            false => Err(Problem::OutOfReach { directory, account: account.name().to_owned() }),
        }
    }

    /// Puts a link to a folder that the account can reach in the place of the empty `directory`.
    fn elsewhere(directory: &Path) -> Result<(), Problem> {
        let name = format!("postgres-{}", uuid::Uuid::new_v4().simple());
        let target = Path::new(ELSEWHERE).join(name);
        fs::create_dir_all(ELSEWHERE).map_err(Problem::at(ELSEWHERE))?;
        fs::set_permissions(ELSEWHERE, fs::Permissions::from_mode(0o755)).map_err(Problem::at(ELSEWHERE))?;
        make_private(&target)?;
        let linked = fs::remove_dir(directory).and_then(|()| symlink(&target, directory));
        if linked.is_err() {
            // Another process was here first: use what it made.
            return fs::remove_dir(&target).map_err(Problem::at(&target));
        }
        log::warn!(
            asked:% = directory.display(), used:% = target.display();
            "the database server's account cannot reach the directory asked for; a link there leads to the data"
        );
        Ok(())
    }

    /// PostgreSQL's data directory.
    pub(super) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Where this process grows a new data directory until it is whole.
    pub(super) fn new_data(&self) -> PathBuf {
        self.directory.join(format!("{NEW_DATA}{}", std::process::id()))
    }

    /// What is left of data directories that never became whole.
    pub(super) fn unfinished_data(&self) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let unfinished = entries.filter(|e| e.file_name().as_bytes().starts_with(NEW_DATA.as_bytes()));
        unfinished.map(|entry| entry.path())
    }

    /// For processes started here.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The major version that made the data directory; `None` without one.
    pub(super) fn data_version(&self) -> Option<u32> {
        fs::read_to_string(self.data().join("PG_VERSION")).ok()?.trim().parse().ok()
    }

    /// Opens a lock file, made if absent.
    pub(super) fn lock_file(&self, name: &str) -> Result<File, Problem> {
        let path = self.directory.join(name);
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(Problem::at(&path))?;
        // Made by root, used by an ordinary user next time: the owner of the folder must be able to open it.
        self.account.own(&path)?;
        Ok(file)
    }

    /// The server's log, opened for appending.
    pub(super) fn log(&self) -> Result<File, Problem> {
        let path = self.log_path();
        if fs::metadata(&path).is_ok_and(|m| m.len() > LONGEST_LOG_BYTES) {
            fs::rename(&path, self.directory.join("log.old")).map_err(Problem::at(&path))?;
        }
        let file = File::options().append(true).create(true).open(&path).map_err(Problem::at(&path))?;
        self.account.own(&path)?;
        Ok(file)
    }

    /// Where the server's log is.
    pub(super) fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// The folder for the socket, made and private.
    pub(super) fn socket_directory(&self) -> Result<PathBuf, Problem> {
        let run = self.directory.join("run");
        if fits_a_socket(&run) {
            make_private(&run)?;
            self.account.own(&run)?;
            fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).map_err(Problem::at(&run))?;
            return Ok(run);
        }
        let digest = Sha256::digest(self.directory.as_os_str().as_bytes());
        let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        // Anybody may have made a folder of that name in /tmp: only one of ours will do.
        let mut candidates = (0..8).map(|n| PathBuf::from(format!("/tmp/starter-{name}-{n}")));
        let found = candidates.find(|candidate| self.take_private(candidate));
        found.ok_or_else(|| Problem::OutOfReach {
            directory: PathBuf::from(format!("/tmp/starter-{name}-0")),
            account: self.account.name().to_owned(),
        })
    }

    fn take_private(&self, candidate: &Path) -> bool {
        match DirBuilder::new().mode(0o700).create(candidate) {
            Ok(()) => self.account.own(candidate).is_ok(),
            Err(_) => fs::symlink_metadata(candidate)
                .is_ok_and(|m| m.is_dir() && m.mode() & 0o777 == 0o700 && self.account.owns(&m)),
        }
    }
}

/// Whether a socket in `directory` has a path that the kernel takes and that needs no quoting in a setting.
fn fits_a_socket(directory: &Path) -> bool {
    let path = directory.join(SOCKET);
    let bytes = path.as_os_str().as_bytes();
    bytes.len() <= LONGEST_SOCKET && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"/._-+@ ".contains(b))
}

/// Makes `directory` with mode 0700, if there is none.
fn make_private(directory: &Path) -> Result<(), Problem> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => Err(Problem::at(directory)(cause)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_odd_paths_get_a_short_socket_folder() {
        assert!(fits_a_socket(Path::new("/srv/my app/.starter/postgres/run")));
        assert!(!fits_a_socket(Path::new("/srv/a,b")));
        assert!(!fits_a_socket(Path::new("/srv/it's")));
        assert!(!fits_a_socket(Path::new(&format!("/{}", "x".repeat(90)))));
    }
}
