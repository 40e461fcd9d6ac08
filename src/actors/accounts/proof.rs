//! Proving who one is by a password: at log-in, and again before what must not be done by whoever finds a session open.

use std::net::IpAddr;

use super::{Tools, turns::Turn};
use crate::{
    actors::hashers::Verdict,
    db::{self, Transactional as _},
    domain::{
        Error, PasswordHash, PresentedPassword, Result, UserId,
        throttle::{Account, Bucket, Reserved},
    },
};

/// What came of a password that was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// It is the account's.
    Right {
        /// It was hashed at another cost than is configured now.
        needs_rehash: bool,
    },
    /// It is not.
    Wrong {
        /// That was the last try for now.
        locks: bool,
    },
}

/// Checks a password, unless too many were wrong lately. The try is counted in the database before the password is
/// looked at, and given back when it is right. No connection is held meanwhile.
///
/// # Errors
/// [`Error::AccountLocked`]; [`Error::Overloaded`]; as the database tells.
pub(super) async fn prove(
    tools: &Tools,
    account: Account<'_>,
    address: Option<IpAddr>,
    password: PresentedPassword,
    stored: Option<PasswordHash>,
) -> Result<Proof> {
    let strangers = Bucket::strangers(account);
    let known = Bucket::known(account, address);
    let turn = tools.turns.take(&strangers).await?;
    let (_turn, bucket, last) = count(tools, turn, &known, &strangers).await?;
    let verdict = match tools.hashers.verify(password, stored).await {
        Ok(verdict) => verdict,
        Err(error) => {
            // Nothing was learnt, by nobody.
            db::throttle::refund(&mut *tools.pool.get().await?, &bucket, tools.failures).await?;
            return Err(error);
        }
    };
    match verdict {
        Verdict::Right { needs_rehash } => {
            give_back(tools, &known, bucket).await?;
            Ok(Proof::Right { needs_rehash })
        }
        Verdict::Wrong => Ok(Proof::Wrong { locks: last }),
    }
}

/// Counts the try. When it is one too many, those that are under way may turn out to be right: it is tried once more after
/// them.
async fn count(
    tools: &Tools,
    turn: Turn,
    known: &Bucket,
    strangers: &Bucket,
) -> Result<(Turn, Bucket, bool)> {
    let mut turn = turn;
    for again in [true, false] {
        let mut connection = tools.pool.get().await?;
        let reserved = db::throttle::reserve(&mut connection, known, strangers, tools.failures).await?;
        drop(connection);
        match reserved {
            Reserved::Granted { bucket, last } => return Ok((turn, bucket, last)),
            Reserved::Refused { .. } if again => turn = turn.alone().await?,
            Reserved::Refused { retry_after } => return Err(Error::AccountLocked { retry_after }),
        }
    }
    Err(Error::internal("a try was neither counted nor refused"))
}

async fn give_back(tools: &Tools, known: &Bucket, bucket: Bucket) -> Result<()> {
    let limit = tools.failures;
    let mut connection = tools.pool.get().await?;
    connection
        .transaction(async |connection| {
            if bucket != *known {
                db::throttle::refund(connection, &bucket, limit).await?;
            }
            db::throttle::welcome(connection, known).await
        })
        .await
}

/// Checks the password of somebody who is logged in. What is wrong counts as a failed log-in.
///
/// # Errors
/// [`Error::CurrentPasswordIncorrect`]; else as [`prove`].
pub(super) async fn prove_again(
    tools: &Tools,
    user: UserId,
    address: Option<IpAddr>,
    password: PresentedPassword,
    stored: PasswordHash,
) -> Result<()> {
    match prove(tools, Account::Of(user), address, password, Some(stored)).await? {
        Proof::Right { .. } => Ok(()),
        Proof::Wrong { .. } => Err(Error::CurrentPasswordIncorrect),
    }
}
