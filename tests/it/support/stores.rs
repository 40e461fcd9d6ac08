//! The stores of credentials, started as a process starts them; several on one database, as several processes have
//! them.

use std::{net::IpAddr, sync::Arc, time::Duration};

use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;
use starter::{
    actors::{
        api_keys::{ApiKeyVerifier, ApiKeys, VerifyKey},
        change_feed::{ChangeFeed, Feed, TASKS},
        live::{Live, Reach},
        memory::Memory,
        revocation::Revoker,
        sessions::{NewSession, OpenSession, ResolveSession, SessionStore, Sessions},
        threads::Thread,
    },
    db::{self, Limits, Target, sessions::Lifetime},
    domain::{Caller, Origin, PasswordHash, Result, UserId, api_key::ApiKeySecret, token::SessionToken},
};
use tokio::{runtime::Runtime, sync::Notify};

use super::db::TestDatabase;

/// What every user of these tests has; nobody checks it here.
pub(crate) const HASH: &str = "$argon2id$of-a-test";

/// The sessions and keys of one process.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) sessions: Live<SessionStore>,
    pub(crate) keys: Live<ApiKeyVerifier>,
    pub(crate) lookups: Sessions,
    pub(crate) change_feed: Live<ChangeFeed>,
    pub(crate) feed: Feed,
    pub(crate) memories: [Memory; 2],
    pub(crate) revoker: Revoker,
}

pub(crate) const LIFETIME: Lifetime =
    Lifetime { idle: Duration::from_secs(600), absolute: Duration::from_secs(3_600) };

impl Stores {
    pub(crate) async fn start(database: &TestDatabase) -> Self {
        Self::start_with(database, LIFETIME).await
    }

    /// A process that remembers.
    pub(crate) async fn remembering(database: &TestDatabase) -> Self {
        Self::start_as(database, LIFETIME, true, database.target()).await
    }

    pub(crate) async fn start_with(database: &TestDatabase, lifetime: Lifetime) -> Self {
        Self::start_as(database, lifetime, false, database.target()).await
    }

    pub(crate) async fn start_as(
        database: &TestDatabase,
        lifetime: Lifetime,
        remembers: bool,
        listen_at: Target,
    ) -> Self {
        Self::start_at(database.target(), lifetime, remembers, listen_at).await
    }

    /// A process whose database is at `target`.
    pub(crate) async fn start_at(
        target: Target,
        lifetime: Lifetime,
        remembers: bool,
        listen_at: Target,
    ) -> Self {
        let runtime = Arc::new(Runtime::new().unwrap());
        // Not to be dropped within an asynchronous test.
        std::mem::forget(Arc::clone(&runtime));
        let limits =
            Limits { max_connections: 4, connect_timeout: Duration::from_secs(30), ..Limits::default() };
        let dial = async move { db::connect(&target, limits).await.unwrap() };
        let pool = runtime.spawn(dial).await.unwrap();
        let (thread, alarm) = (Thread::start("test", &runtime), Arc::new(Notify::new()));
        let memories =
            if remembers { [Memory::new(), Memory::new()] } else { [Memory::none(), Memory::none()] };
        let feed = Feed::new(listen_at, pool.clone(), memories.clone(), &[TASKS]);
        let revoker = Revoker::new(feed.clone());
        let [of_sessions, of_keys] = memories.clone();
        let sessions = Sessions::new(pool.clone(), pool.clone(), lifetime, of_sessions, revoker.clone());
        let keys = ApiKeys::new(pool.clone(), pool, of_keys, revoker.clone());
        let reach = |name| Reach { name, capacity: 4_096, patience: Duration::from_secs(60) };
        Self {
            lookups: sessions.clone(),
            change_feed: Live::start(reach("ChangeFeed"), &thread, &alarm, {
                let feed = feed.clone();
                move || ChangeFeed::new(feed.clone())
            }),
            feed,
            memories,
            revoker: revoker.clone(),
            sessions: Live::start(reach("SessionStore"), &thread, &alarm, move || {
                SessionStore::new(sessions.clone())
            }),
            keys: Live::start(reach("ApiKeyVerifier"), &thread, &alarm, move || {
                ApiKeyVerifier::new(keys.clone())
            }),
        }
    }

    pub(crate) async fn open(&self, user: UserId) -> NewSession {
        self.sessions.ask(opening(user)).await.unwrap()
    }

    pub(crate) async fn resolve(&self, token: &SessionToken) -> Result<Arc<Caller>> {
        self.sessions.ask(ResolveSession { hash: token.hash() }).await
    }

    pub(crate) async fn verify(&self, key: &ApiKeySecret) -> Result<Arc<Caller>> {
        self.keys.ask(VerifyKey { hash: key.hash() }).await
    }
}

pub(crate) fn opening(user: UserId) -> OpenSession {
    OpenSession { user, auth_version: 0, verified: PasswordHash::new(HASH), origin: origin() }
}

pub(crate) fn origin() -> Origin {
    Origin {
        ip_address: Some(IpAddr::from([192, 0, 2, 7])),
        user_agent: Some("test/1.0".into()),
        request_id: Some("a-request".into()),
    }
}

impl TestDatabase {
    /// Somebody with the password hash [`HASH`].
    pub(crate) async fn user(&self, name: &str) -> UserId {
        self.user_with_role(name, "user").await
    }

    pub(crate) async fn user_with_role(&self, name: &str, role: &str) -> UserId {
        let id = UserId::new();
        self.sql(&format!(
            "insert into users (id, username, username_canon, email, email_canon, password_hash, role) values \
             ('{id}', '{name}', '{name}', '{name}@example.com', '{name}@example.com', '{HASH}', '{role}')"
        ))
        .await;
        id
    }

    /// All that is in a table, as text.
    pub(crate) async fn dump(&self, table: &str) -> String {
        #[derive(diesel::QueryableByName)]
        struct Dumped {
            #[diesel(sql_type = Text)]
            text: String,
        }
        let mut connection = self.connection().await;
        let query = format!("select coalesce(string_agg(t::text, '\n'), '') as text from {table} t");
        let dumped: Dumped = diesel::sql_query(query).get_result(&mut connection).await.unwrap();
        dumped.text
    }

    /// What `select …` counts.
    pub(crate) async fn count(&self, select: &str) -> i64 {
        #[derive(diesel::QueryableByName)]
        struct Counted {
            #[diesel(sql_type = BigInt)]
            count: i64,
        }
        let mut connection = self.connection().await;
        let counted: Counted = diesel::sql_query(format!("select ({select})::int8 as count"))
            .get_result(&mut connection)
            .await
            .unwrap();
        counted.count
    }
}
