//! What a type of task says of itself.

use std::{future::Future, time::Duration};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::{Context, Outcome, RetryPolicy};
use crate::domain::{Action, Violation};

/// A type of task. The struct is its payload; its doc comment describes it in `GET /api/v1/tasks/types`.
///
/// ```
/// use schemars::JsonSchema;
/// use serde::Deserialize;
/// use serde_json::json;
/// use starter::tasks::{Context, Outcome, Registry, TaskType};
///
/// /// Greets.
/// #[derive(Deserialize, JsonSchema)]
/// struct Greet {
///     /// Who is greeted.
///     name: String,
/// }
///
/// impl TaskType for Greet {
///     const NAME: &'static str = "greet";
///
///     async fn run(self, _: Context) -> Outcome {
///         Ok(json!({ "greeting": format!("Hello, {}", self.name) }))
///     }
/// }
///
/// let registry = Registry::builtin().with::<Greet>();
/// assert!(registry.check("greet", &json!({ "name": "Ada" }).into()).is_ok());
/// assert!(registry.check("greet", &json!({ "nam": "Ada" }).into()).is_err());
/// ```
pub trait TaskType: DeserializeOwned + JsonSchema + Send + 'static {
    /// How it is called in requests and in the database; never changes, for tasks of that name may be waiting.
    const NAME: &'static str;
    /// Attempts that a task is given unless it asks for another number, 1..=100.
    const MAX_ATTEMPTS: i32 = 5;
    /// How long one attempt may take unless the task asks for another time. Whole seconds.
    const TIMEOUT: Duration = Duration::from_secs(60);
    /// The longest time that a task may ask for, in whole seconds. A slot of a worker is taken for as long.
    const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
    /// When a failed attempt is followed by the next.
    const RETRY: RetryPolicy = RetryPolicy::DEFAULT;
    /// Tasks of this type that run at once across all workers; `None`: as many as the workers take.
    ///
    /// A limit costs a statement per look for work, so declare one only where something else would break.
    const MAX_RUNNING: Option<u32> = None;

    /// What a caller must be allowed to enqueue such a task, retry it or have a schedule make it, besides `tasks:write`.
    /// The default is for administrators; `STARTER__WORKER__USER_TASK_TYPES` opens types with that default to users.
    const ENQUEUE: Action = Action::EnqueueRestricted;
    /// What a caller must be allowed to fetch the file that such a task made, besides seeing the task.
    const FILE: Action = Action::ReadTasks;
    /// Each such task sends a mail to an address that its payload names: for users, it is counted.
    const SENDS_MAIL: bool = false;

    /// Only the program itself enqueues such tasks: callers are told that there is no such type.
    const INTERNAL: bool = false;

    /// What is wrong with a payload beyond its form, with JSON pointers that start at the payload: `/to`.
    /// Asked when a task is enqueued.
    fn check(&self) -> Vec<Violation> {
        Vec::new()
    }

    /// Makes one attempt. It may run more than once for one task, also at the same time when a worker was cut off
    /// from the database, so it must bear that.
    ///
    /// The future is dropped, at whatever it is waiting for, when its time is up or when it does not end soon after
    /// [`Context::cancelled`]. It must not block its thread. A panic in it fails the attempt and nothing else.
    fn run(self, context: Context) -> impl Future<Output = Outcome> + Send;
}
