//! The one look that feeds all listeners.

use std::{collections::HashMap, sync::atomic::Ordering, time::Duration};

use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, sleep, timeout},
};

use super::{Live, RECORDED, Shared};
use crate::{
    actors::change_feed::{News, TASKS},
    db,
    domain::{
        Result,
        task_event::{Bookmark, Look, Position},
    },
};

/// Without any notification.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two looks, so that a busy queue is not looked at for each of its statements.
const PAUSE: Duration = Duration::from_millis(10);
/// Between two notes that events are wanted.
const WANT_EVERY: Duration = Duration::from_secs(60);
/// Statements' changes in one look.
const AT_MOST: i64 = 500;
/// How long to wait for transactions that began before anything was recorded.
const SETTLE: Duration = Duration::from_secs(2);
/// After a failure.
const RETRY: Duration = Duration::from_millis(500);

pub(super) async fn run(shared: &Shared) {
    loop {
        if shared.listeners.load(Ordering::Acquire) == 0 {
            shared.reached.send_replace(None);
            shared.arrived.notified().await;
            continue;
        }
        if let Err(error) = look_while_somebody_listens(shared).await {
            log::warn!(error:% = error; "the events of tasks cannot be read");
            sleep(RETRY).await;
        }
    }
}

async fn look_while_somebody_listens(shared: &Shared) -> Result<()> {
    let mut news = shared.feed.subscribe(TASKS);
    want(shared).await?;
    let mut wanted = Instant::now();
    let known = *shared.reached.borrow();
    let mut place = match known {
        // After a failure, or in the place of an actor that died.
        Some(reached) => Place::at(reached.position),
        None => Place::at(Position::before(settled(shared).await?)),
    };
    while shared.listeners.load(Ordering::Acquire) > 0 {
        if wanted.elapsed() > WANT_EVERY {
            want(shared).await?;
            wanted = Instant::now();
        }
        let seen = place.seen.keys().copied().collect();
        let look = db::task_events::read(&mut *shared.pool.get().await?, place.from, &seen, AT_MOST).await?;
        let more = look.changes.len() >= usize::try_from(AT_MOST).unwrap_or(usize::MAX);
        place.advance(&look, more);
        let (horizon, at) = (look.horizon, look.now.timestamp());
        for changes in look.changes {
            // Nobody listens any more: nobody misses it.
            let _ = shared.live.send(Live { changes, horizon, at });
        }
        // After the events: who has heard all that was told before has heard everything up to here.
        shared.reached.send_replace(Some(Bookmark { position: place.final_position(), at }));
        if !more {
            hear(&mut news).await;
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

async fn want(shared: &Shared) -> Result<()> {
    db::task_events::want(&mut *shared.pool.get().await?, RECORDED.as_secs_f64()).await
}

/// The first transaction whose changes are surely recorded: all that may have begun before it was known that they are
/// wanted have ended. One that goes on for long is not waited for.
async fn settled(shared: &Shared) -> Result<i64> {
    let mut connection = shared.pool.get().await?;
    let (mut oldest, next) = db::task_events::snapshot(&mut connection).await?;
    let end = Instant::now() + SETTLE;
    while oldest < next && Instant::now() < end {
        sleep(PAUSE).await;
        (oldest, _) = db::task_events::snapshot(&mut connection).await?;
    }
    Ok(oldest)
}

/// Waits until something is said to have been recorded.
async fn hear(news: &mut Option<broadcast::Receiver<News>>) {
    let Some(news) = news else { return sleep(LOOK_EVERY).await };
    let said = async {
        loop {
            match news.recv().await {
                Ok(News::Said(payload)) if &*payload != "=" => {}
                Ok(News::Said(_) | News::Gap) | Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    };
    let _late = timeout(LOOK_EVERY, said).await;
}

/// Where to look next.
struct Place {
    from: Position,
    /// Statements at or behind `from` that were seen already: row and transaction.
    seen: HashMap<i64, i64>,
    horizon: i64,
}

impl Place {
    /// Behind this position. Its own row was told as a whole.
    fn at(position: Position) -> Self {
        let seen = HashMap::from([(position.row, position.transaction)]);
        Self { from: position, seen, horizon: position.transaction }
    }

    /// Nothing will be added before the horizon, so what was seen before it need not be kept in mind, unless there is more.
    fn advance(&mut self, look: &Look, more: bool) {
        self.seen.extend(look.changes.iter().map(|changes| (changes.row, changes.transaction)));
        let end = look.changes.last().filter(|_| more).map_or(i64::MAX, |last| last.transaction);
        let from = look.horizon.min(end).max(self.from.transaction);
        self.seen.retain(|_, transaction| *transaction >= from);
        self.horizon = from;
        self.from = Position { transaction: from, row: 0, entry: 0 };
    }

    fn final_position(&self) -> Position {
        Position::before(self.horizon)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::DateTime;

    use super::*;
    use crate::domain::task_event::Changes;

    fn look(horizon: i64, rows: &[(i64, i64)]) -> Look {
        let changes =
            rows.iter().map(|(transaction, row)| Arc::new(Changes::new(*transaction, *row, Vec::new())));
        Look { changes: changes.collect(), horizon, now: DateTime::UNIX_EPOCH }
    }

    #[test]
    fn what_a_transaction_before_the_horizon_did_is_final() {
        let mut place = Place::at(Position::before(10));
        place.advance(&look(15, &[(10, 1), (12, 3), (16, 2)]), false);
        assert_eq!(place.from.transaction, 15);
        assert_eq!(place.final_position(), Position::before(15));
        assert_eq!(place.seen, HashMap::from([(2, 16)]));
        place.advance(&look(20, &[(15, 4)]), false);
        assert!(place.seen.is_empty());
    }

    #[test]
    fn a_look_that_was_cut_short_goes_on_where_it_ended() {
        let mut place = Place::at(Position::before(10));
        place.advance(&look(15, &[(10, 1), (12, 3)]), true);
        assert_eq!(place.from, Position { transaction: 12, row: 0, entry: 0 });
        assert_eq!(place.seen, HashMap::from([(3, 12)]));
    }
}
