//! Asking the person at the terminal. Passwords are never arguments: others could read them in the list of processes.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::{ExposeSecret as _, SecretString};

use crate::cli::{Failure, Outcome};

/// Far longer than any password that is taken.
const MAX_BYTES: u64 = 8_192;

/// A new password: the first line of standard input, or what is typed twice at the prompt.
pub(super) async fn new_password(from_stdin: bool, shortest: usize) -> Outcome<SecretString> {
    if from_stdin {
        return line().await;
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage("standard input is no terminal; use --password-stdin".into()));
    }
    // Over both, and before the first prompt: people and programs type ahead.
    let _echo = Silent::begin()?;
    let first = hidden(&format!("New password ({shortest} characters or more): ")).await?;
    if first.expose_secret() != hidden("The same again: ").await?.expose_secret() {
        return Err(Failure::Failed("the passwords differ".into()));
    }
    Ok(first)
}

/// Goes on only if somebody says yes, or said so before.
pub(super) async fn confirm(question: &str, yes: bool) -> Outcome {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage("standard input is no terminal; use --yes to go on unasked".into()));
    }
    ask(&format!("{question} [y/N] "))?;
    match line().await?.expose_secret().trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::Failed("nothing was done".into())),
    }
}

/// On standard error: standard output is for results.
fn ask(question: &str) -> Outcome {
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question}").and_then(|()| stderr.flush()).map_err(unreadable)
}

async fn hidden(question: &str) -> Outcome<SecretString> {
    ask(question)?;
    let typed = line().await;
    // The line end that was typed was not shown either.
    ask("\n")?;
    typed
}

/// The next line of standard input, without its end. Waited for elsewhere, so that a signal is heard meanwhile; the one
/// who asked is dropped then, and the terminal is as it was.
async fn line() -> Outcome<SecretString> {
    tokio::task::spawn_blocking(read_line).await.map_err(|error| unreadable(error.into()))?
}

fn read_line() -> Outcome<SecretString> {
    let mut line = String::new();
    io::stdin().lock().take(MAX_BYTES).read_line(&mut line).map_err(unreadable)?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).into())
}

fn unreadable(error: io::Error) -> Failure {
    Failure::Failed(format!("cannot read from standard input: {error}"))
}

/// While it lives, the terminal does not show what is typed.
struct Silent(Termios);

impl Silent {
    fn begin() -> Outcome<Self> {
        let before = tcgetattr(io::stdin()).map_err(|error| unreadable(error.into()))?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent).map_err(|error| unreadable(error.into()))?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // Nothing is left to try when the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
