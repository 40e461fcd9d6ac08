//! The gate: from what is asked for to a task that its type takes.

use chrono::Utc;

use crate::{
    domain::{JsonText, TaskId, UserId, Violation, task::NewTask, task_request::TaskRequest},
    tasks::{Definition, Registry},
};

/// Checks requests for tasks against their types. Cheap to clone, and needs no actor: callers check on their own threads.
#[derive(Debug, Clone)]
pub struct Intake {
    registry: Registry,
    payload_limit: usize,
}

/// Bytes of a payload, unless configured.
const PAYLOAD_LIMIT: usize = 65_536;

impl Intake {
    /// For the types in `registry`.
    pub fn new(registry: Registry) -> Self {
        Self { registry, payload_limit: PAYLOAD_LIMIT }
    }

    /// Takes payloads of at most so many bytes.
    #[must_use]
    pub fn with_payload_limit(self, bytes: usize) -> Self {
        Self { payload_limit: bytes, ..self }
    }

    /// The task that is asked for, with what its type says of everything that is not asked for.
    ///
    /// # Errors
    /// Everything that is wrong with it, with JSON pointers to the fields of the request.
    pub fn admit(
        &self,
        request: TaskRequest,
        created_by: Option<UserId>,
        request_id: Option<&str>,
    ) -> Result<NewTask, Vec<Violation>> {
        let terms = request.terms(Utc::now());
        let payload = request.payload.clone().unwrap_or_else(JsonText::empty_object);
        let checked = self.check(&request.task_type, &payload);
        let terms = match (terms, checked) {
            (Ok(terms), Ok(())) => terms,
            (terms, checked) => {
                return Err(checked.err().into_iter().chain(terms.err()).flatten().collect());
            }
        };
        let Some(definition) = self.registry.get(&request.task_type) else {
            return Err(vec![Violation::new("/task_type", "unknown_task_type", "no such type of task")]);
        };
        let longest = definition.max_timeout_secs;
        if terms.timeout_secs.is_some_and(|secs| secs > longest) {
            let message = format!("1 to {longest} for this type");
            return Err(vec![Violation::new("/timeout_secs", "out_of_range", message)]);
        }

        let defaults = definition.defaults;
        Ok(NewTask {
            id: TaskId::new(),
            queue: terms.queue.map_or_else(|| defaults.queue.to_owned(), |queue| queue.as_str().to_owned()),
            payload,
            priority: terms.priority.unwrap_or(defaults.priority),
            when: terms.when,
            max_attempts: terms.max_attempts.unwrap_or(defaults.max_attempts),
            timeout_secs: terms.timeout_secs.unwrap_or(defaults.timeout_secs),
            unique_key: terms.unique_key,
            created_by,
            request_id: request_id.map(str::to_owned),
            schedule_id: None,
            task_type: request.task_type,
        })
    }

    /// Whether a task of this type may be told this.
    ///
    /// # Errors
    /// As [`Registry::check`], and `/payload` `too_long`.
    pub fn check(&self, task_type: &str, payload: &JsonText) -> Result<(), Vec<Violation>> {
        if payload.bytes() > self.payload_limit {
            let message = format!("at most {} bytes of JSON", self.payload_limit);
            return Err(vec![Violation::new("/payload", "too_long", message)]);
        }
        self.registry.check(task_type, payload)
    }

    /// Every type that can be asked for.
    pub fn definitions(&self) -> Vec<Definition> {
        self.registry.definitions().cloned().collect()
    }
}
