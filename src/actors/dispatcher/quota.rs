//! How many unfinished tasks one user may have.
//!
//! Counting takes time that grows with the number, so it is not done for each task. A process counts an owner's unfinished
//! tasks now and then, and lets that owner enqueue a quarter of what is left before it counts again, and for ten seconds at
//! most. So an owner is counted often only close to the limit, and once a second at it. Completing a task writes nothing for
//! this. With several processes an owner can get past the limit by what those grant at the same time: nothing with up to
//! four, and with more, less than what was left.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    db::{self, Pool},
    domain::{Error, Result, UserId, task::NewTask},
};

/// A count is good for that long.
const GOOD_FOR: Duration = Duration::from_secs(10);
/// An owner who has no more left is not counted again before.
const REFUSED_FOR: Duration = Duration::from_secs(1);
/// Of what is left, this part is granted by one count.
const PART: usize = 4;
/// Owners that are remembered, at most, apart from those whose tasks are under way.
const REMEMBERED: usize = 10_000;

/// The limit, and what is known of owners. Cheap to clone.
#[derive(Clone)]
pub(super) struct Quota(Arc<Inner>);

struct Inner {
    pool: Pool,
    limit: usize,
    owners: Mutex<HashMap<UserId, Arc<Owner>>>,
}

#[derive(Default)]
struct Owner {
    state: Mutex<State>,
    /// Held while this owner's tasks are counted: others wait for that count.
    counting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    counted: Option<Counted>,
    /// Granted, and not yet answered: a count may miss them.
    under_way: usize,
}

/// The last count.
#[derive(Debug, Clone, Copy)]
struct Counted {
    at: Instant,
    /// What was left of the limit; `None`: the owner has none.
    left: Option<usize>,
    granted: usize,
}

/// What to do with a wish for more tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Granted,
    Refused,
    Count,
}

/// Leave to enqueue tasks. Drop it when they are enqueued, or are not going to be.
pub(super) struct Grant(Vec<(Arc<Owner>, usize)>);

impl Quota {
    pub(super) fn new(pool: Pool, limit: usize) -> Self {
        Self(Arc::new(Inner { pool, limit, owners: Mutex::default() }))
    }

    /// The same with another limit.
    pub(super) fn limited_to(&self, limit: usize) -> Self {
        Self::new(self.0.pool.clone(), limit)
    }

    /// Grants these tasks to their owners. Tasks without an owner, and administrators', are not limited.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`] when an owner would have too many.
    pub(super) async fn reserve(&self, tasks: &[NewTask]) -> Result<Grant> {
        let mut wanted: HashMap<UserId, usize> = HashMap::new();
        for owner in tasks.iter().filter_map(|task| task.created_by) {
            *wanted.entry(owner).or_default() += 1;
        }

        let mut grant = Grant(Vec::with_capacity(wanted.len()));
        for (owner, tasks) in wanted {
            grant.0.push((self.reserve_for(owner, tasks).await?, tasks));
        }
        Ok(grant)
    }

    /// As [`Quota::reserve`], for one task of this owner that is to become unfinished again.
    pub(super) async fn reserve_one(&self, owner: UserId) -> Result<Grant> {
        Ok(Grant(vec![(self.reserve_for(owner, 1).await?, 1)]))
    }

    async fn reserve_for(&self, id: UserId, tasks: usize) -> Result<Arc<Owner>> {
        let owner = self.owner(id);
        let mut verdict = owner.state().ask(tasks, Instant::now());
        if verdict == Verdict::Count {
            let _counting = owner.counting.lock().await;
            // Another request may have counted meanwhile.
            verdict = owner.state().ask(tasks, Instant::now());
            if verdict == Verdict::Count {
                verdict = self.count(id, &owner, tasks).await?;
            }
        }

        if verdict == Verdict::Granted {
            return Ok(owner);
        }
        let detail = "You have as many unfinished tasks as you may have.";
        Err(Error::QuotaExceeded { detail, retry_after: REFUSED_FOR })
    }

    async fn count(&self, id: UserId, owner: &Owner, tasks: usize) -> Result<Verdict> {
        let at = Instant::now();
        let unfinished = {
            let mut connection = self.0.pool.get().await?;
            db::tasks::unfinished_of(&mut connection, id, self.0.limit).await?
        };
        let mut state = owner.state();
        let left = unfinished.map(|count| self.0.limit.saturating_sub(count + state.under_way));
        let fits = left.is_none_or(|left| tasks <= left);
        state.counted = Some(Counted { at, left, granted: if fits { tasks } else { 0 } });
        if fits {
            state.under_way += tasks;
            return Ok(Verdict::Granted);
        }
        Ok(Verdict::Refused)
    }

    fn owner(&self, id: UserId) -> Arc<Owner> {
        let mut owners = self.0.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.len() >= REMEMBERED {
            let now = Instant::now();
            owners.retain(|_, owner| owner.state().is_of_use(now));
        }
        Arc::clone(owners.entry(id).or_default())
    }
}

impl Owner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of it is whole, so a poisoned lock is as good as a sound one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Grants so many tasks, refuses them, or says that a count must decide.
    fn ask(&mut self, tasks: usize, now: Instant) -> Verdict {
        let Some(counted) = &mut self.counted else { return Verdict::Count };
        let age = now.duration_since(counted.at);
        let granted = counted.granted + tasks;
        match counted.left {
            _ if age >= GOOD_FOR => return Verdict::Count,
            Some(left) if granted > left && age < REFUSED_FOR => return Verdict::Refused,
            Some(left) if granted > left / PART => return Verdict::Count,
            Some(_) | None => {}
        }
        counted.granted = granted;
        self.under_way += tasks;
        Verdict::Granted
    }

    fn is_of_use(&self, now: Instant) -> bool {
        self.under_way > 0 || self.counted.is_some_and(|counted| now.duration_since(counted.at) < GOOD_FOR)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        for (owner, tasks) in &self.0 {
            let mut state = owner.state();
            state.under_way = state.under_way.saturating_sub(*tasks);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(left: Option<usize>, at: Instant) -> State {
        State { counted: Some(Counted { at, left, granted: 0 }), under_way: 0 }
    }

    #[test]
    fn a_quarter_of_what_is_left_is_granted_without_counting() {
        let now = Instant::now();
        let mut state = counted(Some(100), now);
        assert_eq!(
            [10, 15, 1].map(|tasks| state.ask(tasks, now)),
            [Verdict::Granted, Verdict::Granted, Verdict::Count]
        );
        assert_eq!(state.under_way, 25);
        assert_eq!(counted(Some(100), now).ask(1, now + GOOD_FOR), Verdict::Count);
        assert_eq!(State::default().ask(1, now), Verdict::Count);
    }

    #[test]
    fn who_has_nothing_left_is_counted_once_a_second() {
        let now = Instant::now();
        let mut state = counted(Some(3), now);
        assert_eq!(state.ask(4, now), Verdict::Refused);
        assert_eq!(state.ask(3, now), Verdict::Count);
        assert_eq!(state.ask(4, now + REFUSED_FOR), Verdict::Count);
        assert_eq!(state.under_way, 0);
    }

    #[test]
    fn who_is_not_limited_is_granted_everything() {
        let now = Instant::now();
        let mut state = counted(None, now);
        assert_eq!(state.ask(1_000_000, now), Verdict::Granted);
        assert_eq!(state.ask(1, now + GOOD_FOR), Verdict::Count);
    }
}
