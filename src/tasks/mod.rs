//! What the queue can run: plain async functions with typed payloads. No actix, no SQL.
//!
//! A type is a struct that is its payload, with [`TaskType`] for what it does, and one line in
//! [`Registry::builtin`]. What it needs of the world it gets from its [`Context`], as traits that others implement.

pub mod context;
pub mod files;
pub mod letter;
pub mod mail;
pub mod outcome;
pub mod registry;
pub mod retry;
pub mod services;
pub mod task_type;
pub mod webhook;

mod csv;
mod email_send;
mod maintenance_sweep;
mod noop;
mod payload;
mod report_users_csv;

pub use context::Context;
pub use outcome::{Outcome, Stop};
pub use registry::{Definition, Registry};
pub use retry::RetryPolicy;
pub use services::Services;
pub use task_type::TaskType;
