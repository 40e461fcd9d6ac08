//! `starter admin api-key`.

use clap::Subcommand;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::desk::{Desk, maybe, time, up_to};
use crate::{
    actors::api_keys::{ShownOnce, acts},
    cli::{Failure, Outcome, Table},
    db,
    domain::{
        ApiKey, ApiKeyId, Cursor, Error, Permissions, Reach,
        api_key::{KeyName, parse_expiry, parse_grace},
        audit::Actor,
        issued_key::NewKey,
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key; it is shown this once
    Create {
        /// Its owner: username, e-mail address or id
        user: String,
        /// What it is called
        #[arg(long)]
        name: String,
        /// What it may do, such as tasks:read,tasks:write; never more than its owner
        #[arg(long, value_delimiter = ',', value_name = "PERMISSIONS")]
        permissions: Vec<String>,
        /// When it ends, such as 2030-01-31T12:00:00Z; never without this
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
    },
    /// List keys, newest first
    List {
        /// Only of this user: username, e-mail address or id
        user: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show one key, without its secret
    Show {
        /// Its id
        key: Uuid,
    },
    /// End a key for good
    Revoke {
        /// Its id
        key: Uuid,
    },
    /// Give a key a new secret, shown this once
    Rotate {
        /// Its id
        key: Uuid,
        /// How long the old secret lives on
        #[arg(long, default_value_t = 0, value_name = "SECONDS")]
        grace_secs: i64,
    },
}

/// A key with its secret.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    kept: &'a ApiKey,
    key: &'a str,
}

pub(super) async fn run(command: Command, desk: &Desk) -> Outcome {
    match command {
        Command::Create { user, name, permissions, expires_at } => {
            create(desk, &user, &name, &permissions, expires_at.as_deref()).await
        }
        Command::List { user, limit } => list(desk, user.as_deref(), limit).await,
        Command::Show { key } => {
            let mut connection = desk.connection().await?;
            let key =
                db::api_keys::find(&mut connection, ApiKeyId(key), Reach::All).await.map_err(missing)?;
            desk.output.data(&key, |key| table(std::slice::from_ref(key)))
        }
        Command::Revoke { key } => {
            let mut connection = desk.connection().await?;
            acts::revoke(&mut connection, &Actor::cli(), ApiKeyId(key), Reach::All).await.map_err(missing)?;
            desk.output.data_or_text(&json!({ "revoked": key }), |_| format!("revoked {key}"))
        }
        Command::Rotate { key, grace_secs } => {
            let grace = parse_grace(grace_secs).map_err(|violation| Error::Invalid(vec![violation]))?;
            let mut connection = desk.connection().await?;
            let which = (ApiKeyId(key), Reach::All);
            show_once(
                desk,
                &acts::rotate(&mut connection, &Actor::cli(), which, grace).await.map_err(missing)?,
            )
        }
    }
}

fn missing(error: Error) -> Failure {
    match error {
        Error::NotFound => Failure::Failed("there is no such key".into()),
        error => error.into(),
    }
}

async fn create(
    desk: &Desk,
    user: &str,
    name: &str,
    permissions: &[String],
    expires_at: Option<&str>,
) -> Outcome {
    let owner = desk.user(user).await?;
    let invalid = |violation| Error::Invalid(vec![violation]);
    let new = NewKey {
        name: KeyName::parse(name).map_err(invalid)?,
        permissions: match Permissions::request(permissions, owner.role) {
            Err(Error::Forbidden) => {
                return Err(Failure::Failed("a key may do no more than the role of its owner".into()));
            }
            permissions => permissions?,
        },
        expires_at: expires_at.map(parse_expiry).transpose().map_err(invalid)?,
    };
    let mut connection = desk.connection().await?;
    match acts::issue(&mut connection, &Actor::cli(), owner.id, &new).await {
        Err(Error::Unauthenticated { .. }) => Err(Failure::Failed("the owner is not active".into())),
        made => show_once(desk, &made?),
    }
}

fn show_once(desk: &Desk, made: &ShownOnce) -> Outcome {
    let shown = Shown { kept: &made.key, key: made.secret.expose() };
    desk.output.data_or_text(&shown, |shown| {
        let table = table(std::slice::from_ref(shown.kept));
        format!("{table}\nThe key, shown this once:\n{}", shown.key)
    })
}

async fn list(desk: &Desk, user: Option<&str>, limit: usize) -> Outcome {
    let reach = match user {
        Some(user) => Reach::Own(desk.user(user).await?.id),
        None => Reach::All,
    };
    let mut connection = desk.connection().await?;
    let key = |key: &ApiKey| Cursor { at: None, id: key.id.0 };
    let page = async |after, limit| db::api_keys::list(&mut connection, reach, after, limit).await;
    let keys = up_to(limit, key, page).await?;
    desk.output.data(&keys, |keys| table(keys))
}

fn table(keys: &[ApiKey]) -> Table {
    let headings =
        ["id", "name", "prefix", "permissions", "owner", "created", "expires", "last used", "revoked"];
    Table::new(headings).rows(keys, |key| {
        let permissions: Vec<String> =
            key.permissions.iter().map(|permission| permission.to_string()).collect();
        [
            key.id.to_string(),
            key.name.as_str().to_owned(),
            key.key_prefix.as_str().to_owned(),
            permissions.join(","),
            key.created_by.to_string(),
            time(key.created_at),
            maybe(key.expires_at),
            maybe(key.last_used_at),
            maybe(key.revoked_at),
        ]
    })
}
