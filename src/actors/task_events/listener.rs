//! One listener: first what he missed, then what happens.

use std::sync::{Arc, atomic::Ordering};

use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{BOOKMARK_AGE, Live, Reached, SIGN_OF_LIFE, Shared, places::Place};
use crate::{
    db,
    domain::{
        Reach, Result,
        event_cursor::{Cursor, Snapshot},
        task_event::{Bookmark, Changes, Position, TaskEvent},
    },
};

/// Statements' changes that are read at once for who missed some, in slices of a hundred tasks.
const AT_MOST: usize = 32;

/// What a listener is told, until one of the two goes away.
#[derive(Debug)]
pub struct Listening {
    told: mpsc::Receiver<News>,
    _place: Place,
}

impl Listening {
    pub(super) fn new(told: mpsc::Receiver<News>, place: Place) -> Self {
        Self { told, _place: place }
    }

    /// What comes next; `None` when the stream is over.
    pub async fn recv(&mut self) -> Option<News> {
        self.told.recv().await
    }

    /// Whether nothing comes but what is there already.
    pub fn is_closed(&self) -> bool {
        self.told.is_closed()
    }

    /// What is there already.
    pub fn try_recv(&mut self) -> Option<News> {
        self.told.try_recv().ok()
    }
}

/// What a listener is told.
#[derive(Debug, Clone)]
pub enum News {
    /// Everything from here on will be told.
    Ready(Bookmark),
    /// What happened between the bookmark that he came with and this one is not known any more: he has to look for himself.
    Reset(Bookmark),
    /// Something happened.
    Happened(Bookmark, TaskEvent),
    /// Nothing happened for a while.
    Still(Bookmark),
}

impl News {
    /// Where to go on after it.
    pub fn bookmark(&self) -> Bookmark {
        match self {
            Self::Ready(mark) | Self::Reset(mark) | Self::Happened(mark, _) | Self::Still(mark) => *mark,
        }
    }
}

/// Counts itself among the listeners for as long as it lives.
struct Present<'a>(&'a Shared);

impl<'a> Present<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.listeners.fetch_add(1, Ordering::AcqRel);
        shared.arrived.notify_one();
        Self(shared)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.listeners.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The listener went away.
struct Gone;

struct Listener<'a> {
    shared: &'a Shared,
    reach: Reach,
    tell: mpsc::Sender<News>,
    /// Where the client may come back to.
    at: Bookmark,
    /// What was told, exactly.
    heard: Cursor,
    /// What was read from the database: it may come once more with the others' news.
    read: Option<Arc<Snapshot>>,
}

pub(super) async fn serve(
    shared: Arc<Shared>,
    reach: Reach,
    after: Option<Bookmark>,
    tell: mpsc::Sender<News>,
) {
    let _present = Present::new(&shared);
    let left = tell.clone();
    tokio::select! {
        () = left.closed() => {}
        outcome = listen(&shared, reach, after, tell) => {
            if let Err(error) = outcome {
                // His stream ends, and he comes back with his bookmark.
                log::warn!(error:% = error; "a listener to the events of tasks was sent away");
            }
        }
    }
}

async fn listen(
    shared: &Shared,
    reach: Reach,
    after: Option<Bookmark>,
    tell: mpsc::Sender<News>,
) -> Result<()> {
    let mut live = shared.live.subscribe();
    let mut reached = shared.reached.subscribe();
    let Ok(Some(now)) = reached.wait_for(Option::is_some).await.map(|start| start.clone()) else {
        return Ok(());
    };
    let known = known(shared, after, &now.mark).await?;
    let greeting = match (after, known) {
        (Some(_), None) => News::Reset(now.mark),
        (_, known) => News::Ready(known.unwrap_or(now.mark)),
    };
    let heard = known.map_or(now.cursor, |mark| Cursor::behind(mark.position));
    let mut listener = Listener { shared, reach, tell, at: greeting.bookmark(), heard, read: None };

    let mut told = listener.tell(greeting).await;
    if told.is_ok() && known.is_some() {
        told = listener.catch_up().await?;
    }
    let mut still = interval(SIGN_OF_LIFE);
    still.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while told.is_ok() {
        told = tokio::select! {
            heard = live.recv() => match heard {
                Ok(Live { changes, cursor, horizon, at }) => listener.hear(&changes, cursor, horizon, at).await,
                Err(RecvError::Lagged(_)) => listener.catch_up().await?,
                Err(RecvError::Closed) => Err(Gone),
            },
            _ = still.tick() => {
                // What was told before this point was reached is in `live`, or was heard.
                let here = reached.borrow_and_update().clone();
                if live.is_empty() { listener.rest(here).await } else { Ok(()) }
            }
        };
    }
    Ok(())
}

