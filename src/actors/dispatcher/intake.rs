//! The gate: from what is asked for to a task that its type takes.

use chrono::Utc;

use crate::{
    domain::{
        Caller, Error, JsonText, Result, TaskId, UserId, Violation, mail_budget::MailBudget, task::NewTask,
        task_request::TaskRequest,
    },
    tasks::{Definition, Registry},
};

/// Checks requests for tasks against their types. Cheap to clone, and needs no actor: callers check on their own threads.
#[derive(Debug, Clone)]
pub struct Intake {
    registry: Registry,
    payload_limit: usize,
    daily_mails: u32,
}

/// Bytes of a payload, unless configured.
const PAYLOAD_LIMIT: usize = 65_536;
/// Mails that the tasks of one user may send on a day, unless configured.
const DAILY_MAILS: u32 = 50;

impl Intake {
    /// For the types in `registry`.
    pub fn new(registry: Registry) -> Self {
        Self { registry, payload_limit: PAYLOAD_LIMIT, daily_mails: DAILY_MAILS }
    }

    /// Takes payloads of at most so many bytes.
    #[must_use]
    pub fn with_payload_limit(self, bytes: usize) -> Self {
        Self { payload_limit: bytes, ..self }
    }

    /// With another number of mails that the tasks of one user may send on a day.
    #[must_use]
    pub fn with_daily_mails(mut self, daily_mails: u32) -> Self {
        self.daily_mails = daily_mails;
        self
    }

    /// Judges whether the caller may enqueue tasks of this type. An unknown one is no matter of rights.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::InsufficientScope`].
    pub fn may_enqueue(&self, caller: &Caller, task_type: &str) -> Result<()> {
        self.registry.get(task_type).map_or(Ok(()), |known| caller.may(known.enqueue))
    }

    /// Judges whether the caller may fetch the file of a task of this type. That of a type that is known no more is there
    /// for nobody.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], [`Error::InsufficientScope`].
    pub fn may_fetch_file(&self, caller: &Caller, task_type: &str) -> Result<()> {
        caller.may(self.registry.get(task_type).ok_or(Error::NotFound)?.file)
    }

    pub(super) fn sends_mail(&self, task_type: &str) -> bool {
        self.registry.get(task_type).is_some_and(|known| known.sends_mail)
    }

    /// Returns the mails that tasks of these types send and that are counted, since the caller is no administrator.
    ///
    /// # Errors
    /// [`Error::EmailNotVerified`].
    pub fn mail_budget<'a>(
        &self,
        caller: &Caller,
        task_types: impl Iterator<Item = &'a str>,
    ) -> Result<Option<MailBudget>> {
        let mails = task_types.filter(|name| self.sends_mail(name)).count();
        let mails = u32::try_from(mails).unwrap_or(u32::MAX);
        if mails == 0 || caller.is_admin() {
            return Ok(None);
        }
        if !caller.user.email_verified {
            return Err(Error::EmailNotVerified);
        }

        Ok(Some(MailBudget { user: caller.user.id, mails, daily: self.daily_mails }))
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
