//! How a worker works.

use std::time::Duration;

use crate::config;

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
