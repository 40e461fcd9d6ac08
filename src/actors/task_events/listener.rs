//! One listener: first what he missed, then what happens.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};

use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    time::{MissedTickBehavior, interval},
};

use super::{BOOKMARK_AGE, Live, SIGN_OF_LIFE, Shared};
use crate::{
    db,
    domain::{
        Reach, Result,
        task_event::{Bookmark, Changes, Position, TaskEvent},
    },
};

/// Statements' changes that are read at once for who missed some.
const AT_MOST: i64 = 200;

/// What a listener is told, until one of the two goes away.
pub type Listening = mpsc::Receiver<News>;

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
    /// Where he is.
    at: Bookmark,
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
    let Ok(Some(now)) = reached.wait_for(Option::is_some).await.map(|start| *start) else { return Ok(()) };
    let known = after.filter(|mark| now.at - mark.at <= BOOKMARK_AGE.as_secs().cast_signed());
    let greeting = match (after, known) {
        (Some(_), None) => News::Reset(now),
        (_, known) => News::Ready(known.unwrap_or(now)),
    };
    let mut listener = Listener { shared, reach, tell, at: greeting.bookmark() };
    let mut told = match listener.tell.send(greeting).await {
        Ok(()) if known.is_some() => listener.catch_up().await?,
        Ok(()) => Ok(HashSet::new()),
        Err(_) => Err(Gone),
    };
    let mut still = interval(SIGN_OF_LIFE);
    still.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Ok(known) = &mut told {
        let heard = tokio::select! {
            heard = live.recv() => heard,
            _ = still.tick() => {
                // What was told before this point was reached is in `live`, or was heard.
                let here = *reached.borrow_and_update();
                if live.is_empty() && listener.rest(here).await.is_err() {
                    return Ok(());
                }
                continue;
            }
        };
        match heard {
            Ok(Live { changes, .. }) if known.remove(&changes.row) => {}
            Ok(Live { changes, horizon, at }) => {
                if listener.tell_of(&changes, 0, horizon, at).await.is_err() {
                    return Ok(());
                }
            }
            Err(RecvError::Lagged(_)) => told = listener.catch_up().await?,
            Err(RecvError::Closed) => return Ok(()),
        }
    }
    Ok(())
}

impl Listener<'_> {
    /// Tells what happened since he was there, from the database. Returns the statements that were told of, because
    /// the others may be about to hear of them too.
    async fn catch_up(&mut self) -> Result<Result<HashSet<i64>, Gone>> {
        let (mut told, none) = (HashSet::new(), HashSet::new());
        let mut from = self.at.position;
        loop {
            let look =
                db::task_events::read(&mut *self.shared.pool.get().await?, from, &none, AT_MOST).await?;
            let more = look.changes.len() >= usize::try_from(AT_MOST).unwrap_or(usize::MAX);
            for changes in &look.changes {
                let here = changes.transaction == from.transaction && changes.row == from.row;
                let first = if here { from.entry + 1 } else { 0 };
                let at = look.now.timestamp();
                if self.tell_of(changes, first, look.horizon, at).await.is_err() {
                    return Ok(Err(Gone));
                }
                told.insert(changes.row);
            }
            let Some(last) = look.changes.last().filter(|_| more) else { return Ok(Ok(told)) };
            from = last.position(last.events.len().saturating_sub(1));
        }
    }

    /// A place behind the horizon is not final: who comes back from there is told again what happened since the horizon.
    async fn tell_of(&mut self, changes: &Changes, first: usize, horizon: i64, at: i64) -> Result<(), Gone> {
        for (n, event) in changes.within(self.reach, first) {
            let position = if changes.transaction < horizon {
                changes.position(n)
            } else {
                Position::before(horizon).max(self.at.position)
            };
            self.at = Bookmark { position, at: at.max(self.at.at) };
            self.tell.send(News::Happened(self.at, event.clone())).await.map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// Nothing happened that is his; still his place moves on, so that it does not grow too old.
    async fn rest(&mut self, here: Option<Bookmark>) -> Result<(), Gone> {
        if let Some(here) = here.filter(|here| here.position > self.at.position) {
            self.at = here;
        }
        self.tell.send(News::Still(self.at)).await.map_err(|_| Gone)
    }
}
