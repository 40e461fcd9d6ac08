//! Where the database is, and how to open one connection to it.

use std::{fmt, future::poll_fn, time::Duration};

use diesel_async::AsyncPgConnection;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::UnixStream;
use tokio_postgres::{
    Client, Config, Connection, NoTls, Socket,
    config::{Host, SslMode, TargetSessionAttrs},
    tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{error, negotiation::Negotiator, sqlstate::Coded, tls::Tls, url::Url};
use crate::domain::{Error, Result};

/// Shown in `pg_stat_activity`, unless the URL says otherwise.
const APPLICATION: &str = "starter";
/// A transaction that its program forgot holds locks and keeps dead rows: PostgreSQL ends it.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(60);
/// A peer that vanished is noticed after this idle time and three unanswered probes.
const KEEPALIVE: Duration = Duration::from_secs(30);
const PROBE: Duration = Duration::from_secs(10);
/// Statements here are written for it: under a stricter default of the database one in eight would lose a race.
const READ_COMMITTED: &str = r"-c default_transaction_isolation=read\ committed";
/// What tokio-postgres has when the URL says nothing.
const KEEPALIVE_UNSET: Duration = Duration::from_hours(2);

/// A database to connect to, read from a PostgreSQL URL. Its `Debug` and [`Target::place`] show no password.
#[derive(Clone)]
pub struct Target {
    config: Config,
    connector: MakeRustlsConnect,
    /// The URL brought its own `options`, perhaps empty, for a pooler that takes none.
    options_given: bool,
}

/// What moves the bytes of a connection.
pub(super) type Driver = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// What holds for every statement of one connection.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    /// For the connection as a whole, handshakes included.
    pub connect_timeout: Duration,
    /// PostgreSQL cancels a statement that takes longer; `None` leaves it all the time it needs.
    pub statement_timeout: Option<Duration>,
    /// Whether statements may read whole tables where an index would do. Those of the queue take a thousand rows at once,
    /// for which PostgreSQL would read a table of some ten thousand rows from end to end.
    pub scans: bool,
}

