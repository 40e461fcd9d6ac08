//! What the edge is told by the configuration.

use std::{num::NonZeroU32, time::Duration};

use ipnet::IpNet;

use super::{json::BodyRules, metrics::HttpMetrics};
use crate::config;

/// What scheduling may add to limits that follow from one another.
const SLACK: Duration = Duration::from_secs(5);

/// How the edge behaves. The defaults are those of the contract.
#[derive(Debug, Clone)]
pub struct Settings {
    /// HTTP threads.
    pub workers: usize,
    /// Connections at once, on each thread; more wait to be accepted.
    pub max_connections: usize,
    /// The public address is https: `Strict-Transport-Security` is sent.
    pub secure: bool,
    /// Networks whose word about the client's address is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins whose pages may read answers.
    pub cors_origins: Vec<String>,
    /// What a body may be.
    pub body: BodyRules,
    /// From the end of the head to the start of the answer.
    pub request_timeout: Duration,
    /// From the connection to the end of the first head.
    pub head_timeout: Duration,
    /// Between two requests on one connection.
    pub keep_alive: Duration,
    /// How long a connection may go without a byte written to it: more than a pause and a request may
    /// take together. Whoever is silent longer, stops reading, or sends the head of a later request
    /// byte by byte, is cut off. Streams must send something more often than this.
    pub silence: Duration,
    /// Grace for requests under way at shutdown.
    pub shutdown_timeout: Duration,
    /// Requests per second and burst of one address; `None` is no limit.
    pub rate_limit: Option<(NonZeroU32, NonZeroU32)>,
    /// Requests per minute of one address on the routes that take a password; `None` is no limit.
    pub auth_per_minute: Option<NonZeroU32>,
    /// Where requests are counted.
    pub metrics: HttpMetrics,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            max_connections: 25_000,
            secure: false,
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            body: BodyRules::default(),
            request_timeout: Duration::from_secs(30),
            head_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(30),
            silence: Duration::from_secs(75),
            shutdown_timeout: Duration::from_secs(30),
            rate_limit: NonZeroU32::new(50).zip(NonZeroU32::new(100)),
            auth_per_minute: NonZeroU32::new(30),
            metrics: HttpMetrics::default(),
        }
    }
}

impl Settings {
    /// As configured.
    pub fn of(server: &config::Server, limit: &config::RateLimit) -> Self {
        let defaults = Self::default();
        let request_timeout = Duration::from_secs(server.request_timeout_secs);
        Self {
            workers: server.workers,
            secure: server.is_https(),
            trusted_proxies: server.trusted_proxies.clone(),
            cors_origins: server.cors_origins.clone(),
            body: BodyRules { limit: server.body_limit_bytes, ..defaults.body },
            request_timeout,
            silence: defaults.keep_alive + defaults.body.patience + request_timeout + SLACK,
            shutdown_timeout: Duration::from_secs(server.shutdown_timeout_secs),
            rate_limit: NonZeroU32::new(limit.per_second).zip(NonZeroU32::new(limit.burst)),
            auth_per_minute: NonZeroU32::new(limit.auth_per_minute),
            ..defaults
        }
    }
}
