//! The types that this program knows.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::{
    Context, Outcome, RetryPolicy, Stop, TaskType,
    email_send::EmailSend,
    letter::AccountLetter,
    maintenance_sweep::MaintenanceSweep,
    noop::Noop,
    payload::{self, Shape},
    report_users_csv::ReportUsersCsv,
    webhook::WebhookDeliver,
};
use crate::domain::{Action, JsonText, Violation};

/// The types that this program knows. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry(Arc<BTreeMap<&'static str, Entry>>);

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[derive(Clone)]
struct Entry {
    definition: Definition,
    /// The action that the type itself names.
    declared: Action,
    shape: Shape,
    check: fn(&Shape, &JsonText) -> Vec<Violation>,
    start: fn(&JsonText, Context) -> BoxFuture<'static, Outcome>,
}

/// A type as `GET /api/v1/tasks/types` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Definition {
    /// Its name.
    pub task_type: &'static str,
    /// What it does, the first paragraph of its documentation.
    pub description: String,
    /// JSON Schema (2020-12) of its payload.
    pub payload_schema: Value,
    /// What holds for a task that does not say otherwise.
    pub defaults: Defaults,
    /// When a failed attempt is followed by the next.
    pub retry: RetryPolicy,
    /// The most seconds that a task may ask for as its `timeout_secs`.
    pub max_timeout_secs: i32,
    /// Tasks of this type that run at once across all workers; null: no limit.
    pub max_running: Option<u32>,
    /// What a caller must be allowed to enqueue it.
    #[serde(serialize_with = "requirement")]
    pub enqueue: Action,
    /// What a caller must be allowed to fetch its file.
    #[serde(serialize_with = "requirement")]
    pub file: Action,
    /// Each task sends a mail that is counted where a user ordered it.
    #[serde(skip)]
    pub sends_mail: bool,
    /// Only the program itself enqueues such tasks.
    #[serde(skip)]
    pub internal: bool,
}

/// What holds for a task that does not say otherwise.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Defaults {
    /// Which workers run it.
    pub queue: &'static str,
    /// -100..=100, higher first.
    pub priority: i16,
    /// Attempts that it is given.
    pub max_attempts: i32,
    /// Seconds that one attempt may take.
    pub timeout_secs: i32,
}

impl Registry {
    /// The built-in types, of which users may enqueue `noop`. A new one is one more line here.
    pub fn builtin() -> Self {
        Self::default()
            .with::<AccountLetter>()
            .with::<EmailSend>()
            .with::<MaintenanceSweep>()
            .with::<Noop>()
            .with::<ReportUsersCsv>()
            .with::<WebhookDeliver>()
            .open_to_users(&[Noop::NAME])
    }

    /// Opens exactly these of the types that are for administrators to users; types that name another action keep it.
    #[must_use]
    pub fn open_to_users<S: AsRef<str>>(mut self, names: &[S]) -> Self {
        let is_listed = |name: &str| names.iter().any(|listed| listed.as_ref() == name);
        for (name, entry) in Arc::make_mut(&mut self.0) {
            if entry.declared == Action::EnqueueRestricted {
                let listed = is_listed(name);
                entry.definition.enqueue = if listed { Action::WriteTasks } else { entry.declared };
            }
        }
        self
    }

    /// And one type more; it takes the place of one of the same name.
    #[must_use]
    pub fn with<T: TaskType>(mut self) -> Self {
        let mut payload_schema = schemars::schema_for!(T).to_value();
        let shape = Shape::close(&mut payload_schema);
        let definition = Definition {
            task_type: T::NAME,
            description: description(&payload_schema),
            payload_schema,
            defaults: Defaults {
                queue: "default",
                priority: 0,
                max_attempts: T::MAX_ATTEMPTS,
                timeout_secs: whole_secs(T::TIMEOUT),
            },
            retry: T::RETRY,
            max_timeout_secs: whole_secs(T::TIMEOUT.max(T::MAX_TIMEOUT)),
            max_running: T::MAX_RUNNING,
            enqueue: T::ENQUEUE,
            file: T::FILE,
            sends_mail: T::SENDS_MAIL,
            internal: T::INTERNAL,
        };
        let declared = T::ENQUEUE;
        let entry = Entry { definition, declared, shape, check: payload::check::<T>, start: start::<T> };
        Arc::make_mut(&mut self.0).insert(T::NAME, entry);
        self
    }

    /// What is known of a type; `None` for an unknown one.
    pub fn get(&self, task_type: &str) -> Option<&Definition> {
        self.0.get(task_type).map(|entry| &entry.definition)
    }

    /// Every type, by name, the internal ones too.
    pub fn known(&self) -> impl Iterator<Item = &Definition> {
        self.0.values().map(|entry| &entry.definition)
    }

    /// The types that callers may enqueue, by name.
    pub fn definitions(&self) -> impl Iterator<Item = &Definition> {
        self.known().filter(|known| !known.internal)
    }

    /// Whether a caller may enqueue a task of this type with this payload.
    ///
    /// # Errors
    /// Everything that is wrong, with JSON pointers into the request: `/task_type`, `/payload/to`.
    pub fn check(&self, task_type: &str, payload: &JsonText) -> Result<(), Vec<Violation>> {
        let Some(entry) = self.0.get(task_type).filter(|entry| !entry.definition.internal) else {
            let message = "no such type of task; GET /api/v1/tasks/types lists them";
            return Err(vec![Violation::new("/task_type", "unknown_task_type", message)]);
        };
        let wrong = (entry.check)(&entry.shape, payload);
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.into_iter().map(|violation| violation.under("/payload")).collect())
        }
    }

    /// One attempt, not yet begun: it runs as the future is polled.
    pub fn start(
        &self,
        task_type: &str,
        payload: &JsonText,
        context: Context,
    ) -> BoxFuture<'static, Outcome> {
        match self.0.get(task_type) {
            Some(entry) => (entry.start)(payload, context),
            None => Box::pin(async { Err(Stop::failed("this worker does not know the type")) }),
        }
    }
}

fn start<T: TaskType>(payload: &JsonText, context: Context) -> BoxFuture<'static, Outcome> {
    match payload::read::<T>(payload) {
        Ok(task) => Box::pin(task.run(context)),
        // It fitted when it was enqueued: by another version of the program, whose worker may come.
        Err(violation) => {
            let why = format!("the payload does not fit its type at {}", violation.field);
            Box::pin(async move { Err(Stop::failed(why)) })
        }
    }
}

fn requirement<S: Serializer>(action: &Action, serializer: S) -> Result<S::Ok, S::Error> {
    action.requirement().serialize(serializer)
}

fn whole_secs(time: Duration) -> i32 {
    i32::try_from(time.as_secs().max(1)).unwrap_or(i32::MAX)
}

fn description(schema: &Value) -> String {
    let whole = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    whole.split("\n\n").next().unwrap_or_default().replace('\n', " ")
}

#[cfg(test)]
mod tests;
