//! What somebody who starts it by hand wants to know.

use std::io::Write as _;

use secrecy::ExposeSecret as _;

use super::{Mode, foundation::Foundation};
use crate::{
    actors::accounts::FirstAdmin,
    config::{Config, MailUrl},
};

/// Makes the first admin, typed by hand.
pub(super) const MAKE_AN_ADMIN: &str =
    "starter admin user create --role admin --username NAME --email ADDRESS";

/// Says where it is, what it uses, who may log in, and what to try. On standard output: it is the result of the command,
/// and the password of the first admin must not be in any log.
pub(super) fn print(mode: Mode, config: &Config, port: Option<u16>, foundation: &Foundation) {
    let Some(port) = port.filter(|_| mode == Mode::Standalone) else { return };
    let Foundation { first_admin, has_admin, .. } = foundation;
    let rows = [("database", foundation.database_place(config)), ("mail", mail(config))];
    say(&text(&config.server.public_url(port), &rows, first_admin.as_ref(), *has_admin));
}

/// Says where it is, and what it waits for.
pub(super) fn not_ready(mode: Mode, config: &Config, port: Option<u16>, pending: usize) {
    let Some(port) = port.filter(|_| mode == Mode::Standalone) else { return };
    let url = config.server.public_url(port);
    let migrations = if pending == 1 { "1 migration is" } else { &format!("{pending} migrations are") };
    say(&format!(
        "\nstarter listens at {url}, and is not ready: {migrations} pending; run: starter migrate run\n\n"
    ));
}

fn say(text: &str) {
    // Whoever closed standard output does not want to know.
    let _closed = std::io::stdout().lock().write_all(text.as_bytes());
}

fn mail(config: &Config) -> String {
    match &config.mail.url {
        MailUrl::File(directory) => {
            format!("{} (files; STARTER__MAIL__URL=smtp://… sends them)", directory.display())
        }
        MailUrl::Smtp(server) => format!("{}:{}", server.host, server.port),
    }
}

fn text(url: &str, rows: &[(&str, String)], first_admin: Option<&FirstAdmin>, has_admin: bool) -> String {
    let mut text = format!("\nstarter is up at {url}\n\n");
    let fixed = [("documentation", format!("{url}/api-docs")), ("health", format!("{url}/health"))];
    let port = [("another port", "--port N, or STARTER__SERVER__PORT".to_owned())];
    for (name, value) in fixed.iter().chain(rows).chain(&port) {
        text += &format!("  {name:<13}  {value}\n");
    }

    match first_admin {
        Some(FirstAdmin { user, password: Some(password) }) => {
            let (login, password) = (&user.username, password.expose_secret());
            text += "\nThe first admin was made. This password is shown once; keep it:\n\n";
            text += &format!("  {:<13}  {login}\n  {:<13}  {password}\n\nTry:\n\n", "login", "password");
            text += &format!(
                "  curl -sw '\\n' {url}/api/v1/auth/login -H 'Content-Type: application/json' \
                 -d '{{\"login\":\"{login}\",\"password\":\"{password}\"}}'\n"
            );
        }
        None if !has_admin => text += &format!("\nThere is no admin yet; make one: {MAKE_AN_ADMIN}\n"),
        // A command with a password in it could only be wrong.
        _ => text += "\nPassword of an admin lost? starter admin user set-password NAME\n",
    }
    text += "\nCtrl-C stops it.\n\n";
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_admin_the_greeting_says_how_to_make_one_and_shows_no_password() {
        let none = text("http://x", &[], None, false);
        assert!(none.contains(MAKE_AN_ADMIN) && !none.contains("curl"), "{none}");
        let some = text("http://x", &[("database", "here".to_owned())], None, true);
        assert!(some.contains("set-password") && !some.contains("curl"), "{some}");
        assert!(some.contains("  database       here\n"), "{some}");
    }
}
