//! Accounts: the actor with real sessions, real hashing (at little cost) and a real database.

mod login;
mod mailbox;
mod password;
mod register;
mod reset;
mod users;
mod verify;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use starter::{
    actors::{
        accounts::{Accounts, Authenticate, CreateUser, NewUser, Register, Tools},
        change_feed::{ChangeFeed, Feed},
        hashers::Hashers,
        live::{Live, Reach},
        memory::Memory,
        revocation::Revoker,
        sessions::{NewSession, ResolveSession, SessionStore, Sessions},
        threads::Thread,
    },
    config::Config,
    db::{Pool, sessions::Lifetime},
    domain::{
        Caller, Error, Login, Origin, PresentedPassword, Result, Role, User,
        account::Draft,
        audit::{Actor, Entry, Filter},
        token::SessionToken,
    },
};
use tokio::{runtime::Runtime, sync::Notify};

use crate::support::db::TestDatabase;

/// A password that the policy takes.
const PASSWORD: &str = "correct horse battery stap";
/// Another.
const OTHER: &str = "another long passphrase 42";

/// Accounts and sessions of one process, on a database of their own.
struct Office {
    accounts: Live<Accounts>,
    sessions: Live<SessionStore>,
    hashers: Hashers,
    tools: Arc<Tools>,
    pool: Pool,
    _feed: Live<ChangeFeed>,
    database: TestDatabase,
}

fn config(pairs: &[(&str, &str)]) -> Config {
    let cheap = [("STARTER__AUTH__ARGON2_MEMORY_KIB", "64"), ("STARTER__AUTH__ARGON2_ITERATIONS", "1")];
    Config::from_pairs(cheap.iter().chain(pairs).copied()).unwrap()
}

/// Never dropped: a runtime must not be, within another one.
fn runtime() -> &'static Arc<Runtime> {
    static RUNTIME: OnceLock<Arc<Runtime>> = OnceLock::new();
    RUNTIME.get_or_init(|| Arc::new(Runtime::new().unwrap()))
}

fn reach(name: &'static str) -> Reach {
    Reach { name, capacity: 1_024, patience: Duration::from_secs(60) }
}

impl Office {
    async fn open() -> Self {
        Self::with(&[]).await
    }

    async fn with(pairs: &[(&str, &str)]) -> Self {
        let database = TestDatabase::create().await;
        Self::on(database, pairs).await
    }

    async fn on(database: TestDatabase, pairs: &[(&str, &str)]) -> Self {
        let config = config(pairs);
        let target = database.target();
        let dialled = runtime()
            .spawn(async move { starter::db::connect(&target, starter::db::Limits::default()).await });
        let pool = dialled.await.unwrap().unwrap();
        let hashers = Hashers::start((&config.auth).into()).unwrap();
        let tools = Arc::new(Tools::new(pool.clone(), hashers.clone(), &config.auth));
        let (thread, alarm) = (Thread::start("test", runtime()), Arc::new(Notify::new()));
        let memory = Memory::new();
        let feed = Feed::new(database.target(), pool.clone(), [memory.clone(), Memory::none()], &[]);
        let revoker = Revoker::new(feed.clone());
        let heard = Live::start(reach("ChangeFeed"), &thread, &alarm, move || ChangeFeed::new(feed.clone()));
        let lifetime = Lifetime { idle: Duration::from_secs(3_600), absolute: Duration::from_secs(36_000) };
        let store = Sessions::new(pool.clone(), pool.clone(), lifetime, memory, revoker.clone());
        let sessions =
            Live::start(reach("SessionStore"), &thread, &alarm, move || SessionStore::new(store.clone()));
        let actor = Accounts::new(Arc::clone(&tools), sessions.clone(), revoker);
        let accounts = Live::start(reach("Accounts"), &thread, &alarm, move || actor.clone());
        Self { accounts, sessions, tools, hashers, pool, _feed: heard, database }
    }

    async fn register(&self, username: &str) -> Result<User> {
        self.register_as(username, &format!("{username}@example.com")).await
    }

    async fn register_as(&self, username: &str, email: &str) -> Result<User> {
        self.accounts.ask(Register { draft: draft(username, email, PASSWORD), actor: nobody() }).await
    }

    async fn create(&self, username: &str, role: Role) -> User {
        let draft = draft(username, &format!("{username}@example.com"), PASSWORD);
        let draft = Draft { role: Some(role.to_string()), ..draft };
        let new = NewUser { draft, is_active: true, email_verified: true };
        self.accounts.ask(CreateUser { new, actor: Actor::cli() }).await.unwrap()
    }

    async fn log_in(&self, login: &str, password: &str) -> Result<NewSession> {
        self.log_in_from("192.0.2.1", login, password).await
    }

    async fn log_in_from(&self, address: &str, login: &str, password: &str) -> Result<NewSession> {
        let (login, password) = (Login::parse(login), PresentedPassword::new(&password.into()));
        self.accounts.ask(Authenticate { login, password, actor: from(address) }).await
    }

    async fn caller(&self, token: &SessionToken) -> Result<Arc<Caller>> {
        self.sessions.ask(ResolveSession { hash: token.hash() }).await
    }

    async fn is_alive(&self, token: &SessionToken) -> bool {
        match self.caller(token).await {
            Ok(_) => true,
            Err(Error::Unauthenticated { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    async fn audit(&self, action: &str) -> Vec<Entry> {
        let filter = Filter { action: Some(action.to_owned()), ..Filter::default() };
        let mut connection = self.pool.get().await.unwrap();
        starter::db::audit::page(&mut connection, &filter, None, starter::domain::Limit::default())
            .await
            .unwrap()
    }
}

fn draft(username: &str, email: &str, password: &str) -> Draft {
    Draft { username: username.to_owned(), email: email.to_owned(), password: password.into(), role: None }
}

fn nobody() -> Actor {
    from("192.0.2.1")
}

fn from(address: &str) -> Actor {
    Actor::anonymous(Origin {
        ip_address: Some(address.parse().unwrap()),
        user_agent: Some("test".into()),
        request_id: Some("req".into()),
    })
}

/// Somebody who is logged in, and what he needs to ask for things.
struct Guest {
    caller: Arc<Caller>,
    token: SessionToken,
    actor: Actor,
}

impl Office {
    async fn guest(&self, login: &str) -> Guest {
        self.guest_with(login, PASSWORD).await
    }

    async fn guest_with(&self, login: &str, password: &str) -> Guest {
        let token = self.log_in(login, password).await.unwrap().token;
        let caller = self.caller(&token).await.unwrap();
        let actor = Actor::of(&caller, nobody().origin);
        Guest { caller, token, actor }
    }
}
