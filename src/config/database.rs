//! `STARTER__DATABASE__*`: where the data is.

use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::SecretString;

use super::{
    connection_url::ConnectionUrl,
    problem::Problems,
    section::{Check, section},
    value::{exposed, words},
};

section! {
    /// Where the data is: a URL, or its parts, or, with none of them, a private embedded cluster.
    pub struct Database("DATABASE") {
        /// PostgreSQL URL; several hosts and `target_session_attrs` are allowed. DATABASE_URL means the same.
        pub url: Option<ConnectionUrl> = None,

        /// Host of the database, instead of URL: a name, an address, or the directory of a Unix socket.
        /// `localhost` when other parts are set.
        pub host: Option<String> = None,

        /// Port of the database, instead of URL; 5432 when other parts are set.
        pub port: Option<u16> = None => 1..=65_535,

        /// Role to connect as, instead of URL; `postgres` when other parts are set.
        pub user: Option<String> = None,

        /// Password of the role, instead of URL.
        pub password: Option<SecretString> = None,

        /// Name of the database, instead of URL; that of the role when other parts are set.
        pub name: Option<String> = None,

        /// TLS to the database, instead of URL, with the words of libpq; `prefer` when other parts are set.
        pub sslmode: Option<SslMode> = None,

        /// Directory of the embedded cluster, which is used when neither URL nor a part is set.
        pub embedded_dir: PathBuf = PathBuf::from(".starter/postgres"),

        /// Direct connection for LISTEN, when URL leads through a transaction pooler. By default the same.
        pub listen_url: Option<ConnectionUrl> = None,

        /// Most connections of the pool.
        /// Too many, and PostgreSQL runs out of its own; too few, and requests wait up to 503.
        pub max_connections: u32 = 10 => 1..=10_000,

        /// Connections that are kept open when idle.
        pub min_connections: u32 = 2 => 0..=10_000,

        /// Longest wait for a connection, whether new or from the pool, seconds; 503 after it.
        pub connect_timeout_secs: u64 = 5 => 1..=300,

        /// Idle connections above MIN_CONNECTIONS are closed after this long, seconds.
        pub idle_timeout_secs: u64 = 600 => 1..=86_400,

        /// Connections are replaced at this age, seconds, so that a changed address is noticed.
        pub max_lifetime_secs: u64 = 1_800 => 1..=86_400,

        /// Longest time for one statement, seconds; 503 after it.
        /// Too long, and slow statements hold connections that others wait for.
        pub statement_timeout_secs: u64 = 10 => 1..=3_600,

        /// Run pending migrations at start, under an advisory lock. By default true for the embedded cluster, else false.
        pub auto_migrate: Option<bool> = None,
    }
}

/// What a part of a URL may hold as it is (RFC 3986 section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

words! {
    /// TLS to the database, as libpq has it.
    pub enum SslMode {
        /// Never.
        Disable = "disable",
        /// If the server offers it.
        Prefer = "prefer",
        /// Always; the certificate is not checked.
        Require = "require",
        /// Always, with a certificate from a known authority.
        VerifyCa = "verify-ca",
        /// Always, with a certificate from a known authority for this very host.
        VerifyFull = "verify-full",
    }
}

impl Database {
    /// Whether the embedded cluster is used: neither URL nor any part is set.
    pub fn embedded(&self) -> bool {
        self.url.is_none() && !self.has_parts()
    }

    /// AUTO_MIGRATE, or what suits the kind of database.
    pub fn auto_migrate(&self) -> bool {
        self.auto_migrate.unwrap_or_else(|| self.embedded())
    }

    /// MIN_CONNECTIONS, or as many of its default as MAX_CONNECTIONS allows.
    pub fn min_connections(&self) -> u32 {
        self.min_connections.min(self.max_connections)
    }

    /// The URL, or one made of the parts; `None` for the embedded cluster, which knows its own.
    pub fn connection_url(&self) -> Option<SecretString> {
        match &self.url {
            Some(url) => Some(url.secret().clone()),
            None => self.has_parts().then(|| self.joined()),
        }
    }

    /// LISTEN_URL, or else as [`Self::connection_url`].
    pub fn listen_connection_url(&self) -> Option<SecretString> {
        self.listen_url.as_ref().map_or_else(|| self.connection_url(), |url| Some(url.secret().clone()))
    }

    fn has_parts(&self) -> bool {
        self.host.is_some()
            || self.port.is_some()
            || self.user.is_some()
            || self.password.is_some()
            || self.name.is_some()
            || self.sslmode.is_some()
    }

    fn joined(&self) -> SecretString {
        let encoded = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
        let user = self.user.as_deref().unwrap_or("postgres");
        let password = self.password.as_ref().map(|password| format!(":{}", encoded(exposed(password))));
        let host = match self.host.as_deref().unwrap_or("localhost") {
            address if address.parse::<std::net::Ipv6Addr>().is_ok() => format!("[{address}]"),
            name => encoded(name),
        };
        SecretString::from(format!(
            "postgres://{}{}@{host}:{}/{}?sslmode={}",
            encoded(user),
            password.unwrap_or_default(),
            self.port.unwrap_or(5432),
            encoded(self.name.as_deref().unwrap_or(user)),
            self.sslmode.unwrap_or(SslMode::Prefer).as_str(),
        ))
    }
}

impl Check for Database {
    fn check(&self, problems: &mut Problems<'_>) {
        const URL: &str = "STARTER__DATABASE__URL";
        if self.url.is_some() && self.has_parts() {
            problems.contradiction(
                &[URL],
                "set together with HOST, PORT, USER, PASSWORD, NAME or SSLMODE",
                "either the URL or the parts",
            );
        }
        if self.listen_url.is_some() && self.embedded() {
            problems.contradiction(
                &["STARTER__DATABASE__LISTEN_URL", URL],
                "set without STARTER__DATABASE__URL",
                "only together with a URL or its parts: the embedded cluster has no pooler",
            );
        }
        let min_is_set = problems.is_set("STARTER__DATABASE__MIN_CONNECTIONS");
        if min_is_set && self.min_connections > self.max_connections {
            problems.contradiction(
                &["STARTER__DATABASE__MIN_CONNECTIONS", "STARTER__DATABASE__MAX_CONNECTIONS"],
                "more than STARTER__DATABASE__MAX_CONNECTIONS",
                "at most the connections of the pool",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use crate::config::Config;

    #[test]
    fn the_parts_of_a_database_url_are_joined_and_encoded() {
        let url = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(key, value)| (format!("STARTER__DATABASE__{key}"), *value));
            Config::from_pairs(pairs).unwrap().database.connection_url().unwrap().expose_secret().to_owned()
        };
        assert_eq!(
            url(&[
                ("HOST", "db.example"),
                ("USER", "app"),
                ("PASSWORD", "p@/s:?"),
                ("NAME", "main"),
                ("PORT", "6432"),
                ("SSLMODE", "verify-full")
            ]),
            "postgres://app:p%40%2Fs%3A%3F@db.example:6432/main?sslmode=verify-full"
        );
        assert_eq!(
            url(&[("HOST", "/run/pg")]),
            "postgres://postgres@%2Frun%2Fpg:5432/postgres?sslmode=prefer"
        );
        assert_eq!(url(&[("HOST", "::1"), ("USER", "u")]), "postgres://u@[::1]:5432/u?sslmode=prefer");
    }
}
