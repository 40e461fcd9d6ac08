//! The server's main process: whether one runs on a data directory, starting it, stopping it.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::{ffi::OsStrExt, fs::MetadataExt, net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    IMPATIENT, PAUSE, Problem,
    abandon::is_abandoned,
    binaries::Binaries,
    pid_file::{PidFile, number},
    place::Place,
};

/// A start after a crash replays the log, up to `max_wal_size`; slow disks take minutes.
const START_LIMIT: Duration = Duration::from_secs(300);
/// Then the server is told to stop at once; it replays its log at the next start and loses nothing.
const FAST_STOP_LIMIT: Duration = Duration::from_secs(60);
/// A main process that was killed leaves children that hold its shared memory for a moment.
const LEFTOVERS_LIMIT: Duration = Duration::from_secs(20);

/// Of what the server says while it starts, this much is read.
const LONGEST_WORDS: u64 = 256 << 10;

/// A running server.
#[derive(Debug)]
pub(super) struct Postmaster {
    pid: Pid,
    socket_directory: PathBuf,
    /// Set when it is a child of this process, which then has to collect it.
    child: Option<Child>,
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
            if !is_postmaster(pid, place) {
                return Ok(None);
            }
            if is_abandoned() {
                return Err(Problem::Abandoned);
            }
            if Instant::now() > deadline {
                return Err(not_ready(&Log { file: place.log()?, start: 0 }));
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
            let seen =
                Log { file: log.try_clone().map_err(Problem::at(place.log_path()))?, start: log_start };
            let spawned = command.stdout(log).stderr(error_log).spawn();
            let mut child =
                spawned.map_err(|cause| Problem::Spawn { program: "postgres".to_owned(), cause })?;
            if wait_until_ready(place, &mut child, &seen)? {
                let pid = Pid::from_child(&child);
                return Ok(Self { pid, socket_directory, child: Some(child) });
            }
            let output = seen.words();
            let leftovers = output.contains("pre-existing shared memory block") && !is_abandoned();
            if !leftovers || Instant::now() > deadline {
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
    pub(super) fn stop(mut self, place: &Place) {
        for (signal, patience) in [(Signal::INT, FAST_STOP_LIMIT), (Signal::QUIT, FAST_STOP_LIMIT)] {
            if !self.runs(place) || self.signal(signal, place).is_err() {
                return;
            }
            let begun = Instant::now();
            while begun.elapsed() < if is_abandoned() { IMPATIENT } else { patience } {
                if !self.runs(place) {
                    return;
                }
                thread::sleep(PAUSE);
            }
        }
    }

    /// Sends it a signal. The account that runs the server writes the number into the pid file: it must not choose who
    /// gets a signal of root's.
    fn signal(&self, signal: Signal, place: &Place) -> io::Result<()> {
        if self.child.is_none() && !is_postmaster(self.pid, place) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(kill_process(self.pid, signal)?)
    }

    /// Whether it is still there.
    pub(super) fn runs(&mut self, place: &Place) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => is_postmaster(self.pid, place) || answers(&self.socket_directory),
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
fn wait_until_ready(place: &Place, child: &mut Child, log: &Log) -> Result<bool, Problem> {
    let deadline = Instant::now() + START_LIMIT;
    let pid = Pid::from_child(child);
    while matches!(child.try_wait(), Ok(None)) {
        if PidFile::read(&place.data()).is_some_and(|file| file.pid == pid && file.ready) {
            return Ok(true);
        }
        if is_abandoned() {
            // It has begun nothing that it could not begin again.
            let _gone = kill_process(pid, Signal::QUIT);
            let _collected = child.wait();
            return Err(Problem::Abandoned);
        }
        if Instant::now() > deadline {
            return Err(not_ready(log));
        }
        thread::sleep(PAUSE);
    }
    Ok(false)
}

fn not_ready(log: &Log) -> Problem {
    Problem::NotReady { seconds: START_LIMIT.as_secs(), output: log.words() }
}

/// The server's log, from where one start began.
struct Log {
    file: File,
    start: u64,
}

impl Log {
    /// What the server said, the end of it.
    fn words(&self) -> String {
        let mut text = Vec::new();
        let mut file = &self.file;
        let _ = file
            .seek(SeekFrom::Start(self.start))
            .and_then(|_| file.take(LONGEST_WORDS).read_to_end(&mut text));
        last_lines(&String::from_utf8_lossy(&text))
    }
}

/// The last lines of a program's output, on one line.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.iter().skip(lines.len().saturating_sub(6)).copied().collect::<Vec<_>>().join(" | ")
}

/// Removes a pid file without a number, as a power cut leaves it: empty, or full of zeros. PostgreSQL refuses to start
/// beside one, since it cannot know whether another server is starting. The caller can: it holds both locks alone, and
/// nothing runs.
pub(super) fn remove_torn_pid_file(place: &Place) -> Result<(), Problem> {
    if !PidFile::is_torn(&place.data()) || answers(&place.socket_directory()?) || runs_unseen(place) {
        return Ok(());
    }

    log::warn!("embedded database: removed a torn postmaster.pid");
    PidFile::remove(&place.data())
}

/// Whether any process looks like the server of `place`, as one left behind by a killed process.
fn runs_unseen(place: &Place) -> bool {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str().and_then(number));
    numbers.filter_map(Pid::from_raw).any(|pid| is_postmaster(pid, place))
}

/// Whether a server takes connections, also one whose process cannot be seen: in another container that shares
/// the directory.
fn answers(socket_directory: &Path) -> bool {
    UnixStream::connect(socket_directory.join(".s.PGSQL.5432")).is_ok()
}

/// Whether process `pid` is the server of `place`: numbers are used again, so its arguments and its user are looked at.
fn is_postmaster(pid: Pid, place: &Place) -> bool {
    let number = pid.as_raw_nonzero();
    let process = PathBuf::from(format!("/proc/{number}"));
    let arguments = if Path::new("/proc/self/cmdline").exists() {
        fs::read(process.join("cmdline"))
    } else {
        let ps = Command::new("ps").args(["-ww", "-o", "command=", "-p", &number.to_string()]).output();
        ps.map(|done| done.stdout)
    };
    let another = fs::metadata(&process).is_ok_and(|m| m.uid() != place.account.owner().uid);
    !another && arguments.is_ok_and(|arguments| names(&arguments, &place.data()))
}

fn names(arguments: &[u8], data: &Path) -> bool {
    let wanted = data.as_os_str().as_bytes();
    !wanted.is_empty() && arguments.windows(wanted.len()).any(|part| part == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_names_the_data_is_taken_for_its_server() {
        assert!(names(b"postgres\0-D\0/srv/data\0", Path::new("/srv/data")));
        assert!(!names(b"sleep\x00600\x00", Path::new("/srv/data")));
        assert!(!names(b"", Path::new("")));
    }
}
