//! The signals that ask a process to end: all four that a person, a terminal or a service manager sends.

use std::{fs, io};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::db::embedded;

/// Bit of SIGHUP in the masks of `/proc/self/status`.
const HANGUP_BIT: u64 = 1;

/// The signals that ask a process to end.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    /// A terminal was closed. `None` when this process was started to go on then, as by `nohup`.
    hangup: Option<Signal>,
}

impl Signals {
    /// From now on these signals do not kill the process.
    pub(super) fn catch() -> io::Result<Self> {
        let hangup = if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup,
        })
    }

    /// Waits for one and returns its name.
    pub(super) async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.quit.recv() => "SIGQUIT",
            _ = hangup => "SIGHUP",
        }
    }

    /// Waits for a second one, and then ends the process with `code` at once. The person who sends it does not want to
    /// wait, and yet nothing must go on running: a database server that this process started ends first.
    pub(super) async fn end_at_second(mut self, code: i32) {
        let name = self.next().await;
        log::warn!(signal = name; "stopped at once, as a second signal asked; tasks under way will be rescued");

        // What is torn down from here on would only complain that the rest is gone.
        log::set_max_level(log::LevelFilter::Off);
        let _ended = tokio::task::spawn_blocking(embedded::abandon).await;
        std::process::exit(code);
    }
}

/// Whether the process was started with SIGHUP ignored.
fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & HANGUP_BIT != 0)
}