impl Target {
    /// Reads `postgresql://user:password@host:port,host:port/name?parameter=value`, as libpq has it, with `sslmode`
    /// up to `verify-full` and `sslrootcert`.
    ///
    /// # Errors
    /// `Invalid` for what is not such a URL; `Unavailable` when the file of authorities is of no use.
    pub fn parse(url: &SecretString) -> Result<Self> {
        let refused = |message: String| Error::invalid("/database/url", "invalid_url", message);
        let url = Url::split(url.expose_secret());
        let tls = Tls::parse(url.sslmode.as_deref(), url.sslrootcert)
            .ok_or_else(|| refused("sslmode: disable, prefer, require, verify-ca or verify-full".into()))?;
        let mut config: Config = url.rest.parse().map_err(|cause| refused(told(&cause)))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(refused("names no host".into()));
        }
        if config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(name) if name.contains('@'))) {
            return Err(refused("an @ in the user or the password has to be written %40".into()));
        }
        // No TLS through a Unix socket: nobody listens there, and PostgreSQL has none.
        let local = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)))
            && config.get_hostaddrs().is_empty();
        config.ssl_mode(if local { SslMode::Disable } else { tls.mode });
        if config.get_application_name().is_none() {
            config.application_name(APPLICATION);
        }
        if config.get_keepalives_idle() == KEEPALIVE_UNSET {
            config.keepalives_idle(KEEPALIVE).keepalives_interval(PROBE).keepalives_retries(3);
        }
        // Probes are not sent while an answer to what was sent is due.
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(KEEPALIVE + 3 * PROBE);
        }
        Ok(Self { config, connector: tls.connector()?, options_given: url.options_given })
    }

    /// Whether connections of such sessions may read whole tables where an index would do: also when the URL brings options
    /// of its own, and so takes none of ours.
    pub(super) fn scans(&self, session: Session) -> bool {
        session.scans || self.options_given
    }

    /// Opens a connection. Its driver runs on the tokio runtime of the caller, for as long as it lives.
    ///
    /// # Errors
    /// `Unavailable`, with the place and never the password.
    pub async fn dial(&self, session: Session) -> Result<AsyncPgConnection> {
        self.try_dial(session).await.map_err(Refusal::into_error)
    }

    /// As [`Target::dial`], and tells whether trying again may help.
    pub(super) async fn try_dial(&self, session: Session) -> Result<AsyncPgConnection, Refusal> {
        let opened = tokio::time::timeout(session.connect_timeout, self.open(session)).await;
        let (hopeless, why) = match opened {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err((hopeless, why))) => (hopeless, why),
            Err(_) => (false, "no answer in time".to_owned()),
        };
        Err(Refusal { hopeless, place: self.place(), why })
    }

    /// A connection whose errors bring their code. Only where the URL mixes sockets with hosts, wants a socket to be writable or
    /// names hosts by address alone, they do not: tokio-postgres then lets nobody in between.
    async fn open(&self, session: Session) -> Result<AsyncPgConnection, (bool, String)> {
        let refused = |cause| (error::is_hopeless(&cause), told(&cause));
        let mut config = self.config_for(session);
        let hosts = config.get_hosts().to_vec();
        let any = config.get_target_session_attrs() == TargetSessionAttrs::Any;
        let set_up = if !hosts.is_empty() && hosts.iter().all(|host| matches!(host, Host::Tcp(_))) {
            let negotiator = Negotiator::take_over(&mut config, self.connector.clone());
            let (client, connection) = config.connect(negotiator).await.map_err(refused)?;
            AsyncPgConnection::try_from_client_and_connection(client, connection).await
        } else if let ([Host::Unix(folder)], true) = (&hosts[..], any) {
            let port = config.get_ports().first().copied().unwrap_or(5432);
            let socket = UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await;
            let socket =
                Coded::new(socket.map_err(|cause| (false, format!("error connecting to server: {cause}")))?);
            let (client, mut connection) = config.connect_raw(socket, NoTls).await.map_err(refused)?;
            // Until the client is dropped, or the connection is lost: whoever waits on it then hears of it.
            tokio::spawn(async move {
                while let Some(Ok(_)) = poll_fn(|context| connection.poll_message(context)).await {}
            });
            AsyncPgConnection::try_from(client).await
        } else {
            let (client, connection) = config.connect(self.connector.clone()).await.map_err(refused)?;
            AsyncPgConnection::try_from_client_and_connection(client, connection).await
        };
        set_up.map_err(|cause| (false, told(&cause)))
    }

    /// A connection without diesel around it; whoever asked for it drives it.
    pub(super) async fn dial_plain(&self, session: Session) -> Result<(Client, Driver)> {
        let opened = tokio::time::timeout(session.connect_timeout, self.open_plain(session)).await;
        let why = match opened {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err((_, why))) => why,
            Err(_) => "no answer in time".to_owned(),
        };
        Err(Refusal { hopeless: false, place: self.place(), why }.into_error())
    }

    async fn open_plain(&self, session: Session) -> Result<(Client, Driver), (bool, String)> {
        let connected = self.config_for(session).connect(self.connector.clone()).await;
        connected.map_err(|cause| (error::is_hopeless(&cause), told(&cause)))
    }

    fn config_for(&self, session: Session) -> Config {
        let mut config = self.config.clone();
        if config.get_connect_timeout().is_none() {
            // So that a host that swallows packets leaves time for the next one.
            let hosts = u32::try_from(config.get_hosts().len().max(1)).unwrap_or(1);
            config.connect_timeout(session.connect_timeout / hosts);
        }
        match (self.options_given, config.get_options()) {
            (false, _) => _ = config.options(session.options()),
            // Options that somebody chose hold, and ours beside them.
            (true, Some(own)) => _ = config.options(format!("{READ_COMMITTED} {own}")),
            // A pooler takes none.
            (true, None) => {}
        }
        config
    }

    /// The hosts and ports, for messages.
    pub fn place(&self) -> String {
        let ports = self.config.get_ports();
        let port = |n: usize| ports.get(n).or(ports.first()).copied().unwrap_or(5432);
        let named = self.config.get_hosts().iter().enumerate().map(|(n, host)| match host {
            Host::Tcp(name) => format!("{name}:{}", port(n)),
            Host::Unix(path) => format!("{}/.s.PGSQL.{}", path.display(), port(n)),
        });
        let named: Vec<_> = named.collect();
        if named.is_empty() {
            let addresses = self.config.get_hostaddrs().iter().enumerate();
            return addresses.map(|(n, a)| format!("{a}:{}", port(n))).collect::<Vec<_>>().join(", ");
        }
        named.join(", ")
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.place()).finish()
    }
}

