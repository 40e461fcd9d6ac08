//! `starter admin user`.

use clap::Subcommand;
use serde_json::json;

use super::desk::{Desk, maybe, time, up_to};
use super::prompt::{confirm, new_password};
use crate::{
    actors::accounts::{NewUser, users},
    cli::{Failure, Outcome, Table},
    db,
    domain::{
        Cursor, Email, Error, Role, User, Username,
        account::{Changes, Draft, UserFilter},
        audit::Actor,
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a user; the password is asked for
    Create {
        /// 3 to 32 letters, digits, '_' or '-'
        #[arg(long)]
        username: String,
        /// E-mail address
        #[arg(long)]
        email: String,
        /// admin or user
        #[arg(long, default_value = "user", value_parser = role)]
        role: Role,
        /// Take the first line of standard input for the password
        #[arg(long)]
        password_stdin: bool,
    },
    /// List users, newest first
    List {
        /// Only admins, or only users
        #[arg(long, value_parser = role)]
        role: Option<Role>,
        /// Only those who are active (true), or are not (false)
        #[arg(long)]
        active: Option<bool>,
        /// Only those with this text in their name or e-mail address
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show one user
    Show {
        /// Username, e-mail address or id
        user: String,
    },
    /// Make a user an admin, or an admin a user
    SetRole {
        /// Username, e-mail address or id
        user: String,
        /// admin or user
        #[arg(value_parser = role)]
        role: Role,
    },
    /// Let a user in again
    Activate {
        /// Username, e-mail address or id
        user: String,
    },
    /// Deactivate a user: their sessions end, their API keys stop
    Deactivate {
        /// Username, e-mail address or id
        user: String,
    },
    /// Set another password for a user, which is asked for; their sessions end
    SetPassword {
        /// Username, e-mail address or id
        user: String,
        /// Take the first line of standard input for the password
        #[arg(long)]
        password_stdin: bool,
    },
    /// Delete a user with all sessions and API keys
    Delete {
        /// Username, e-mail address or id
        user: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

fn role(text: &str) -> Result<Role, String> {
    text.parse().map_err(|_| "either admin or user".to_owned())
}

pub(super) async fn run(command: Command, desk: &Desk) -> Outcome {
    match command {
        Command::Create { username, email, role, password_stdin } => {
            check(&username, &email)?;
            let password = new_password(password_stdin, desk.shortest_password()).await?;
            let draft = Draft { username, email, password, role: Some(role.to_string()) };
            // Whoever works on the database knows whose address it is.
            let new = NewUser { draft, is_active: true, email_verified: true };
            let created = users::create(&desk.tools()?, &Actor::cli(), new).await;
            print(desk, &created.map_err(in_terms_of_flags)?)
        }
        Command::List { role, active, search, limit } => {
            let filter = UserFilter { role, is_active: active, text: search };
            list(desk, &filter, limit).await
        }
        Command::Show { user } => print(desk, &desk.user(&user).await?),
        Command::SetRole { user, role } => {
            change(desk, &user, Changes { role: Some(role), ..Changes::default() }).await
        }
        Command::Activate { user } => {
            change(desk, &user, Changes { is_active: Some(true), ..Changes::default() }).await
        }
        Command::Deactivate { user } => {
            change(desk, &user, Changes { is_active: Some(false), ..Changes::default() }).await
        }
        Command::SetPassword { user, password_stdin } => {
            let user = desk.user(&user).await?;
            let password = new_password(password_stdin, desk.shortest_password()).await?;
            let set = users::set_password(&desk.tools()?, &Actor::cli(), user.id, &password).await;
            set.map_err(in_terms_of_flags)?;
            print(desk, &user)
        }
        Command::Delete { user, yes } => delete(desk, &user, yes).await,
    }
}

/// Judges what was typed already before a password is asked for.
fn check(username: &str, email: &str) -> Outcome {
    let wrong: Vec<_> =
        [Username::parse(username).err(), Email::parse(email).err()].into_iter().flatten().collect();
    if wrong.is_empty() { Ok(()) } else { Err(in_terms_of_flags(Error::Invalid(wrong))) }
}

/// A line for each value that breaks a rule, by the flag that it came with.
fn in_terms_of_flags(error: Error) -> Failure {
    let Error::Invalid(violations) = error else { return error.into() };
    let lines = violations.iter().map(|violation| match violation.field.trim_start_matches('/') {
        field @ ("username" | "email" | "role") => format!("--{field}: {}", violation.message),
        _ => format!("the password: {}", violation.message),
    });
    Failure::Usage(lines.collect::<Vec<_>>().join("\n"))
}

async fn list(desk: &Desk, filter: &UserFilter, limit: usize) -> Outcome {
    let mut connection = desk.connection().await?;
    let key = |user: &User| Cursor { at: Some(user.created_at), id: user.id.0 };
    let page = async |after, limit| db::users::page(&mut connection, filter, after, limit).await;
    let users = up_to(limit, key, page).await?;
    desk.output.data(&users, |users| table(users))
}

async fn change(desk: &Desk, user: &str, changes: Changes) -> Outcome {
    let id = desk.user(user).await?.id;
    let mut connection = desk.connection().await?;
    print(desk, &users::change(&mut connection, &Actor::cli(), id, changes).await?)
}

async fn delete(desk: &Desk, user: &str, yes: bool) -> Outcome {
    let user = desk.user(user).await?;
    let question = format!("Delete {} ({}) with all sessions and API keys?", user.username, user.email);
    confirm(&question, yes).await?;
    users::delete(&mut *desk.connection().await?, &Actor::cli(), user.id).await?;
    desk.output.data_or_text(&json!({ "deleted": user.id }), |_| format!("deleted {}", user.username))
}

fn print(desk: &Desk, user: &User) -> Outcome {
    desk.output.data(user, |user| table(std::slice::from_ref(user)))
}

fn table(users: &[User]) -> Table {
    let headings = ["id", "username", "email", "role", "active", "verified", "created", "last login"];
    Table::new(headings).rows(users, |user| {
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        [
            user.id.to_string(),
            user.username.to_string(),
            user.email.to_string(),
            user.role.to_string(),
            yes(user.is_active),
            yes(user.email_verified),
            time(user.created_at),
            maybe(user.last_login_at),
        ]
    })
}
