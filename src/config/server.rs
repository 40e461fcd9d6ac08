//! `STARTER__SERVER__*`: the HTTP listener.

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use url::Url;

use super::{
    cores,
    problem::Problems,
    section::{Check, section},
    value::PublicUrl,
};

section! {
    /// The HTTP listener and its bounds.
    pub struct Server("SERVER") {
        /// Address to listen on: an IP address or a name that resolves to one.
        /// `0.0.0.0` or `::` makes the service reachable from other machines.
        pub host: String = "127.0.0.1".to_owned(),

        /// Port to listen on; 0 picks a free one, which is logged and written to PORT_FILE.
        pub port: u16 = 3000,

        /// File that the chosen port is written to once the listener is up.
        /// For scripts and tests that use port 0.
        pub port_file: Option<PathBuf> = None,

        /// HTTP threads.
        /// More than there are cores costs memory and switches; fewer leaves cores idle.
        pub workers: usize = cores() => 1..=1024,

        /// Where people reach the service: the links in e-mails begin with it. By default `http://HOST:PORT`.
        /// With `https`, answers carry `Strict-Transport-Security`. Wrong, and every link in a mail is dead.
        pub public_url: Option<PublicUrl> = None,

        /// Networks (CIDR, comma-separated) of the proxies whose `Forwarded` and `X-Forwarded-For` are believed.
        /// Too wide, and clients choose their own address, and with it their rate limit; too narrow, and
        /// all clients behind a proxy share one.
        pub trusted_proxies: Vec<IpNet> = Vec::new(),

        /// Origins (comma-separated, exact) that browsers may call the API from.
        pub cors_origins: Vec<String> = Vec::new(),

        /// Largest body of a request, bytes; larger ones get 413.
        /// Too big, and a few clients fill the memory; too small, and batches of tasks are refused.
        pub body_limit_bytes: usize = 262_144 => 1_024..=1_073_741_824,

        /// Event streams at once in this process; more get 429 `quota_exceeded`.
        /// Each holds a connection and some 100 KB at most.
        pub max_streams: usize = 1_000 => 1..=100_000,

        /// Event streams at once of one user in this process; more get 429 `quota_exceeded`.
        pub max_streams_per_user: usize = 10 => 1..=100_000,

        /// Longest time for a whole request, seconds; 503 after it.
        /// Shorter than the statement time-out of the database, and slow answers are thrown away.
        pub request_timeout_secs: u64 = 30 => 1..=3_600,

        /// Grace for requests and tasks under way when the process is told to stop, seconds.
        /// Too short, and they are cut off (tasks are run again); longer than the supervisor's own
        /// patience, and it kills the process all the same.
        pub shutdown_timeout_secs: u64 = 30 => 0..=3_600,
    }
}

impl Server {
    /// The prefix of every link: PUBLIC_URL, or made of HOST and the port that is really listened on.
    pub fn public_url(&self, port: u16) -> String {
        match &self.public_url {
            Some(url) => url.as_str().to_owned(),
            None if self.host.contains(':') => format!("http://[{}]:{port}", self.host),
            None => format!("http://{}:{port}", self.host),
        }
    }

    /// Whether people reach the service over TLS.
    pub fn is_https(&self) -> bool {
        self.public_url.as_ref().is_some_and(|url| url.as_str().starts_with("https:"))
    }
}

/// An origin exactly as browsers write it (RFC 6454 section 6.2), or it would never compare equal.
fn is_origin(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
    })
}

impl Check for Server {
    fn check(&self, problems: &mut Problems<'_>) {
        const ORIGINS: &str = "STARTER__SERVER__CORS_ORIGINS";
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if self.host.parse::<IpAddr>().is_err() && !self.host.chars().all(is_name) {
            problems.add(
                "STARTER__SERVER__HOST",
                "neither an IP address nor a host name",
                "such as 127.0.0.1, ::1 or localhost, without scheme and port",
            );
        }
        if self.cors_origins.iter().any(|origin| origin == "*") {
            problems.add(
                ORIGINS,
                "* is refused, as requests carry credentials",
                "exact origins separated by commas, such as https://app.example.org",
            );
        } else if !self.cors_origins.iter().all(|origin| is_origin(origin)) {
            problems.add(
                ORIGINS,
                "not an origin as browsers send it",
                "scheme://host[:port] in lower case, without a path or a default port, separated by commas",
            );
        }
    }
}
