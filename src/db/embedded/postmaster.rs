//! The server's main process: whether one runs on a data directory, starting it, stopping it.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::unix::{ffi::OsStrExt, net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Problem, binaries::Binaries, place::Place};

/// Between two looks at a server that starts or stops.
const PAUSE: Duration = Duration::from_millis(5);
/// A start after a crash replays the log, up to `max_wal_size`; slow disks take minutes.
const START_LIMIT: Duration = Duration::from_secs(300);
/// Then the server is told to stop at once; it replays its log at the next start and loses nothing.
const FAST_STOP_LIMIT: Duration = Duration::from_secs(60);
/// A main process that was killed leaves children that hold its shared memory for a moment.
const LEFTOVERS_LIMIT: Duration = Duration::from_secs(20);

/// A running server.
#[derive(Debug)]
pub(super) struct Postmaster {
    pid: Pid,
    socket_directory: PathBuf,
    /// Set when it is a child of this process, which then has to collect it.
    child: Option<Child>,
}

/// `postmaster.pid`, the lines of it that matter here.
#[derive(Debug, PartialEq)]
struct PidFile {
    pid: Pid,
    socket_directory: PathBuf,
    ready: bool,
}

impl Postmaster {
    /// The one that runs on the data directory of `place` already, once it takes connections; waits for one
    /// that is starting up, and for the end of one that is shutting down.
    pub(super) fn find(place: &Place) -> Result<Option<Self>, Problem> {
        let deadline = Instant::now() + START_LIMIT;
        while let Some(file) = PidFile::read(&place.data()) {
            let PidFile { pid, socket_directory, ready } = file;
            if ready && answers(&socket_directory) {
                return Ok(Some(Self { pid, socket_directory, child: None }));
            }
            if !is_postmaster(pid, &place.data()) {
                return Ok(None);
            }
            if Instant::now() > deadline {
                return Err(not_ready(place, 0));
            }
            thread::sleep(PAUSE);
        }
        Ok(None)
    }

    /// Starts one and waits until it takes connections.
    pub(super) fn start(
        place: &Place,
        binaries: &Binaries,
        settings: &[(String, String)],
    ) -> Result<Self, Problem> {
        let deadline = Instant::now() + LEFTOVERS_LIMIT;
        loop {
            let socket_directory = place.socket_directory()?;
            let (mut log, mut command) = (place.log()?, command(place, binaries, &socket_directory));
            for (name, value) in settings {
                command.arg("-c").arg(format!("{name}={value}"));
            }
            let log_start = log.seek(SeekFrom::End(0)).map_err(Problem::at(place.log_path()))?;
            let error_log = log.try_clone().map_err(Problem::at(place.log_path()))?;
            let spawned = command.stdout(log).stderr(error_log).spawn();
            let mut child =
                spawned.map_err(|cause| Problem::Spawn { program: "postgres".to_owned(), cause })?;
            if wait_until_ready(place, &mut child, log_start)? {
                let pid = Pid::from_child(&child);
                return Ok(Self { pid, socket_directory, child: Some(child) });
            }
            let output = words(place, log_start);
            if !output.contains("pre-existing shared memory block") || Instant::now() > deadline {
                return Err(Problem::Failed { program: "postgres", output });
            }
            thread::sleep(PAUSE * 20);
        }
    }

    /// Where its socket is.
    pub(super) fn socket_directory(&self) -> &Path {
        &self.socket_directory
    }

    /// The process id, for the log.
    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Ends it: open transactions are rolled back, everything committed is on disk.
    pub(super) fn stop(mut self, data: &Path) {
        for (signal, patience) in [(Signal::INT, FAST_STOP_LIMIT), (Signal::QUIT, FAST_STOP_LIMIT)] {
            if !self.runs(data) || kill_process(self.pid, signal).is_err() {
                return;
            }
            let deadline = Instant::now() + patience;
            while Instant::now() < deadline {
                if !self.runs(data) {
                    return;
                }
                thread::sleep(PAUSE);
            }
        }
    }

    /// Whether it is still there.
    pub(super) fn runs(&mut self, data: &Path) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => is_postmaster(self.pid, data) || answers(&self.socket_directory),
        }
    }
}

