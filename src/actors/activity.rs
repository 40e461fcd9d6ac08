//! Which sessions or keys were used, until it is written down: many in one statement, each about once a minute.

use std::{
    collections::HashSet,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// Most that wait to be written down; more are left for their next use.
const CAPACITY: usize = 100_000;

/// The ids of what was used. Cheap to clone.
#[derive(Debug)]
pub(super) struct Activity<Id>(Arc<Mutex<HashSet<Id>>>);

impl<Id> Clone for Activity<Id> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Id: Copy + Eq + Hash> Activity<Id> {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// These were used.
    pub(super) fn note(&self, ids: impl IntoIterator<Item = Id>) {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            if used.len() < CAPACITY {
                used.insert(id);
            }
        }
    }

    /// What was used since it was last asked.
    pub(super) fn take(&self) -> Vec<Id> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_told_once() {
        let activity = Activity::new();
        activity.note([1, 2]);
        activity.clone().note([2]);
        let mut used = activity.take();
        used.sort_unstable();
        assert_eq!(used, [1, 2]);
        assert!(activity.take().is_empty());
    }
}
