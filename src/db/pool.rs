//! The pool of connections.

use std::{fmt, time::Duration};

use diesel_async::{AsyncPgConnection, pooled_connection::PoolableConnection};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use super::target::{Refusal, Session, Target};
use crate::domain::{Error, Result};

/// A connection on loan. Give it back by dropping it.
pub type PooledConnection<'a> = bb8::PooledConnection<'a, Dialler>;

/// How many connections a pool has, and how long it waits.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most connections.
    pub max_connections: u32,
    /// Connections kept open when idle; at most `max_connections`.
    pub min_connections: u32,
    /// Longest wait for a connection, new or on loan to others, and for the database at the start.
    pub connect_timeout: Duration,
    /// Idle connections above `min_connections` are closed after this.
    pub idle_timeout: Duration,
    /// Connections are replaced at this age.
    pub max_lifetime: Duration,
    /// PostgreSQL cancels statements that take longer.
    pub statement_timeout: Duration,
    /// See [`Session::scans`].
    pub scans: bool,
}

impl Default for Limits {
    /// The contract's.
    fn default() -> Self {
        Self {
            max_connections: 10,
            min_connections: 2,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(600),
            max_lifetime: Duration::from_secs(1800),
            statement_timeout: Duration::from_secs(10),
            scans: true,
        }
    }
}

/// Connections to one database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pool {
    inner: bb8::Pool<Dialler>,
    plans: Plans,
}

/// How long the plan of a statement over many rows may serve. One that was made for an empty table may be a scan of all
/// of it, and serves until PostgreSQL next looks at the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plans {
    /// As long as the connection: no plan of it reads a whole table. Spares a round trip and the planning.
    Kept,
    /// For one execution.
    Fresh,
}

/// A pool at one moment, for health and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    /// Connections that exist.
    pub connections: u32,
    /// Connections that nobody uses.
    pub idle: u32,
    /// Connections there may be.
    pub max: u32,
    /// Callers that wait for one now.
    pub waiting: u64,
    /// Callers that waited in vain, since the start.
    pub timed_out: u64,
    /// Connections that were thrown away because they broke, since the start.
    pub broken: u64,
    /// The sum of all waits, since the start.
    pub wait_time: Duration,
}

/// Opens a pool, once the database answers. Call it on the runtime that is to drive the connections, which
/// it does for all of them, whoever asks for one.
///
/// # Errors
/// `Unavailable`, naming the host and never the password, when the database does not answer within
/// `connect_timeout`, or at once when it will not let this user in.
pub async fn connect(target: &Target, limits: Limits) -> Result<Pool> {
    let session = Session {
        connect_timeout: limits.connect_timeout,
        statement_timeout: Some(limits.statement_timeout),
        scans: limits.scans,
    };
    let plans = if target.scans(session) { Plans::Fresh } else { Plans::Kept };
    let first = wait_for(target, session).await?;
    let dialler = Dialler { target: target.clone(), session, runtime: Handle::current() };
    let inner = bb8::Pool::builder()
        .max_size(limits.max_connections.max(1))
        .min_idle(limits.min_connections.min(limits.max_connections))
        .connection_timeout(limits.connect_timeout)
        .idle_timeout(limits.idle_timeout)
        .max_lifetime(limits.max_lifetime)
        // The last one used: its server process has its statements prepared and its caches warm.
        .queue_strategy(bb8::QueueStrategy::Lifo)
        // Asks no server: `is_valid` looks at what this side knows.
        .test_on_check_out(true)
        .error_sink(Box::new(Log))
        .build_unchecked(dialler);
    // Without room for it the pool has its own already.
    let _ = inner.add(first);
    Ok(Pool { inner, plans })
}

