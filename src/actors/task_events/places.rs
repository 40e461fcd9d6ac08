//! Places for listeners: so many in a process, and so many of one user.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::domain::{Error, Result, UserId};

/// Who listens.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<UserId, usize>>>);

/// A place, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    user: UserId,
}

impl Places {
    /// Takes one for this user.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`] when the user, or the process, has as many as it may.
    pub(super) fn take(&self, user: UserId, of_user: usize, of_all: usize) -> Result<Place> {
        let mut taken = self.lock();
        let all: usize = taken.values().sum();
        let own = taken.get(&user).copied().unwrap_or(0);
        if all >= of_all || own >= of_user {
            let detail = "Too many event streams are open.";
            return Err(Error::QuotaExceeded { detail, retry_after: super::RETRY_AFTER });
        }
        taken.insert(user, own + 1);
        Ok(Place { places: self.clone(), user })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(mut taken) = self.places.lock().entry(self.user) {
            match taken.get().saturating_sub(1) {
                0 => _ = taken.remove(),
                left => _ = taken.insert(left),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_and_a_process_have_so_many_streams_and_a_place_is_free_again() {
        let (places, one, other) = (Places::default(), UserId::new(), UserId::new());
        let first = places.take(one, 2, 3).unwrap();
        let _second = places.take(one, 2, 3).unwrap();
        assert!(matches!(places.take(one, 2, 3), Err(Error::QuotaExceeded { .. })));
        let _third = places.take(other, 2, 3).unwrap();
        assert!(places.take(other, 2, 3).is_err(), "the process has three");
        drop(first);
        assert!(places.take(other, 2, 3).is_ok());
        assert_eq!(places.lock().len(), 2, "whoever has no stream takes no room");
    }
}
