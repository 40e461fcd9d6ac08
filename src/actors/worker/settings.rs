//! How a worker works.

use std::time::Duration;

use crate::{config, domain::queue::SERVICE_QUEUE};

/// How a worker works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Attempts at once.
    pub concurrency: usize,
    /// Where tasks are taken from.
    pub queues: Vec<String>,
    /// How often to look without being woken.
    pub poll: Duration,
    /// How long tasks stay this worker's without a sign of life from it.
    pub lease: Duration,
}

impl Settings {
    /// The queues that tasks are taken from, and the service's own.
    pub(super) fn served(&self) -> Vec<String> {
        let others = self.users_queues().cloned();
        others.chain([SERVICE_QUEUE.to_owned()]).collect()
    }

    /// The queues without the service's own, which is served in another way.
    pub(super) fn users_queues(&self) -> impl ExactSizeIterator<Item = &String> + Clone {
        let queues: Vec<&String> = self.queues.iter().filter(|name| *name != SERVICE_QUEUE).collect();
        queues.into_iter()
    }
}

impl From<&config::Worker> for Settings {
    fn from(config: &config::Worker) -> Self {
        Self {
            concurrency: config.concurrency,
            queues: config.queues.clone(),
            poll: Duration::from_millis(config.poll_interval_ms),
            lease: Duration::from_secs(config.lease_secs),
        }
    }
}