/// Tries until `connect_timeout` has passed: a database may start together with its program.
async fn wait_for(target: &Target, session: Session) -> Result<AsyncPgConnection> {
    let deadline = Instant::now() + session.connect_timeout;
    let mut pause = Duration::from_millis(50);
    loop {
        match target.try_dial(session).await {
            Ok(connection) => return Ok(connection),
            Err(refusal) if refusal.hopeless || Instant::now() + pause > deadline => {
                return Err(refusal.into_error());
            }
            Err(refusal) => log::debug!(error:% = refusal; "waiting for the database"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

impl Pool {
    /// A connection that is open and in no transaction.
    ///
    /// # Errors
    /// `Unavailable` when none is free or can be opened in time.
    pub async fn get(&self) -> Result<PooledConnection<'_>> {
        self.inner.get().await.map_err(refused)
    }

    /// As [`Pool::get`], for a task that outlives the reference.
    ///
    /// # Errors
    /// As [`Pool::get`].
    pub async fn get_owned(&self) -> Result<PooledConnection<'static>> {
        self.inner.get_owned().await.map_err(refused)
    }

    /// How long its connections' plans may serve.
    pub fn plans(&self) -> Plans {
        self.plans
    }

    /// How it is doing.
    pub fn state(&self) -> PoolState {
        let state = self.inner.state();
        let statistics = &state.statistics;
        PoolState {
            connections: state.connections,
            idle: state.idle_connections,
            max: self.inner.config().max_size,
            // Counters are read one after the other: a get that ends in between may be counted once only.
            waiting: statistics.get_started.saturating_sub(statistics.completed_gets()),
            timed_out: statistics.get_timed_out,
            broken: statistics.connections_closed_broken + statistics.connections_closed_invalid,
            wait_time: statistics.get_wait_time,
        }
    }
}

fn refused(error: bb8::RunError<Gone>) -> Error {
    match error {
        bb8::RunError::User(gone) => Error::unavailable("database", gone),
        bb8::RunError::TimedOut => Error::unavailable("database", "no connection free in time"),
    }
}

/// Opens connections for a pool, always on the runtime the pool was made on: a connection is driven by the
/// runtime that opened it, and one driven by a busy thread stalls everybody who borrows it.
#[derive(Debug)]
pub struct Dialler {
    target: Target,
    session: Session,
    runtime: Handle,
}

impl bb8::ManageConnection for Dialler {
    type Connection = AsyncPgConnection;
    type Error = Gone;

    async fn connect(&self) -> Result<AsyncPgConnection, Gone> {
        let (target, session) = (self.target.clone(), self.session);
        let dialled = self.runtime.spawn(async move { target.try_dial(session).await }).await;
        dialled.map_err(|_| Gone(Why::Runtime))?.map_err(|refusal| Gone(Why::Refused(refusal)))
    }

    /// At each loan, without asking the server: a connection that closed while it lay idle, as all do when
    /// the database restarts, is not handed out.
    async fn is_valid(&self, connection: &mut AsyncPgConnection) -> Result<(), Gone> {
        if connection.is_broken() { Err(Gone(Why::Closed)) } else { Ok(()) }
    }

    /// At each return: closed, or left in a transaction by a future that was dropped.
    fn has_broken(&self, connection: &mut AsyncPgConnection) -> bool {
        std::thread::panicking() || connection.is_broken()
    }
}

/// Why a pool has no connection to give.
#[derive(Debug)]
pub struct Gone(Why);

#[derive(Debug)]
enum Why {
    /// The database refused, or did not answer.
    Refused(Refusal),
    /// It closed while it lay idle.
    Closed,
    /// The runtime that drives the connections is shutting down.
    Runtime,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::Refused(refusal) => refusal.fmt(f),
            Why::Closed => f.write_str("connection closed"),
            Why::Runtime => f.write_str("shutting down"),
        }
    }
}

impl std::error::Error for Gone {}

/// Logs what went wrong when nobody waited for it.
#[derive(Debug, Clone, Copy)]
struct Log;

impl bb8::ErrorSink<Gone> for Log {
    fn sink(&self, error: Gone) {
        log::warn!(error:% = error; "database connection");
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<Gone>> {
        Box::new(*self)
    }
}
