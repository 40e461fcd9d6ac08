//! Statements and what they need: the only layer that names diesel, bb8 and tokio-postgres.
//!
//! Functions here take `&mut AsyncPgConnection`, so that several make one transaction, and return types of the
//! domain; rows are private to their file.

pub mod embedded;
mod error;
pub mod migrate;
pub mod pool;
mod schema;
mod statement;
pub mod target;
pub mod tasks;
mod tls;

pub use pool::{Limits, Pool, PoolState, PooledConnection, connect};
pub use target::{Session, Target};
