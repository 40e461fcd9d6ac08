//! What the service is about, without any framework: no actix, no diesel, no I/O.

pub mod account;
pub mod api_key;
pub mod attempt;
pub mod audit;
pub mod caller;
pub mod email;
pub mod error;
pub mod forget;
pub mod id;
pub mod issued_key;
pub mod letter;
pub mod origin;
pub mod page;
pub mod password;
pub mod permission;
pub mod session;
pub mod task;
pub mod throttle;
pub mod timestamp;
pub mod token;
pub mod user;
pub mod username;

pub use caller::{Action, Caller, Credential, Reach, authorize};
pub use error::{Conflict, Error, Result, Violation};
pub use forget::Forget;
pub use id::{ApiKeyId, ScheduleId, SessionId, TaskId, UserId};
pub use issued_key::ApiKey;
pub use origin::Origin;
pub use page::{Cursor, Limit, Listing, Page};
pub use password::{NewPassword, PasswordHash, PasswordPolicy, PresentedPassword};
pub use permission::{Permission, Permissions};
pub use session::Session;
pub use user::{Email, Login, Role, User, Username};
