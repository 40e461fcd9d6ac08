//! Where a request came from: what the audit log, the sessions and the tasks remember of it.

use std::{net::IpAddr, sync::Arc};

/// Where a request came from.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The client's address, by the trusted-proxy rule.
    pub ip_address: Option<IpAddr>,
    /// `User-Agent`, without control characters, at most 512 characters.
    pub user_agent: Option<Arc<str>>,
    /// `X-Request-Id`.
    pub request_id: Option<Arc<str>>,
}
