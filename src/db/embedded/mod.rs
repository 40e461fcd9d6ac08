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
//! still runs, and starts one where none does.

mod account;
mod binaries;
mod place;
mod postmaster;
mod problem;

use std::{
    fs::{self, File},
    io::Write,
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
};

use binaries::Binaries;
use percent_encoding::NON_ALPHANUMERIC;
use place::Place;
use postmaster::Postmaster;
use problem::Problem;

use crate::domain;

/// The superuser and the database of an embedded cluster.
const NAME: &str = "starter";

/// Written once into a new cluster's `postgresql.conf`, where its owner can change them.
const CONFIGURATION: &str = "
# Written by starter when it made this cluster; change what you like.
max_connections = 200
shared_buffers = 128MB
fsync = on
synchronous_commit = on
full_page_writes = on
wal_level = replica
max_wal_size = 1GB
# Statements here are short; compiling them costs more than it saves.
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_checkpoints = off
log_line_prefix = '%m [%p] '
cluster_name = 'starter'
";

/// A running cluster that this process uses.
///
/// Dropping it stops the server as [`Cluster::stop`] does.
#[derive(Debug)]
pub struct Cluster {
    place: Place,
    users: File,
    postmaster: Mutex<Option<Postmaster>>,
    url: String,
}

impl Cluster {
    /// The cluster in `directory`: made if there is none, started if it does not run. Blocks, for about two
    /// seconds when it has to be made and a fifth of one when it has to be started.
    ///
    /// # Errors
    /// `Unavailable`, with what to do about it: no PostgreSQL on this machine, the wrong version, a directory
    /// that cannot be used, or the server's own last words.
    pub fn start(directory: &Path) -> domain::Result<Self> {
        Ok(Self::enter(directory, &[])?)
    }

    /// As [`Cluster::start`], with settings for the server should it have to be started: tests turn off what
    /// makes it durable.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_with(directory: &Path, settings: &[(&str, &str)]) -> domain::Result<Self> {
        Ok(Self::enter(directory, settings)?)
    }

    fn enter(directory: &Path, settings: &[(&str, &str)]) -> Result<Self, Problem> {
        let place = Place::prepare(directory)?;
        let start = place.lock_file("start.lock")?;
        start.lock().map_err(Problem::at(directory))?;
        let users = place.lock_file("users.lock")?;
        users.lock_shared().map_err(Problem::at(directory))?;
        let binaries = match place.data_version() {
            Some(major) => Binaries::of_major(major)?,
            None => make(&place)?,
        };
        let (postmaster, found) = match Postmaster::find(&place)? {
            Some(running) => (running, "used"),
            None => (Postmaster::start(&place, &binaries, settings)?, "started"),
        };
        log::info!(postgresql = binaries.major(), pid = postmaster.pid(); "embedded database {found}");
        let url = url(postmaster.socket_directory());
        Ok(Self { place, users, postmaster: Mutex::new(Some(postmaster)), url })
    }

    /// Where to connect to: a URL that libpq understands too.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops the server and waits for its end, unless another process still uses it: then that one will.
    /// Blocks. Call it when the pools are gone; connections still open are closed.
    ///
    /// # Errors
    /// `Unavailable` when the lock files cannot be used any more.
    pub fn stop(&self) -> domain::Result<()> {
        Ok(self.leave()?)
    }

    fn leave(&self) -> Result<(), Problem> {
        let mut postmaster = self.postmaster.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(postmaster) = postmaster.take() else { return Ok(()) };
        let start = self.place.lock_file("start.lock")?;
        start.lock().map_err(Problem::at(self.place.directory()))?;
        self.users.unlock().map_err(Problem::at(self.place.directory()))?;
        if self.users.try_lock().is_err() {
            log::info!("embedded database left to the other processes that use it");
            return Ok(());
        }
        postmaster.stop(&self.place.data());
        log::info!("embedded database stopped");
        self.users.unlock().map_err(Problem::at(self.place.directory()))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(problem) = self.leave() {
            log::error!(error:% = problem; "embedded database not stopped");
        }
    }
}

/// Stops the server in `directory` if no process uses it, such as one that a killed process left behind.
/// True when there is none running afterwards. Blocks.
///
/// # Errors
/// `Unavailable` when the directory cannot be used.
pub fn stop_unused(directory: &Path) -> domain::Result<bool> {
    let place = Place::prepare(directory)?;
    let start = place.lock_file("start.lock")?;
    let users = place.lock_file("users.lock")?;
    start.lock().map_err(Problem::at(directory))?;
    if users.try_lock().is_err() {
        return Ok(false);
    }
    if let Some(postmaster) = Postmaster::find(&place)? {
        postmaster.stop(&place.data());
    }
    Ok(true)
}

/// Makes the data directory: beside its place, and put there when it is whole.
fn make(place: &Place) -> Result<Binaries, Problem> {
    let binaries = Binaries::newest()?;
    log::info!(postgresql = binaries.major(); "embedded database is being made, this once");
    let new = place.new_data();
    if new.exists() {
        fs::remove_dir_all(&new).map_err(Problem::at(&new))?;
    }
    fs::create_dir(&new).map_err(Problem::at(&new))?;
    place.account.own(&new)?;
    // Where the C library lacks the locale, PostgreSQL's own "C" sorts the same, and folds ASCII case only.
    if let Err(problem) = initialise(place, &binaries, "C.UTF-8") {
        log::debug!(error:% = problem; "initdb with locale C.UTF-8");
        initialise(place, &binaries, "C")?;
    }
    let configuration = new.join("postgresql.conf");
    let file = File::options().append(true).open(&configuration);
    let written = file.and_then(|mut f| f.write_all(CONFIGURATION.as_bytes()).and_then(|()| f.sync_all()));
    written.map_err(Problem::at(&configuration))?;
    create_database(place, &binaries)?;
    fs::rename(&new, place.data()).map_err(Problem::at(&new))?;
    File::open(place.directory()).and_then(|d| d.sync_all()).map_err(Problem::at(place.directory()))?;
    Ok(binaries)
}

fn initialise(place: &Place, binaries: &Binaries, locale: &str) -> Result<(), Problem> {
    let mut command = place.account.command(&binaries.path("initdb"), place.directory());
    command.arg("--pgdata").arg(place.new_data()).args(["--username", NAME, "--auth", "trust"]);
    command.args(["--encoding", "UTF8", "--locale", locale, "--lc-messages", "C", "--data-checksums"]);
    run("initdb", &mut command, "")
}

/// In single-user mode: no server, no socket, nobody else.
fn create_database(place: &Place, binaries: &Binaries) -> Result<(), Problem> {
    let mut command = place.account.command(&binaries.path("postgres"), place.directory());
    command.arg("--single").arg("-D").arg(place.new_data()).args(["-c", "exit_on_error=on", "postgres"]);
    run("postgres --single", &mut command, &format!("CREATE DATABASE {NAME};\n"))
}

fn run(program: &'static str, command: &mut Command, input: &str) -> Result<(), Problem> {
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let spawn = |cause| Problem::Spawn { program: program.to_owned(), cause };
    let mut child = spawned.map_err(spawn)?;
    if let Some(mut stdin) = child.stdin.take() {
        // An error here is told better by the program's exit and words.
        let _ = stdin.write_all(input.as_bytes());
    }
    let done = child.wait_with_output().map_err(spawn)?;
    if done.status.success() {
        return Ok(());
    }
    let words = [done.stdout, done.stderr].concat();
    Err(Problem::Failed { program, output: postmaster::last_lines(&String::from_utf8_lossy(&words)) })
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
