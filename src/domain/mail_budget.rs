//! The mails that a request of a user who is no administrator would have their tasks send.

use super::UserId;

/// Mails to be counted before the tasks that send them are enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailBudget {
    /// The user whose tasks send them.
    pub user: UserId,
    /// The number of mails.
    pub mails: u32,
    /// The most that the tasks of one user may send on a day.
    pub daily: u32,
}
