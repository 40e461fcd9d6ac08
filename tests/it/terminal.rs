//! `starter admin` on a terminal, as a person meets it: a real pseudo-terminal.

use std::{
    cell::{Cell, RefCell},
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, ExitStatus},
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags, open},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};
use tempfile::TempDir;

use crate::{
    process::starter,
    support::{db::TestDatabase, eventually},
};

const PATIENCE: Duration = Duration::from_secs(30);
const PASSWORD: &str = "correct horse battery stap";

/// `starter admin user create` on a terminal of its own.
struct Terminal {
    /// What the person at it types goes in here.
    keyboard: File,
    line: OwnedFd,
    screen: Arc<Mutex<Vec<u8>>>,
    child: Child,
    _directory: TempDir,
}

impl Terminal {
    fn open(database: &TestDatabase) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let line = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let arguments = ["admin", "user", "create", "--username", "boss", "--email", "boss@example.com"];
        let (child, directory) = starter(&arguments)
            .env("STARTER__DATABASE__URL", database.url())
            .env("STARTER__AUTH__ARGON2_MEMORY_KIB", "64")
            .env("RUST_LOG", "error")
            .at_terminal(&line);
        let keyboard = File::from(ours);
        let (screen, mut shows) = (Arc::new(Mutex::new(Vec::new())), keyboard.try_clone().unwrap());
        let seen = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut some = [0; 1_024];
            // An error when nobody has the line open any more.
            while let Ok(bytes) = shows.read(&mut some) {
                seen.lock().unwrap().extend_from_slice(&some[..bytes]);
            }
        });
        Self { keyboard, line, screen, child, _directory: directory }
    }

    fn shown(&self) -> String {
        String::from_utf8(self.screen.lock().unwrap().clone()).unwrap()
    }

    async fn until_shown(&self, text: &str) {
        eventually(PATIENCE, async || self.shown().contains(text)).await;
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.line).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    async fn end(&mut self) -> ExitStatus {
        let (child, status) = (RefCell::new(&mut self.child), Cell::new(None));
        eventually(PATIENCE, async || {
            status.set(child.borrow_mut().try_wait().unwrap());
            status.get().is_some()
        })
        .await;
        status.get().unwrap()
    }
}

#[tokio::test]
async fn a_password_is_asked_for_twice_and_never_shown() {
    let database = TestDatabase::create().await;
    let mut terminal = Terminal::open(&database);
    terminal.until_shown("New password (12 characters or more): ").await;
    assert!(!terminal.echoes(), "what is typed at once would be shown");
    terminal.type_in(&format!("{PASSWORD}\n"));
    terminal.until_shown("The same again: ").await;
    assert!(!terminal.echoes());
    terminal.type_in(&format!("{PASSWORD}\n"));
    assert!(terminal.end().await.success(), "{}", terminal.shown());
    assert!(terminal.echoes(), "the terminal is as it was");
    assert!(!terminal.shown().contains("horse"), "{}", terminal.shown());
    assert_eq!(database.count("select count(*) from users where username = 'boss'").await, 1);
}

#[tokio::test]
async fn what_is_typed_ahead_of_the_second_prompt_is_neither_shown_nor_lost() {
    let database = TestDatabase::create().await;
    let mut terminal = Terminal::open(&database);
    terminal.until_shown("New password (12 characters or more): ").await;
    terminal.type_in(&format!("{PASSWORD}\n{PASSWORD}\n"));
    assert!(terminal.end().await.success(), "{}", terminal.shown());
    assert!(!terminal.shown().contains("horse"), "{}", terminal.shown());
}

#[tokio::test]
async fn two_passwords_that_differ_make_no_user() {
    let database = TestDatabase::create().await;
    let mut terminal = Terminal::open(&database);
    terminal.until_shown("New password (12 characters or more): ").await;
    terminal.type_in(&format!("{PASSWORD}\nsomething else altogether\n"));
    assert_eq!(terminal.end().await.code(), Some(1));
    terminal.until_shown("the passwords differ").await;
    assert_eq!(database.count("select count(*) from users").await, 0);
}

#[tokio::test]
async fn who_interrupts_gets_the_terminal_back_as_it_was() {
    let database = TestDatabase::create().await;
    let mut terminal = Terminal::open(&database);
    terminal.until_shown("New password (12 characters or more): ").await;
    kill_process(Pid::from_child(&terminal.child), Signal::INT).unwrap();
    assert!(!terminal.end().await.success());
    assert!(terminal.echoes());
}
