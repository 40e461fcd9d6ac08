//! `postmaster.pid`, by which a server says that it runs on a data directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::Pid;

use super::{Problem, files};

/// In the data directory, while a server runs on it.
const NAME: &str = "postmaster.pid";

/// `postmaster.pid`, the lines of it that matter here.
#[derive(Debug, PartialEq)]
pub(super) struct PidFile {
    pub(super) pid: Pid,
    pub(super) socket_directory: PathBuf,
    pub(super) ready: bool,
}

impl PidFile {
    /// The one in `data`, if it names a process.
    pub(super) fn read(data: &Path) -> Option<Self> {
        Self::parse(std::str::from_utf8(&files::read_small(&data.join(NAME))?).ok()?)
    }

    /// Whether there is one that names no process, as a power cut leaves it.
    pub(super) fn is_torn(data: &Path) -> bool {
        let Some(bytes) = files::read_small(&data.join(NAME)) else { return false };
        let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        std::str::from_utf8(first).ok().and_then(number).is_none()
    }

    /// Takes it away.
    pub(super) fn remove(data: &Path) -> Result<(), Problem> {
        let path = data.join(NAME);
        fs::remove_file(&path).map_err(Problem::at(path))
    }

    /// Lines: pid, data directory, start time, port, socket folder, address, shared memory, status.
    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<_> = text.lines().collect();
        Some(Self {
            pid: number(lines.first()?).filter(|number| *number > 0).and_then(Pid::from_raw)?,
            socket_directory: lines.get(4).copied().unwrap_or_default().into(),
            ready: lines.get(7).is_some_and(|status| status.trim() == "ready"),
        })
    }
}

/// The number of a process as a pid file has it; negative for a server in single-user mode.
pub(super) fn number(line: &str) -> Option<i32> {
    line.trim().parse().ok().filter(|number| *number != 0)
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
    fn a_pid_file_of_single_user_mode_names_a_process_and_no_server() {
        assert_eq!(PidFile::parse("-4711\n"), None);
        assert_eq!(number("-4711"), Some(-4711));
    }

    #[test]
    fn what_a_power_cut_leaves_names_no_process() {
        for torn in ["", "0", "\0\0\0\0", "47a", "99999999999999"] {
            assert_eq!(number(torn), None, "{torn:?}");
        }
    }
}
