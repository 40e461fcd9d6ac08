//! Tasks: everything about them that is not a worker's.

mod bulk;
mod change;
mod find;
mod insert;
mod owner;
mod page;
mod recent;
mod row;
mod stats;

pub use bulk::{Failed, Prune, prune, retry_failed};
pub use change::{cancel, delete, retry};
pub use find::{attempts, find, find_many};
pub use insert::{insert, insert_many};
pub use owner::{
    Departed, Owned, cancel_running_of, cancel_waiting_of, departed, disown, forget_departed, unfinished_of,
};
pub use page::page;
pub use stats::{depths, oldest_due, stats};
