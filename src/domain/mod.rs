//! What the service is about, without any framework: no actix, no diesel, no I/O.

pub mod error;
pub mod id;
pub mod origin;
pub mod task;

pub use error::{Conflict, Error, Result, Violation};
pub use id::{ApiKeyId, ScheduleId, SessionId, TaskId, UserId};
pub use origin::Origin;