fn command(place: &Place, binaries: &Binaries, socket_directory: &Path) -> Command {
    let mut command = place.account.command(&binaries.path("postgres"), place.directory());
    // In a process group of its own: Ctrl-C in a terminal reaches the whole foreground group, and the server
    // must outlive the program that still uses it.
    command.process_group(0).arg("-D").arg(place.data());
    for setting in [
        // Reached through the socket alone, whose folder only its owner and root can enter.
        "listen_addresses=",
        "port=5432",
        "unix_socket_permissions=0700",
        &format!("unix_socket_directories=\"{}\"", socket_directory.display()),
    ] {
        command.args(["-c", setting]);
    }
    // PostgreSQL takes a pid file for live when any process of this user has that number, as happens after
    // the restart of a container. `find` knows better; this variable names a number it need not fear.
    if let Some(stale) = PidFile::read(&place.data()) {
        command.env("PG_GRANDPARENT_PID", stale.pid.as_raw_nonzero().to_string());
    }
    command
}

/// False when the process ended instead.
fn wait_until_ready(place: &Place, child: &mut Child, log_start: u64) -> Result<bool, Problem> {
    let deadline = Instant::now() + START_LIMIT;
    let pid = Pid::from_child(child);
    while matches!(child.try_wait(), Ok(None)) {
        if PidFile::read(&place.data()).is_some_and(|file| file.pid == pid && file.ready) {
            return Ok(true);
        }
        if Instant::now() > deadline {
            return Err(not_ready(place, log_start));
        }
        thread::sleep(PAUSE);
    }
    Ok(false)
}

fn not_ready(place: &Place, log_start: u64) -> Problem {
    Problem::NotReady { seconds: START_LIMIT.as_secs(), output: words(place, log_start) }
}

/// What the server said since `log_start`, the end of it.
fn words(place: &Place, log_start: u64) -> String {
    let mut text = Vec::new();
    if let Ok(mut log) = File::open(place.log_path()) {
        let _ = log.seek(SeekFrom::Start(log_start)).and_then(|_| log.read_to_end(&mut text));
    }
    last_lines(&String::from_utf8_lossy(&text))
}

/// The last lines of a program's output, on one line.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.iter().skip(lines.len().saturating_sub(6)).copied().collect::<Vec<_>>().join(" | ")
}

impl PidFile {
    fn read(data: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(data.join("postmaster.pid")).ok()?)
    }

    /// Lines: pid, data directory, start time, port, socket folder, address, shared memory, status.
    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<_> = text.lines().collect();
        Some(Self {
            pid: Pid::from_raw(lines.first()?.trim().parse().ok()?)?,
            socket_directory: lines.get(4).copied().unwrap_or_default().into(),
            ready: lines.get(7).is_some_and(|status| status.trim() == "ready"),
        })
    }
}

/// Whether a server takes connections, also one whose process cannot be seen: in another container that shares
/// the directory.
fn answers(socket_directory: &Path) -> bool {
    UnixStream::connect(socket_directory.join(".s.PGSQL.5432")).is_ok()
}

/// Whether process `pid` is a server on `data`: numbers are used again, so its arguments are looked at.
fn is_postmaster(pid: Pid, data: &Path) -> bool {
    let number = pid.as_raw_nonzero();
    let arguments = if Path::new("/proc/self/cmdline").exists() {
        fs::read(format!("/proc/{number}/cmdline"))
    } else {
        let ps = Command::new("ps").args(["-ww", "-o", "command=", "-p", &number.to_string()]).output();
        ps.map(|done| done.stdout)
    };
    let wanted = data.as_os_str().as_bytes();
    arguments.is_ok_and(|a| !wanted.is_empty() && a.windows(wanted.len()).any(|part| part == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "4711\n/srv/data\n1763890000\n5432\n/srv/run\n\n  1234  5\nready   \n";

    #[test]
    fn a_pid_file_tells_number_socket_and_readiness() {
        let file = PidFile::parse(FILE).unwrap();
        assert_eq!(file.pid.as_raw_nonzero().get(), 4711);
        assert_eq!(file.socket_directory, Path::new("/srv/run"));
        assert!(file.ready);
    }

    #[test]
    fn a_pid_file_that_is_being_written_is_not_ready() {
        assert!(!PidFile::parse(FILE.trim_end_matches("ready   \n")).unwrap().ready);
        assert!(!PidFile::parse("4711\n").unwrap().ready);
        assert_eq!(PidFile::parse(""), None);
    }

    #[test]
    fn this_process_is_not_taken_for_a_server() {
        assert!(!is_postmaster(rustix::process::getpid(), Path::new("/nowhere/data")));
    }
}
