//! The accounts of one process, with hashing at little cost.

use std::{sync::Arc, time::Duration};

use starter::{
    actors::{
        accounts::{Accounts, Tools},
        hashers::Hashers,
        live::{Live, Reach},
        threads::Thread,
    },
    config::Config,
    db::{self, Limits},
};
use tokio::{runtime::Runtime, sync::Notify};

use super::{db::TestDatabase, stores::Stores};

/// Configured by `pairs`.
pub(crate) async fn accounts(
    database: &TestDatabase,
    stores: &Stores,
    pairs: &[(&str, &str)],
) -> Live<Accounts> {
    let cheap = [("STARTER__AUTH__ARGON2_MEMORY_KIB", "64"), ("STARTER__AUTH__ARGON2_ITERATIONS", "1")];
    let config = Config::from_pairs(cheap.iter().chain(pairs).copied()).unwrap();
    let runtime = Arc::new(Runtime::new().unwrap());
    // Not to be dropped within an asynchronous test.
    std::mem::forget(Arc::clone(&runtime));
    let target = database.target();
    let dial = async move { db::connect(&target, Limits::default()).await.unwrap() };
    let pool = runtime.spawn(dial).await.unwrap();
    let hashers = Hashers::start((&config.auth).into()).unwrap();
    let tools = Arc::new(Tools::new(pool, hashers, &config.auth));
    let accounts = Accounts::new(tools, stores.sessions.clone(), stores.revoker.clone());
    let (thread, alarm) = (Thread::start("accounts", &runtime), Arc::new(Notify::new()));
    let reach = Reach { name: "Accounts", capacity: 4_096, patience: Duration::from_secs(60) };
    Live::start(reach, &thread, &alarm, move || accounts.clone())
}
