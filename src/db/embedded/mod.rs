//! The embedded default database: a private PostgreSQL cluster, made and run with the programs that are
//! installed on this machine.
//!
//! Reached through a Unix socket alone, in a folder of mode 0700; durable (`fsync` on). When this process is
//! root, the server runs as an unprivileged account that owns its data.
//!
//! Every process that uses a directory shares its cluster: each holds a shared lock for as long as it
//! lives. Whoever needs a running server and finds none starts it. **The last one out stops it**: a server is
//! never pulled from under another process that still uses it, and none is left behind. The kernel drops
//! the locks of a killed process, so nothing has to be cleaned up: the next start takes over a server that
//! still runs, and starts one where none does. A server that dies while it is used is started again, by whoever
//! notices first; meanwhile callers are told that the database is unavailable.

mod abandon;
mod account;
mod binaries;
mod files;
mod making;
mod pid_file;
mod place;
mod postmaster;
mod problem;

use std::{
    fs::{self, File, TryLockError},
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

pub use abandon::abandon;
use abandon::is_abandoned;
use binaries::Binaries;
use making::make;
use percent_encoding::NON_ALPHANUMERIC;
use place::Place;
use postmaster::Postmaster;
use problem::Problem;

use crate::domain;

/// Between two looks at whether the server lives.
const WATCH: Duration = Duration::from_millis(500);
/// Between two tries for a lock, and between two looks at a server that starts or stops.
const PAUSE: Duration = Duration::from_millis(5);
/// When the process ends at once, the server has this long to end in order, and other processes to do what they do.
const IMPATIENT: Duration = Duration::from_secs(3);
/// The superuser and the database of an embedded cluster.
const NAME: &str = "starter";

/// A running cluster that this process uses.
///
/// Should its server die, it is started again. Dropping the value stops the server as [`Cluster::stop`] does.
#[derive(Debug)]
pub struct Cluster {
    shared: Arc<Shared>,
    url: String,
}

/// What a [`Cluster`] shares with the thread that watches over its server.
#[derive(Debug)]
struct Shared {
    place: Place,
    users: File,
    settings: Vec<(String, String)>,
    /// `None` once this process has no more use for it.
    postmaster: Mutex<Option<Postmaster>>,
}

impl Cluster {
    /// The cluster in `directory`: made if there is none, started if it does not run. Blocks, for about a
    /// second when it has to be made and a tenth of one when it has to be started.
    ///
    /// # Errors
    /// `Unavailable`, with what to do about it: no PostgreSQL on this machine, the wrong version, a directory
    /// that cannot be used, or the server's own last words.
    pub fn start(directory: &Path) -> domain::Result<Self> {
        Self::start_with(directory, &[])
    }

    /// As [`Cluster::start`], with settings for the server should it have to be started: tests turn off what
    /// makes it durable.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_with(directory: &Path, settings: &[(&str, &str)]) -> domain::Result<Self> {
        let _opening = abandon::opening();
        let place = Place::prepare(directory)?;
        let users = place.lock_file("users.lock")?;

        // In this order, so that who holds the first and gets the second alone knows that nobody uses the cluster.
        let start = locked(&place)?;
        if users.try_lock().is_ok() {
            postmaster::remove_torn_pid_file(&place)?;
        }
        users.lock_shared().map_err(Problem::at(directory))?;

        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings: Vec<_> = settings.collect();
        let postmaster = bring_up(&place, &settings)?;
        drop(start);

        let url = url(postmaster.socket_directory());
        let shared = Arc::new(Shared { place, users, settings, postmaster: Mutex::new(Some(postmaster)) });
        abandon::opened(Arc::downgrade(&shared));
        watch(&shared)?;
        Ok(Self { shared, url })
    }

    /// Where to connect to: a URL that libpq understands too.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The major version of PostgreSQL that runs it.
    pub fn major(&self) -> Option<u32> {
        self.shared.place.data_version()
    }

    /// Stops the server and waits for its end, unless another process still uses it: then that one will.
    /// Blocks. Call it when the pools are gone; connections still open are closed.
    ///
    /// # Errors
    /// `Unavailable` when the lock files cannot be used any more.
    pub fn stop(&self) -> domain::Result<()> {
        Ok(self.shared.leave()?)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(problem) = self.shared.leave() {
            log::error!(error:% = problem; "embedded database not stopped");
        }
    }
}

impl Shared {
    fn leave(&self) -> Result<(), Problem> {
        // Held to the end: who comes second waits for what the first does.
        let mut slot = self.lock();
        let Some(postmaster) = slot.take() else { return Ok(()) };

        let Some(_start) = locked_to_leave(&self.place)? else { return Ok(()) };
        self.users.unlock().map_err(Problem::at(self.place.directory()))?;
        if self.users.try_lock().is_err() {
            log::info!("embedded database left to the other processes that use it");
            return Ok(());
        }
        postmaster.stop(&self.place);
        log::info!("embedded database stopped");
        self.users.unlock().map_err(Problem::at(self.place.directory()))
    }

