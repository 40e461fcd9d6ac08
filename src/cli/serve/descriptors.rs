//! File descriptors: every connection is one, and shells and service managers hand out 1,024 by default. A server that
//! runs out of them cannot accept, nor reach its database.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Beside connections to clients and to the database: listeners, event queues, files of tasks, the log.
const OTHERS: u64 = 128;
/// With fewer connections than this a server is soon full.
const FEW: u64 = 1_000;

/// Raises this process's limit as far as it may, and tells how many connections each HTTP thread can have for it: the rest
/// waits to be accepted.
pub(super) fn connections(config: &Config) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let Some(limit) = raised.map_or(current, |()| maximum) else { return usize::MAX };
    // Pools, and what listens.
    let database = u64::from(config.database.max_connections) * 2;
    let clients = limit.saturating_sub(OTHERS + database).max(1);
    if clients < FEW {
        log::warn!(clients, limit; "few connections at once: the limit of open files (ulimit -Hn) is low");
    }
    usize::try_from(clients).unwrap_or(usize::MAX) / config.server.workers.max(1)
}