/// The bookmark, if a stream can go on there.
async fn known(shared: &Shared, after: Option<Bookmark>, now: &Bookmark) -> Result<Option<Bookmark>> {
    let Some(mark) = after else { return Ok(None) };
    let next = db::task_events::snapshot(&mut *shared.pool.get().await?).await?;
    Ok(Some(mark).filter(|mark| next.knows(mark, now, BOOKMARK_AGE.as_secs().cast_signed())))
}

impl Listener<'_> {
    /// Tells what happened since, from the database, as far as one can see now.
    async fn catch_up(&mut self) -> Result<Result<(), Gone>> {
        let mut at_most = 1;
        loop {
            let mut connection = self.shared.pool.get().await?;
            let look = db::task_events::read(&mut connection, &self.heard, at_most).await?;
            drop(connection);
            let (last, at, horizon) = (self.heard.reaches_now(), look.now.timestamp(), look.snapshot.oldest);
            let (before, mut behind) = (self.heard.clone(), self.heard.clone());
            behind.advance(&look);

            let mut page = look.changes.into_iter();
            let mut waited = false;
            while let Some(changes) = page.next() {
                if self.tell.capacity() < changes.within(self.reach).len() && page.len() > 0 {
                    // Nothing but this is kept for a client that reads slowly: the rest is read again.
                    (page, waited) = (Vec::new().into_iter(), true);
                }
                let cursor = before.up_to(&look.snapshot, changes.end());
                if self.tell_of(&changes, cursor, horizon, at).await.is_err() {
                    return Ok(Err(Gone));
                }
            }

            at_most = if waited { 1 } else { (at_most * 2).min(AT_MOST) };
            if !waited {
                let over = last && behind.reaches_now();
                self.heard = behind;
                if over {
                    self.read = Some(look.snapshot);
                    return Ok(Ok(()));
                }
            }
        }
    }

    /// Tells what all listeners hear, unless it was read already.
    async fn hear(&mut self, changes: &Changes, cursor: Cursor, horizon: i64, at: i64) -> Result<(), Gone> {
        if self.read.as_ref().is_some_and(|read| read.shows(changes.transaction)) {
            return Ok(());
        }
        self.tell_of(changes, cursor, horizon, at).await
    }

    /// A place behind the horizon is not final: who comes back from there is told again what happened since the horizon.
    async fn tell_of(
        &mut self,
        changes: &Changes,
        cursor: Cursor,
        horizon: i64,
        at: i64,
    ) -> Result<(), Gone> {
        for (n, event) in changes.within(self.reach) {
            let position = if changes.transaction < horizon {
                changes.position(n)
            } else {
                Position::before(horizon).max(self.at.position)
            };
            self.at = Bookmark { position, at: at.max(self.at.at) };
            self.tell(News::Happened(self.at, event.clone())).await?;
        }
        self.heard = cursor;
        Ok(())
    }

    /// Nothing happened that is his; still his place moves on, so that it does not grow too old.
    async fn rest(&mut self, here: Option<Reached>) -> Result<(), Gone> {
        if let Some(Reached { mark, cursor }) = here.filter(|here| here.mark.position > self.at.position) {
            (self.at, self.heard) = (mark, cursor);
        }
        self.tell(News::Still(self.at)).await
    }

    /// A client that takes nothing for so long is sent away: it comes back with its bookmark.
    async fn tell(&self, news: News) -> Result<(), Gone> {
        match timeout(self.shared.settings.patience, self.tell.send(news)).await {
            Ok(sent) => sent.map_err(|_| Gone),
            Err(_) => {
                log::info!("task_events closed a stream whose client reads nothing");
                Err(Gone)
            }
        }
    }
}
