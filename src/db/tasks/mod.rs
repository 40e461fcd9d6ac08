//! Tasks: everything about them that is not a worker's.

mod bulk;
mod change;
mod find;
mod insert;
mod recent;
mod row;
mod stats;

pub use bulk::{Failed, Prune, disown, prune, retry_failed};
pub use change::{cancel, delete, retry};
pub use find::{attempts, find, find_many, page};
pub use insert::insert;
pub use stats::{depths, oldest_due, stats};
