//! Statements and what they need: the only layer that names diesel, bb8 and tokio-postgres.
//!
//! Functions here take `&mut AsyncPgConnection`, so that several make one transaction, and return types of the
//! domain; rows are private to their file.

pub mod api_keys;
pub mod audit;
pub mod clock;
pub mod embedded;
mod error;
mod found;
pub mod health;
pub mod idempotency;
mod json;
mod key_row;
pub mod listen;
pub mod mail_quotas;
pub mod migrate;
mod moment;
mod negotiation;
pub mod one_time_tokens;
pub mod pool;
pub mod queue;
pub mod queues;
pub mod schedules;
mod schema;
pub mod sessions;
mod sessions_list;
mod sessions_open;
mod sqlstate;
mod statement;
pub mod sweep;
pub mod target;
pub mod task_events;
pub mod tasks;
pub mod throttle;
mod tls;
pub mod turn;
mod url;
mod user_row;
pub mod users;
pub mod writes;

pub use clock::now;
pub use diesel_async::{AsyncConnection as Transactional, AsyncPgConnection as Connection};
pub use found::Found;
pub use pool::{Limits, Plans, Pool, PoolState, PooledConnection, connect};
pub use target::{Session, Target};

/// Makes `text` stand for itself in a `LIKE` pattern.
fn escape_like(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '%' | '_') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