impl Session {
    /// As options of the start-up message, so that they cost no round trip and hold from the first statement on.
    fn options(&self) -> String {
        let millis = |time: Duration| time.as_millis().to_string();
        format!(
            "{READ_COMMITTED} -c statement_timeout={} -c idle_in_transaction_session_timeout={} -c timezone=UTC{}",
            self.statement_timeout.map_or_else(|| "0".to_owned(), millis),
            millis(IDLE_IN_TRANSACTION),
            if self.scans { "" } else { " -c enable_seqscan=off" },
        )
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The answer will not change by asking again: wrong password, no such database.
    pub(super) hopeless: bool,
    place: String,
    why: String,
}

impl Refusal {
    pub(super) fn into_error(self) -> Error {
        Error::unavailable("database", self)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no connection to {}: {}", self.place, self.why)
    }
}

impl std::error::Error for Refusal {}

/// An error and its causes on one line. PostgreSQL's DETAIL, which holds values, is not among them.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let causes = causes.map(|cause| match cause.downcast_ref::<tokio_postgres::error::DbError>() {
        Some(answer) => answer.message().to_owned(),
        None => cause.to_string(),
    });
    std::iter::once(error.to_string()).chain(causes).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target> {
        Target::parse(&SecretString::from(url))
    }

    #[test]
    fn a_url_may_name_several_hosts_and_every_mode_of_tls() {
        for (mode, expected) in
            [("disable", SslMode::Disable), ("prefer", SslMode::Prefer), ("require", SslMode::Require)]
        {
            let url = format!("postgres://u:p@one,two:6432/d?sslmode={mode}&target_session_attrs=read-write");
            let target = parse(&url).unwrap();
            assert_eq!(target.config.get_ssl_mode(), expected);
            assert_eq!(target.place(), "one:5432, two:6432");
        }
        assert!(parse("postgres://u:p@h/d?sslmode=sometimes").is_err());
    }

    #[test]
    fn a_password_may_hold_any_character() {
        let target = parse("postgres://u:a%3Fb%26c%40d%2F%25%20%F0%9F%92%A9@h/d?sslmode=disable").unwrap();
        assert_eq!(target.config.get_password(), Some("a?b&c@d/% 💩".as_bytes()));
        let target = parse("postgres://u:a?sslmode=b@h/d?sslmode=require").unwrap();
        assert_eq!(target.config.get_password(), Some(b"a?sslmode=b".as_slice()));
        assert_eq!(target.config.get_ssl_mode(), SslMode::Require);
    }

    #[test]
    fn no_text_of_a_target_shows_the_password() {
        let target = parse("postgres://u:hunter2@h/d").unwrap();
        assert!(!format!("{target:?} {}", target.place()).contains("hunter2"));
        let error = parse("postgres://u:p@hunter2@h/d").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn a_socket_needs_no_tls_whatever_the_mode() {
        let target = parse("postgres://u@/d?host=/run/pg&sslmode=require").unwrap();
        assert_eq!(target.config.get_ssl_mode(), SslMode::Disable);
        assert_eq!(target.place(), "/run/pg/.s.PGSQL.5432");
    }

    #[test]
    fn options_of_the_url_replace_ours() {
        let own = parse("postgres://h/d?options=-c%20geqo%3Doff").unwrap();
        assert_eq!((own.options_given, own.config.get_options()), (true, Some("-c geqo=off")));
        let none = parse("postgres://h/d?options=").unwrap();
        assert_eq!((none.options_given, none.config.get_options()), (true, None));
        assert!(!parse("postgres://h/d").unwrap().options_given);
    }
}
