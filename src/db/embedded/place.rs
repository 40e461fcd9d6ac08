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

use super::{Problem, account::Account, files};

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
    /// The same, open: what lies in it is reached through this.
    opened: File,
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
        if let Ok(link) = fs::symlink_metadata(directory)
            && link.is_symlink()
        {
            check_link(directory, &link)?;
        }
        if let Some(parent) = directory.parent() {
            fs::create_dir_all(parent).map_err(Problem::at(parent))?;
        }
        make_private(directory)?;
        let directory = fs::canonicalize(directory).map_err(Problem::at(directory))?;
        let opened = files::directory(&directory).map_err(Problem::at(&directory))?;

        let account = Account::for_data(&directory.join("data"))?;
        let empty = fs::read_dir(&directory).map_err(Problem::at(&directory))?.next().is_none();
        if empty {
            files::give(&opened, account.owner()).map_err(Problem::at(&directory))?;
        }
        if account.can_enter(&directory) {
            return Ok(Some(Self { directory, opened, account }));
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
        let version = files::read_small(&self.data().join("PG_VERSION"))?;
        String::from_utf8(version).ok()?.trim().parse().ok()
    }

    /// Makes the new data directory, empty, for the account.
    pub(super) fn make_new_data(&self) -> Result<File, Problem> {
        let path = self.new_data();
        let name = path.file_name().map(Path::new).unwrap_or(&path);
        files::own_directory(&self.opened, name, &path, self.account.owner())
    }

    /// Opens a lock file, made if absent. The owner of the directory can open it too, when no longer root starts the
    /// server.
    pub(super) fn lock_file(&self, name: &str) -> Result<File, Problem> {
        files::lock_file(&self.opened, Path::new(name), &self.directory.join(name), self.account.owner())
    }

    /// The server's log, opened for appending and for reading.
    pub(super) fn log(&self) -> Result<File, Problem> {
        let path = self.log_path();
        if fs::symlink_metadata(&path).is_ok_and(|m| m.len() > LONGEST_LOG_BYTES) {
            fs::rename(&path, self.directory.join("log.old")).map_err(Problem::at(&path))?;
        }
        files::own_file(&self.opened, Path::new("log"), &path, self.account.owner())
    }

    /// Where the server's log is.
    pub(super) fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// The folder for the socket, made and private.
    pub(super) fn socket_directory(&self) -> Result<PathBuf, Problem> {
        let run = self.directory.join("run");
        if fits_a_socket(&run) {
            files::own_directory(&self.opened, Path::new("run"), &run, self.account.owner())?;
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

    /// Whether `candidate` is a private directory of the account, made if absent.
    fn take_private(&self, candidate: &Path) -> bool {
        let made = DirBuilder::new().mode(0o700).create(candidate).is_ok();
        let Ok(directory) = files::directory(candidate) else { return false };
        if made && files::give(&directory, self.account.owner()).is_err() {
            return false;
        }
        directory.metadata().is_ok_and(|m| m.mode() & 0o777 == 0o700 && self.account.owns(&m))
    }
}

/// Refuses a link that somebody else may have made to lead this process into what is not theirs, and removes one that
/// leads nowhere: the data was deleted.
fn check_link(directory: &Path, link: &fs::Metadata) -> Result<(), Problem> {
    let Ok(target) = fs::metadata(directory) else {
        return fs::remove_file(directory).map_err(Problem::at(directory));
    };
    let own = rustix::process::geteuid().as_raw();
    if link.uid() != own && link.uid() != target.uid() {
        let what = "is a link that another user made to what is not theirs";
        return Err(Problem::NotOurs { path: directory.to_owned(), what });
    }
    Ok(())
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
