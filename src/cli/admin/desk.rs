//! What every admin command needs: the configuration, the database, and a place to print.

use uuid::Uuid;

use crate::{
    actors::{
        accounts::Tools,
        hashers::{Hashers, Settings},
    },
    cli::{
        Failure, Outcome, Output,
        database::{self, Absent, Database},
    },
    config::Config,
    db::{self, Limits, Pool, PooledConnection, migrate},
    domain::{Cursor, Error, Limit, Login, Result, User, UserId},
    telemetry,
};

/// Connections that one command needs.
const CONNECTIONS: u32 = 2;

/// What every admin command needs.
pub(super) struct Desk {
    config: Config,
    pool: Pool,
    /// Where results go.
    pub(super) output: Output,
}

/// Opens the database, and the embedded one with its tables when that is it, does `work`, and closes it again.
pub(super) fn run(config: Config, output: Output, work: impl AsyncFnOnce(&Desk) -> Outcome) -> Outcome {
    telemetry::init(&config.telemetry).map_err(|error| Failure::Failed(error.to_string()))?;
    let settings = config.database.clone();
    database::with(&settings, Absent::Refuse, async move |database| {
        let desk = Desk::open(config, output, database).await?;
        work(&desk).await
    })
}

impl Desk {
    async fn open(config: Config, output: Output, database: &Database) -> Outcome<Self> {
        let limits =
            Limits { max_connections: CONNECTIONS, min_connections: 0, ..database::limits(&config.database) };
        let pool = db::connect(&database.target, limits).await?;
        if config.database.auto_migrate() {
            migrate::run(&database.direct).await?;
        } else if !migrate::pending(&database.direct).await?.is_empty() {
            return Err(Failure::Failed("migrations are pending; run `starter migrate run` first".into()));
        }
        Ok(Self { config, pool, output })
    }

    /// A connection.
    pub(super) async fn connection(&self) -> Outcome<PooledConnection<'_>> {
        Ok(self.pool.get().await?)
    }

    /// Returns the bytes that a payload may have.
    pub(super) fn payload_limit(&self) -> usize {
        self.config.worker.payload_limit_bytes
    }

    /// What the stories about accounts need, with a thread that hashes.
    pub(super) fn tools(&self) -> Outcome<Tools> {
        let settings = Settings { threads: 1, ..Settings::from(&self.config.auth) };
        Ok(Tools::new(self.pool.clone(), Hashers::start(settings)?, &self.config.auth))
    }

    /// How many characters a password has at least.
    pub(super) fn shortest_password(&self) -> usize {
        self.config.auth.password_min_length
    }

    /// The user of this name, address or id.
    pub(super) async fn user(&self, reference: &str) -> Outcome<User> {
        let mut connection = self.connection().await?;
        let found = match Uuid::try_parse(reference) {
            Ok(id) => match db::users::find(&mut connection, UserId(id)).await {
                Ok(user) => Some(user),
                Err(Error::NotFound) => None,
                Err(error) => return Err(error.into()),
            },
            Err(_) => {
                let account = db::users::by_login(&mut connection, &Login::parse(reference)).await?;
                account.map(|account| account.user)
            }
        };
        found.ok_or_else(|| Failure::Failed(format!("there is no user {reference}")))
    }
}

/// Up to `at_most` items of a list that comes page by page.
pub(super) async fn up_to<T>(
    at_most: usize,
    key: impl Fn(&T) -> Cursor,
    mut page: impl AsyncFnMut(Option<Cursor>, Limit) -> Result<Vec<T>>,
) -> Outcome<Vec<T>> {
    let limit = Limit::parse(Some("100"))?;
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let mut next = page(after, limit).await?;
        let more = next.len() > limit.get();
        next.truncate(limit.get());
        after = next.last().map(&key);
        items.extend(next);
        if !more || items.len() >= at_most {
            items.truncate(at_most);
            return Ok(items);
        }
    }
}

/// A point in time in a table.
pub(super) fn time(at: chrono::DateTime<chrono::Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A point in time, or none, in a table.
pub(super) fn maybe(at: Option<chrono::DateTime<chrono::Utc>>) -> String {
    at.map(time).unwrap_or_default()
}

/// What is shown of a value that may be absent.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