    /// Starts the server again if it died; false when nobody here needs it any more.
    fn heal(&self) -> Result<bool, Problem> {
        let mut slot = self.lock();
        let Some(postmaster) = slot.as_mut() else { return Ok(false) };
        if !postmaster.runs(&self.place) {
            log::error!(pid = postmaster.pid(); "embedded database died and is started again");
            let _start = locked(&self.place)?;
            *postmaster = bring_up(&self.place, &self.settings)?;
        }
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Postmaster>> {
        self.postmaster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks after the server for as long as this process uses it.
fn watch(shared: &Arc<Shared>) -> Result<(), Problem> {
    let shared = Arc::downgrade(shared);
    let look = move || {
        let mut pause = WATCH;
        loop {
            thread::sleep(pause);
            match shared.upgrade().map(|shared| shared.heal()) {
                Some(Ok(true)) => pause = WATCH,
                Some(Err(problem)) => {
                    log::error!(error:% = problem; "embedded database does not start");
                    pause = (pause * 2).min(WATCH * 20);
                }
                Some(Ok(false)) | None => return,
            }
        }
    };
    let spawned = thread::Builder::new().name("embedded-db".to_owned()).spawn(look);
    spawned.map(drop).map_err(|cause| Problem::Spawn { program: "a thread".to_owned(), cause })
}

/// Finds a running server or starts one. The caller holds `start.lock`, so no other process does.
fn bring_up(place: &Place, settings: &[(String, String)]) -> Result<Postmaster, Problem> {
    let binaries = match place.data_version() {
        Some(major) => Binaries::of_major(major)?,
        None => make(place)?,
    };
    let (postmaster, how) = match Postmaster::find(place)? {
        Some(running) => (running, "used"),
        None => (Postmaster::start(place, &binaries, settings)?, "started"),
    };
    log::info!(postgresql = binaries.major(), pid = postmaster.pid(); "embedded database {how}");
    Ok(postmaster)
}

/// For as long as the file lives, no other process makes, starts or stops the cluster.
fn locked(place: &Place) -> Result<File, Problem> {
    lock_unless(place, is_abandoned)?.ok_or(Problem::Abandoned)
}

/// As [`locked`]; `None` when the process has to end at once and another one holds the lock: that one uses the server.
fn locked_to_leave(place: &Place) -> Result<Option<File>, Problem> {
    let begun = Instant::now();
    lock_unless(place, || is_abandoned() && begun.elapsed() > IMPATIENT)
}

/// Waits for `start.lock`, but no longer than until `give_up` holds.
fn lock_unless(place: &Place, give_up: impl Fn() -> bool) -> Result<Option<File>, Problem> {
    let file = place.lock_file("start.lock")?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if give_up() => return Ok(None),
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            Err(TryLockError::Error(cause)) => return Err(Problem::at(place.directory())(cause)),
        }
    }
}

/// Refuses a directory without a cluster, and leaves it as it is.
///
/// # Errors
/// `Unavailable`, saying so.
pub fn require(directory: &Path) -> domain::Result<()> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    match fs::metadata(directory.join("data")) {
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => {
            Err(Problem::Absent { directory: directory.to_owned() }.into())
        }
        // What else is wrong is found out when it is opened.
        _ => Ok(()),
    }
}

/// Stops the server in `directory` if no process uses it, such as one that a killed process left behind.
/// True when there is none running afterwards. Blocks.
///
/// # Errors
/// `Unavailable` when the directory cannot be used.
pub fn stop_unused(directory: &Path) -> domain::Result<bool> {
    let place = Place::prepare(directory)?;
    let _start = locked(&place)?;
    let users = place.lock_file("users.lock")?;
    if users.try_lock().is_err() {
        return Ok(false);
    }
    if let Some(postmaster) = Postmaster::find(&place)? {
        postmaster.stop(&place);
    }
    Ok(true)
}

/// With the folder percent-encoded as the host: the form that libpq, tokio-postgres and the diesel CLI all take.
fn url(socket_directory: &Path) -> String {
    let folder = percent_encoding::percent_encode(socket_directory.as_os_str().as_bytes(), NON_ALPHANUMERIC);
    format!("postgresql://{NAME}@{folder}/{NAME}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_carries_any_path() {
        assert_eq!(url(Path::new("/srv/my app")), "postgresql://starter@%2Fsrv%2Fmy%20app/starter");
        let parsed: tokio_postgres::Config = url(Path::new("/srv/my app")).parse().unwrap();
        assert_eq!(parsed.get_hosts(), [tokio_postgres::config::Host::Unix("/srv/my app".into())]);
    }
}
