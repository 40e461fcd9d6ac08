//! How failed log-ins are counted: by account, apart for addresses that the account is known to use.
//!
//! Two rules at once: no number of parallel tries from any number of addresses gets past the limit, and a stranger who
//! fails on purpose cannot lock the owner out. Strangers to an account share one count. An address from which somebody
//! logged in to it lately has a count of its own, so the owner at home or at work goes on while strangers are refused.
//! From a new place he proves by a mail who he is: resetting the password makes that place known.

use std::{net::IpAddr, time::Duration};

use sha2::{Digest as _, Sha256};

use super::{Login, UserId};

/// How many tries, in which time, and what happens then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Tries within the window; the last of them blocks.
    pub tries: u32,
    /// From the first try on.
    pub window: Duration,
    /// How long further tries are refused.
    pub block: Duration,
}

/// What came of counting a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// It may be made.
    Granted {
        /// Where it was counted: to give it back.
        bucket: Bucket,
        /// It is the last one before the block.
        last: bool,
    },
    /// Too many.
    Refused {
        /// When the block ends.
        retry_after: Duration,
    },
}

/// What tries are counted by: a hash, for the names that people type are nobody's business, and are passwords at times.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bucket(Vec<u8>);

/// Whose log-ins are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account<'a> {
    /// One that exists, by whatever name it was called: a name and an address are not two chances.
    Of(UserId),
    /// One that does not, by the name that was tried.
    Unknown(&'a Login),
}

impl Bucket {
    /// First byte of buckets that all strangers to an account share.
    const STRANGERS: u8 = 1;
    /// First byte of buckets of one known address; they are remembered for longer.
    pub const KNOWN: u8 = 2;
    /// First byte of buckets of mails to one address.
    const MAILS: u8 = 3;

    fn new(kind: u8, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut bytes = vec![kind];
        bytes.extend(hash.finalize());
        Self(bytes)
    }

    /// Of all strangers to an account.
    pub fn strangers(account: Account<'_>) -> Self {
        match account {
            Account::Of(user) => Self::new(Self::STRANGERS, &[b"user", user.0.as_bytes()]),
            Account::Unknown(login) => Self::new(Self::STRANGERS, &[b"name", login.canonical().as_bytes()]),
        }
    }

    /// Of one address that logged in to the account, if it ever did. IPv6 by its first 64 bits: one household.
    pub fn known(account: Account<'_>, address: Option<IpAddr>) -> Self {
        let place = match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => address.octets().to_vec(),
            Some(IpAddr::V6(address)) => address.octets().into_iter().take(8).collect(),
            None => Vec::new(),
        };
        let Self(account) = Self::strangers(account);
        Self::new(Self::KNOWN, &[&account, &place])
    }

    /// Of mails with tokens to one address, in canonical form.
    pub fn mails(purpose: &'static str, address: &str) -> Self {
        Self::new(Self::MAILS, &[purpose.as_bytes(), address.as_bytes()])
    }

    /// Of mails that anybody can cause to one address, in canonical form, whatever they are for.
    pub fn mails_to(address: &str) -> Self {
        Self::new(Self::MAILS, &[b"to", address.as_bytes()])
    }

    /// Of mails that one user can cause, whatever they are for and whoever gets them.
    pub fn mails_of(user: UserId) -> Self {
        Self::new(Self::MAILS, &[b"of", user.0.as_bytes()])
    }

    /// For the database.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// From the database.
    pub fn from_stored(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_account_is_one_by_whatever_name_and_an_unknown_one_by_its_name() {
        let (alice, bob) = (UserId::new(), UserId::new());
        assert_ne!(Bucket::strangers(Account::Of(alice)), Bucket::strangers(Account::Of(bob)));
        let (typed, shouted, other) =
            (Login::parse("carol"), Login::parse("CAROL "), Login::parse("carol@x.co"));
        assert_eq!(
            Bucket::strangers(Account::Unknown(&typed)),
            Bucket::strangers(Account::Unknown(&shouted))
        );
        assert_ne!(Bucket::strangers(Account::Unknown(&typed)), Bucket::strangers(Account::Unknown(&other)));
    }

    #[test]
    fn addresses_are_told_apart_by_household() {
        let alice = Account::Of(UserId::new());
        let known = |address: &str| Bucket::known(alice, Some(address.parse().unwrap()));
        assert_ne!(known("192.0.2.1"), known("192.0.2.2"));
        assert_eq!(known("2001:db8:1:2::1"), known("2001:db8:1:2:ffff::9"));
        assert_ne!(known("2001:db8:1:2::1"), known("2001:db8:1:3::1"));
        assert_ne!(known("192.0.2.1"), Bucket::known(alice, None));
        assert_eq!(known("192.0.2.1").as_bytes()[0], Bucket::KNOWN);
    }
}
