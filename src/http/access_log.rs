//! One line for each request, and nothing in it that a caller could forge or would not want there:
//! the pattern of the route, never the query; no credential. `telemetry` escapes what needs it.
//!
//! The path itself may hold a secret that somebody pasted there, so it is logged at `debug` only, and only where no route
//! explains the answer.

use std::time::Instant;

use actix_web::{
    dev::ServiceRequest,
    http::{Method, StatusCode, header},
};

use super::{client_ip::ClientIp, edge::RouteSlot, metrics::HttpMetrics};

/// Characters of a user agent, or of a path, that are logged.
const LOGGED_LENGTH: usize = 200;

/// A request under way.
pub(super) struct Visit {
    begun: Instant,
    method: Method,
    client: ClientIp,
    user_agent: String,
    /// Kept while debugging only.
    path: Option<String>,
    route: RouteSlot,
}

impl Visit {
    pub(super) fn begin(request: &ServiceRequest, client: ClientIp, route: RouteSlot) -> Self {
        let user_agent = request.headers().get(header::USER_AGENT);
        Self {
            begun: Instant::now(),
            method: request.method().clone(),
            client,
            user_agent: user_agent.map_or_else(String::new, |agent| shortened(agent.as_bytes())),
            path: log::log_enabled!(log::Level::Debug).then(|| shortened(request.path().as_bytes())),
            route,
        }
    }

    /// Writes the line; for health checks, which come every second or so, only when debugging.
    pub(super) fn end(self, status: StatusCode, metrics: &HttpMetrics) {
        let route = self.route.get().map_or("-", |matched| matched.pattern());
        metrics.observe(&self.method, route, status.as_u16(), self.begun.elapsed());
        let level = if route.starts_with("/health") { log::Level::Debug } else { log::Level::Info };
        log::log!(
            level,
            method:% = self.method,
            route,
            status = status.as_u16(),
            ms = milliseconds(self.begun),
            client:% = self.client.0,
            user_agent = self.user_agent.as_str();
            "request"
        );

        if let (None, Some(path)) = (self.route.get(), &self.path) {
            log::debug!(path = path.as_str(); "request matched no route");
        }
    }
}

/// Returns the time since `begun` in tenths of a millisecond.
fn milliseconds(begun: Instant) -> f64 {
    (begun.elapsed().as_secs_f64() * 10_000.0).round() / 10.0
}

fn shortened(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(LOGGED_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_agent_is_cut_and_need_not_be_text() {
        assert_eq!(shortened(b"a\xff"), "a\u{fffd}");
        assert_eq!(shortened("\u{e9}".repeat(5000).as_bytes()).chars().count(), LOGGED_LENGTH);
    }
}
