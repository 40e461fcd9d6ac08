//! The URL of a PostgreSQL database: a secret as a whole, which can be shown without its password.

use std::fmt;

use secrecy::SecretString;

use super::value::{MASK, Setting, exposed};

/// `postgres://[user[:password]@][host[:port]][,…][/name][?parameter=value&…]`, as libpq takes it
/// (PostgreSQL documentation, section 34.1.1.2).
#[derive(Clone, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct ConnectionUrl(SecretString);

/// Parameters that hold no secret. The values of all others are masked.
const HARMLESS: [&str; 15] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "load_balance_hosts",
    "port",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

impl ConnectionUrl {
    /// The URL, password and all.
    pub fn secret(&self) -> &SecretString {
        &self.0
    }

    fn masked(&self) -> String {
        // The last `@`, not the first: a password may hold one that nobody encoded. Should it be one
        // of a parameter, then too much is masked, and never too little.
        let (scheme, rest) = exposed(&self.0).split_once("://").unwrap_or_default();
        let (user, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => match credentials.split_once(':') {
                Some((user, _)) => (format!("{user}:{MASK}@"), rest),
                None => (format!("{credentials}@"), rest),
            },
            None => (String::new(), rest),
        };
        let (place, parameters) = match rest.split_once('?') {
            Some((place, parameters)) => (place, format!("?{}", masked_parameters(parameters))),
            None => (rest, String::new()),
        };
        format!("{scheme}://{user}{place}{parameters}")
    }
}

fn masked_parameters(parameters: &str) -> String {
    let masked = parameters.split('&').map(|parameter| match parameter.split_once('=') {
        Some((name, _)) if !HARMLESS.contains(&name) => format!("{name}={MASK}"),
        _ => parameter.to_owned(),
    });
    masked.collect::<Vec<_>>().join("&")
}

impl TryFrom<String> for ConnectionUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (scheme, rest) = text.split_once("://").ok_or("not a URL")?;
        if !matches!(scheme, "postgres" | "postgresql") {
            return Err("neither postgres:// nor postgresql://");
        }
        if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err("holds white space or a control character");
        }
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let hosts = authority.rsplit('@').next().unwrap_or_default();
        if authority.matches('@').count() > 1 {
            return Err("an @ in the user or the password has to be written %40");
        }
        if hosts.is_empty() && !rest.contains("host=") && !rest.contains("hostaddr=") {
            return Err("names no host");
        }
        if !hosts.split(',').all(has_good_port) {
            return Err("a port is not a number from 1 to 65535");
        }
        Ok(Self(SecretString::from(text)))
    }
}

/// Of `host`, `host:port`, `[address]` and `[address]:port`.
fn has_good_port(host: &str) -> bool {
    let after_address = host.rsplit(']').next().unwrap_or_default();
    match after_address.split_once(':') {
        Some((_, port)) => port.parse::<u16>().is_ok_and(|port| port > 0),
        None => true,
    }
}

impl fmt::Debug for ConnectionUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl Setting for ConnectionUrl {
    const SECRET: bool = true;

    fn allowed() -> String {
        "postgres://user:password@host:port/name, reserved characters percent-encoded".to_owned()
    }

    fn show(&self) -> Option<String> {
        Some(self.masked())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn no_password_of_a_url_is_shown(user in "[a-z@:/?&=]{0,6}", tail in "[a-z@/?&=.]{0,12}") {
            let text = format!("postgres://u{user}:hunter2{tail}@host/name");
            if let Ok(url) = ConnectionUrl::try_from(text.clone()) {
                prop_assert!(!format!("{url:?}").contains("hunter2"), "{text} is shown as {url:?}");
            }
        }
    }
}
