//! Heartbeats: sent through the pool, each bringing back who else remembers credentials.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Shared;
use crate::{
    actors::boottime::Boottime,
    db::listen,
    domain::{Error, Result},
};

/// Between two heartbeats.
const EVERY: Duration = Duration::from_millis(100);
/// A heartbeat that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(2);
/// Heartbeats whose return is waited for.
const OUTSTANDING: usize = 64;

/// Beats for ever, and at once when somebody needs to know who else remembers. One at a time.
pub(super) async fn beat(shared: &Arc<Shared>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.wanted.notified() => {}
        }
        number += 1;
        if let Err(error) = in_time(once(shared, number)).await {
            log::debug!(error:% = error; "no heartbeat");
        }
    }
}

async fn once(shared: &Shared, number: i64) -> Result<()> {
    let mut conn = shared.pool.get().await?;
    let sent = Boottime::now();
    let backend = shared.sending(number, sent);
    let others = listen::pulse(&mut conn, &shared.channel, number, backend).await?;
    drop(conn);
    let received = Boottime::now();
    shared.presence.send_modify(|presence| *presence = presence.sampled(sent, received, others));
    Ok(())
}

async fn in_time(work: impl Future<Output = Result<()>>) -> Result<()> {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(Error::unavailable("database", "no answer in time")))
}

impl Shared {
    /// Notes that a heartbeat is about to be sent; tells which server process listens now.
    fn sending(&self, number: i64, sent: Boottime) -> Option<i32> {
        let mut rhythm = self.rhythm();
        if rhythm.sent.len() >= OUTSTANDING {
            rhythm.sent.pop_front();
        }
        rhythm.sent.push_back((number, sent));
        rhythm.backend
    }
}
