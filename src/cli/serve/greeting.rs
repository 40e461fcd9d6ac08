//! What somebody who starts it by hand wants to know.

use std::io::Write as _;

use secrecy::ExposeSecret as _;

use super::Mode;
use crate::{actors::accounts::FirstAdmin, config::Config};

/// Says where it is, who may log in, and what to try. On standard output: it is the result of the command, and the
/// password of the first admin must not be in any log.
pub(super) fn print(mode: Mode, config: &Config, port: Option<u16>, first_admin: Option<&FirstAdmin>) {
    let Some(port) = port.filter(|_| mode == Mode::Standalone) else { return };
    let text = text(&config.server.public_url(port), first_admin);
    // Whoever closed standard output does not want to know.
    let _closed = std::io::stdout().lock().write_all(text.as_bytes());
}

fn text(url: &str, first_admin: Option<&FirstAdmin>) -> String {
    let mut text = format!(
        "\nstarter is up at {url}\n\n  documentation  {url}/api-docs\n  health         {url}/health\n"
    );
    let (login, password) = match first_admin {
        Some(FirstAdmin { user, password: Some(password) }) => {
            text += "\nThe first admin was made. This password is shown once; keep it:\n\n";
            text += &format!(
                "  login          {}\n  password       {}\n",
                user.username,
                password.expose_secret()
            );
            (user.username.as_str(), password.expose_secret())
        }
        Some(FirstAdmin { user, password: None }) => (user.username.as_str(), "…"),
        None => ("admin", "…"),
    };
    text += "\nTry:\n\n";
    text += &format!(
        "  curl -s {url}/api/v1/auth/login -H 'Content-Type: application/json' -d '{{\"login\":\"{login}\",\"password\":\"{password}\"}}'\n\n\
         Ctrl-C stops it.\n\n"
    );
    text
}
