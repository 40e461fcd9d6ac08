//! Turns: only a few passwords of one account are checked at once.
//!
//! A try is counted as failed until it is known to be right. Were any number of tries under way, people with the right
//! password could find all that are allowed taken by each other, and be told that the account is locked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::{Error, Result, throttle::Bucket};

/// Checks of one account at once in this process.
const AT_ONCE: u32 = 4;
/// Accounts to remember before those are forgotten that nobody logs in to now.
const TIDY: usize = 256;

/// Who is at it.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<Accounts>);

#[derive(Debug, Default)]
struct Accounts {
    gates: HashMap<Bucket, Weak<Semaphore>>,
    tidy_at: usize,
}

/// The right to check a password of one account.
#[derive(Debug)]
pub(super) struct Turn {
    gate: Arc<Semaphore>,
    permit: OwnedSemaphorePermit,
}

impl Turns {
    /// Waits for a turn. Those who wait are served in the order in which they came.
    pub(super) async fn take(&self, account: &Bucket) -> Result<Turn> {
        let gate = self.gate(account);
        let permit = Arc::clone(&gate).acquire_owned().await.map_err(Error::internal)?;
        Ok(Turn { gate, permit })
    }

    fn gate(&self, account: &Bucket) -> Arc<Semaphore> {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = accounts.gates.get(account).and_then(Weak::upgrade) {
            return gate;
        }
        if accounts.gates.len() >= accounts.tidy_at.max(TIDY) {
            accounts.gates.retain(|_, gate| gate.strong_count() > 0);
            accounts.tidy_at = accounts.gates.len() * 2;
        }
        let gate = Arc::new(Semaphore::new(AT_ONCE as usize));
        accounts.gates.insert(account.clone(), Arc::downgrade(&gate));
        gate
    }
}

impl Turn {
    /// Waits until nobody else checks this account's password.
    pub(super) async fn alone(self) -> Result<Self> {
        let Self { gate, permit } = self;
        drop(permit);
        let permit = Arc::clone(&gate).acquire_many_owned(AT_ONCE).await.map_err(Error::internal)?;
        Ok(Self { gate, permit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{UserId, throttle::Account};

    fn account() -> Bucket {
        Bucket::strangers(Account::Of(UserId::new()))
    }

    #[tokio::test]
    async fn only_a_few_are_at_one_account_at_once() {
        let turns = Turns::default();
        let account = account();
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            held.push(turns.take(&account).await.unwrap());
        }
        assert!(turns.gate(&account).try_acquire().is_err());
        assert!(turns.take(&self::account()).await.is_ok(), "another account is not concerned");
        held.pop();
        assert!(turns.gate(&account).try_acquire().is_ok());
    }

    #[tokio::test]
    async fn being_alone_is_waited_for() {
        let turns = Turns::default();
        let account = account();
        let first = turns.take(&account).await.unwrap();
        let second = turns.take(&account).await.unwrap();
        let alone = second.alone();
        tokio::pin!(alone);
        assert!(futures_util::poll!(&mut alone).is_pending());
        drop(first);
        let _alone = alone.await.unwrap();
        assert!(turns.gate(&account).try_acquire().is_err());
    }

    #[tokio::test]
    async fn accounts_that_nobody_logs_in_to_are_forgotten() {
        let turns = Turns::default();
        for _ in 0..10 * TIDY {
            turns.take(&account()).await.unwrap();
        }
        assert!(turns.0.lock().unwrap().gates.len() <= TIDY);
    }
}
