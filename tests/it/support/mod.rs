//! What the tests share.

pub(crate) mod db;
pub(crate) mod office;
pub(crate) mod people;
pub(crate) mod proxy;
pub(crate) mod queue;
pub(crate) mod site;
pub(crate) mod stores;

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::{Instant, sleep};

/// Waits until `condition` holds; panics when it does not within `deadline`. For everything that happens in its
/// own time: never sleep in a test.
pub(crate) async fn eventually(deadline: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !condition().await {
        assert!(Instant::now() < end, "still not so after {deadline:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Raises this process's soft limit of open files to the hard one. With `cargo test` one process holds the connections of
/// all tests, and shells start it with 1,024.
pub(crate) fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the hard limit one may");
}
