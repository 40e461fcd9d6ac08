//! The one look that feeds all listeners.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, sleep, timeout},
};

use super::{Live, RECORDED, Reached, Shared};
use crate::{
    actors::change_feed::{News, TASKS},
    db,
    domain::{
        Result,
        event_cursor::{Cursor, Look, Snapshot},
        task_event::{Bookmark, Position},
    },
};

/// Without any notification.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two looks, so that a busy queue is not looked at for each of its statements.
const PAUSE: Duration = Duration::from_millis(10);
/// Between two notes that events are wanted.
const WANT_EVERY: Duration = Duration::from_secs(60);
/// Statements' changes in one look, in slices of a hundred tasks.
const AT_MOST: usize = 100;
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
    let known = shared.reached.borrow().clone();
    let mut cursor = match known {
        // After a failure, or in the place of an actor that died.
        Some(reached) => reached.cursor,
        None => Cursor::at(Arc::new(settled(shared).await?)),
    };

    while shared.listeners.load(Ordering::Acquire) > 0 {
        if wanted.elapsed() > WANT_EVERY {
            want(shared).await?;
            wanted = Instant::now();
        }
        let look = db::task_events::read(&mut *shared.pool.get().await?, &cursor, AT_MOST).await?;
        let more = look.more || !cursor.reaches_now();
        publish(shared, &mut cursor, look);

        if !more {
            hear(&mut news).await;
            sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// Tells all listeners, and how far that goes. Nothing is waited for in between: an actor that dies leaves both or none.
fn publish(shared: &Shared, cursor: &mut Cursor, look: Look) {
    let at = look.now.timestamp();
    let position = reached(&look);
    let before = cursor.clone();
    cursor.advance(&look);
    for changes in look.changes {
        let cursor = before.up_to(&look.snapshot, changes.end());
        // Nobody listens any more: nobody misses it.
        let _ = shared.live.send(Live { changes, cursor, horizon: look.snapshot.oldest, at });
    }

    // After the events: who has heard all that was told before has heard everything up to here.
    let mark = Bookmark { position, at };
    shared.reached.send_replace(Some(Reached { mark, cursor: cursor.clone() }));
}

/// Behind what is final: the transactions that had ended, but for those that the rest of the look is about.
fn reached(look: &Look) -> Position {
    let last = look.changes.last().filter(|_| look.more);
    Position::before(last.map_or(i64::MAX, |last| last.transaction).min(look.snapshot.oldest))
}

async fn want(shared: &Shared) -> Result<()> {
    db::task_events::want(&mut *shared.pool.get().await?, RECORDED.as_secs_f64()).await
}

/// A snapshot behind which changes are surely recorded: all transactions that may have begun before it was known that they
/// are wanted have ended. One that goes on for long is not waited for.
async fn settled(shared: &Shared) -> Result<Snapshot> {
    let mut connection = shared.pool.get().await?;
    let mut now = db::task_events::snapshot(&mut connection).await?;
    let (next, end) = (now.next, Instant::now() + SETTLE);
    while now.oldest < next && Instant::now() < end {
        sleep(PAUSE).await;
        now = db::task_events::snapshot(&mut connection).await?;
    }
    Ok(now)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::DateTime;

    use super::*;
    use crate::domain::task_event::Changes;

    fn look(oldest: i64, more: bool, rows: &[(i64, i64)]) -> Look {
        let changes =
            rows.iter().map(|(transaction, row)| Arc::new(Changes::new(*transaction, *row, 0, Vec::new())));
        let snapshot = Arc::new(Snapshot { oldest, next: 100, running: vec![oldest] });
        Look { changes: changes.collect(), more, snapshot, now: DateTime::UNIX_EPOCH }
    }

    #[test]
    fn what_a_transaction_before_the_horizon_did_is_final() {
        assert_eq!(reached(&look(15, false, &[(10, 1), (12, 3), (16, 2)])), Position::before(15));
    }

    #[test]
    fn a_look_that_was_cut_short_is_final_up_to_where_it_ended() {
        assert_eq!(reached(&look(15, true, &[(10, 1), (12, 3)])), Position::before(12));
        assert_eq!(reached(&look(15, true, &[(10, 1), (17, 3)])), Position::before(15));
    }
}
