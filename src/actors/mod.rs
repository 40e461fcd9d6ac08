//! Who owns what: the actors, and the few pieces that they all share.

pub mod accounts;
mod activity;
pub mod api_keys;
pub mod boottime;
pub mod change_feed;
pub mod checkup;
pub mod coalesce;
mod credentials;
pub mod dispatcher;
pub mod figures;
pub mod hashers;
pub mod live;
pub mod maintenance;
pub mod memory;
#[cfg(feature = "bench-routes")]
pub mod one_statement;
mod presence;
pub mod reply;
pub mod revocation;
pub mod sessions;
pub mod system;
pub mod task_events;
pub mod threads;
pub mod vital;
pub mod watchdog;
mod work;
pub mod worker;
