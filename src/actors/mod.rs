//! Who owns what: the actors, and the few pieces that they all share.

pub mod checkup;
pub mod coalesce;
pub mod hashers;
pub mod live;
pub mod reply;
pub mod threads;
pub mod vital;
pub mod watchdog;
