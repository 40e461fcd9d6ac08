//! What other processes say: `LISTEN` and `NOTIFY`.
//!
//! Listening needs a connection of its own: a pooled one goes to somebody else, and one in a transaction hears
//! nothing until it ends. diesel-async's stream of notifications does not tell when the connection is lost, so
//! this is tokio-postgres itself.

use std::future::poll_fn;

use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use tokio::{sync::mpsc, task::AbortHandle};
use tokio_postgres::{AsyncMessage, Client};

use super::{
    statement::{Fixed, Statement},
    target::{Session, Target},
};
use crate::domain::{Error, Result};

/// The advisory lock of those who remember credentials: shared, held for as long as they listen.
/// In `pg_locks` it is `classid` and `objid`.
macro_rules! holders {
    () => {
        "1398030674, 1296387661"
    };
}

/// A payload and its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Where it was sent.
    pub channel: String,
    /// What was said.
    pub payload: String,
}

/// A connection that listens. It ends when this is dropped.
#[derive(Debug)]
pub struct Listener {
    notices: mpsc::UnboundedReceiver<Notice>,
    backend: i32,
    driver: AbortHandle,
    _client: Client,
}

impl Listener {
    /// Connects and listens. With `remembers`, the process is known to others as one that remembers credentials
    /// for as long as the connection lives. Call it on the runtime that is to drive the connection.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: also on a standby, which does not take part in notifications.
    pub async fn open(target: &Target, session: Session, channels: &[&str], remembers: bool) -> Result<Self> {
        let (client, mut connection) = target.dial_plain(session).await?;
        let (heard, notices) = mpsc::unbounded_channel();
        let driver = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(notice) = message {
                    let notice =
                        Notice { channel: notice.channel().to_owned(), payload: notice.payload().to_owned() };
                    if heard.send(notice).is_err() {
                        break;
                    }
                }
            }
        });
        let mut listener = Self { notices, backend: 0, driver: driver.abort_handle(), _client: client };
        listener.backend = listener.set_up(channels, remembers).await.map_err(refused)?;
        Ok(listener)
    }

    async fn set_up(&self, channels: &[&str], remembers: bool) -> Result<i32, tokio_postgres::Error> {
        let client = &self._client;
        if remembers {
            client.batch_execute(concat!("select pg_advisory_lock_shared(", holders!(), ")")).await?;
        }
        let listen: Vec<String> = channels.iter().map(|channel| format!("listen {channel}")).collect();
        client.batch_execute(&listen.join("; ")).await?;
        client.query_one("select pg_backend_pid()", &[]).await?.try_get(0)
    }

    /// The next notice; `None` once the connection is lost.
    pub async fn next(&mut self) -> Option<Notice> {
        self.notices.recv().await
    }

    /// Its server process.
    pub fn backend(&self) -> i32 {
        self.backend
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn refused(error: tokio_postgres::Error) -> Error {
    // DbError's text is severity and message, without DETAIL.
    Error::unavailable("change_feed", error)
}

struct Pulse;

impl Fixed for Pulse {
    const SQL: &'static str = concat!(
        "select (select count(*) from pg_locks where locktype = 'advisory' and granted and objsubid = 2 \
         and (classid::int8, objid::int8) = (",
        holders!(),
        ") and database = (select oid from pg_database where datname = current_database()) \
         and pid is distinct from $1) from pg_notify($2, $3::int8::text)"
    );
    type Args = (Nullable<Integer>, Text, BigInt);
    type Row = (BigInt,);
}

/// Says `number` on `channel`, and counts the listeners that remember credentials, but for the one with this server
/// process.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn pulse(
    conn: &mut AsyncPgConnection,
    channel: &str,
    number: i64,
    but: Option<i32>,
) -> Result<i64> {
    let (others,): (i64,) = Statement::<Pulse, _>::with((but, channel, number)).get_result(conn).await?;
    Ok(others)
}
