//! The connection that listens: what comes in is handed on in the order in which it came.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::{CREDENTIALS, News, Shared};
use crate::{
    actors::{
        boottime::Boottime,
        presence::{LEASE, PROBATION},
    },
    db::{
        Session,
        listen::{Listener, Notice},
    },
    domain::{Forget, Result},
};

/// For connecting.
const CONNECT: Session = Session {
    connect_timeout: Duration::from_secs(5),
    statement_timeout: Some(Duration::from_secs(5)),
    scans: true,
};
/// Longer silence means that the connection is of no use: heartbeats come ten times a second.
const SILENCE: Duration = Duration::from_secs(3);
/// Pause before the second try to connect; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Listens for ever.
pub(super) async fn hear(shared: &Arc<Shared>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match connect(shared).await {
            Ok(mut listener) => {
                listen(shared, &mut listener).await;
                shared.rhythm().backend = None;
                if shared.rhythm().heard.is_some_and(|heard| heard.elapsed() < SILENCE * 2) {
                    pause = FIRST_PAUSE;
                }
                log::warn!("the change feed lost its connection");
            }
            Err(error) => log::warn!(error:% = error; "the change feed is not connected"),
        }
        // Not all processes at once.
        sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn connect(shared: &Shared) -> Result<Listener> {
    let subscribed = shared.subscribers.keys().copied();
    let channels: Vec<&str> = [CREDENTIALS, shared.channel.as_str()].into_iter().chain(subscribed).collect();
    let listener = Listener::open(&shared.target, CONNECT, &channels, shared.remembers()).await?;
    shared.rhythm().backend = Some(listener.backend());
    Ok(listener)
}

/// Hands on what comes in, until the connection is lost or silent.
async fn listen(shared: &Shared, listener: &mut Listener) {
    // From here on nothing is missed; before, anything may have been.
    shared.forget(Forget::Everything);
    for subscribers in shared.subscribers.values() {
        let _nobody = subscribers.send(News::Gap);
    }
    let since = Boottime::now();
    while let Ok(Some(notice)) = timeout(SILENCE, listener.next()).await {
        shared.heard(&notice, since);
    }
}

impl Shared {
    fn heard(&self, notice: &Notice, since: Boottime) {
        if notice.channel == CREDENTIALS {
            self.forget(Forget::parse(&notice.payload));
        } else if notice.channel == self.channel {
            self.pulse_returned(&notice.payload, since);
        } else if let Some(subscribers) = self.subscribers.get(notice.channel.as_str()) {
            let _nobody = subscribers.send(News::Said(notice.payload.as_str().into()));
        }
    }

    /// All that was committed before this heartbeat was sent has been heard.
    fn pulse_returned(&self, number: &str, since: Boottime) {
        let Some(sent) = self.returned(number) else { return };
        // Others must have had the time to see that this process remembers.
        if sent >= since + PROBATION {
            self.memories.iter().for_each(|memory| memory.renew(sent + LEASE));
        }
    }

    fn returned(&self, number: &str) -> Option<Boottime> {
        let number: i64 = number.parse().ok()?;
        let mut rhythm = self.rhythm();
        rhythm.sent.retain(|(sent, _)| *sent >= number);
        let (_, sent) = rhythm.sent.pop_front().filter(|(sent, _)| *sent == number)?;
        rhythm.heard = Some(Boottime::now());
        Some(sent)
    }
}
