//! What is asked for when a schedule is made or changed, and its way to a plan.

use chrono::{DateTime, Utc};

use super::{
    JsonText, Violation,
    cron::Recurrence,
    queue::QueueName,
    schedule::{Missed, Plan, Schedule, next_tick},
};

/// Longest name, in characters.
const MAX_NAME_CHARS: usize = 100;

/// A schedule as it is asked for, or what shall change of one: nothing checked yet.
#[derive(Debug, Clone, Default)]
pub struct ScheduleRequest {
    /// Unique.
    pub name: Option<String>,
    /// When, in cron's words.
    pub cron: Option<String>,
    /// IANA name.
    pub timezone: Option<String>,
    /// Of the tasks it makes.
    pub task_type: Option<String>,
    /// Of the tasks it makes.
    pub payload: Option<JsonText>,
    /// Of the tasks it makes.
    pub queue: Option<String>,
    /// Whether it makes any.
    pub enabled: Option<bool>,
    /// What becomes of ticks that passed while no worker was there.
    pub missed: Option<String>,
}

impl ScheduleRequest {
    /// Returns the plan of a new schedule. `check` judges the payload by its type.
    ///
    /// # Errors
    /// Everything that is wrong, with JSON pointers to the fields of the request.
    pub fn plan(
        self,
        now: DateTime<Utc>,
        check: impl FnOnce(&str, &JsonText) -> Result<(), Vec<Violation>>,
    ) -> Result<Plan, Vec<Violation>> {
        let mut wrong = Vec::new();
        let task_type = self.task_type.unwrap_or_default();
        let payload = self.payload.unwrap_or_else(JsonText::empty_object);

        let name = accept(name(&self.name.unwrap_or_default()), &mut wrong);
        let timezone = self.timezone.as_deref().unwrap_or("UTC");
        let recurrence = Recurrence::parse(&self.cron.unwrap_or_default(), timezone);
        let recurrence = recurrence.map_err(|violations| wrong.extend(violations)).ok();
        wrong.extend(check(&task_type, &payload).err().into_iter().flatten());
        let queue = accept(QueueName::for_tasks(self.queue.as_deref().unwrap_or("default")), &mut wrong);
        let missed = accept(Missed::parse(self.missed.as_deref().unwrap_or("skip")), &mut wrong);

        match (name, recurrence, queue, missed) {
            (Some(name), Some(recurrence), Some(queue), Some(missed)) if wrong.is_empty() => {
                let enabled = self.enabled.unwrap_or(true);
                let next_run_at = enabled.then(|| recurrence.next_after(now)).flatten();
                let (cron, timezone) = (recurrence.as_str().to_owned(), recurrence.timezone().to_owned());
                let queue = queue.as_str().to_owned();
                let disabled_reason = None;
                Ok(Plan {
                    name,
                    cron,
                    timezone,
                    task_type,
                    payload,
                    queue,
                    enabled,
                    disabled_reason,
                    missed,
                    next_run_at,
                })
            }
            _ => Err(wrong),
        }
    }

    /// Returns the plan of a changed schedule: what is not asked for stays as `before` has it, and is not judged.
    ///
    /// # Errors
    /// Everything that is wrong, with JSON pointers to the fields of the request.
    pub fn change(
        self,
        before: &Schedule,
        now: DateTime<Utc>,
        check: impl FnOnce(&str, &JsonText) -> Result<(), Vec<Violation>>,
    ) -> Result<Plan, Vec<Violation>> {
        let mut wrong = Vec::new();
        let mut plan = Plan::from(before);

        if let Some(sent) = &self.name {
            plan.name = accept(name(sent), &mut wrong).unwrap_or_default();
        }
        wrong.extend(self.change_times(before, now, &mut plan).err().into_iter().flatten());
        if self.task_type.is_some() || self.payload.is_some() {
            plan.task_type = self.task_type.unwrap_or(plan.task_type);
            plan.payload = self.payload.unwrap_or(plan.payload);
            wrong.extend(check(&plan.task_type, &plan.payload).err().into_iter().flatten());
        }
        if let Some(queue) = &self.queue {
            plan.queue =
                accept(QueueName::for_tasks(queue), &mut wrong).map_or_else(String::new, |q| q.to_string());
        }
        if let Some(missed) = &self.missed {
            plan.missed = accept(Missed::parse(missed), &mut wrong).unwrap_or(plan.missed);
        }

        if wrong.is_empty() { Ok(plan) } else { Err(wrong) }
    }

    /// The part of a change that concerns times: the next tick stays while neither they nor `enabled` change.
    fn change_times(
        &self,
        before: &Schedule,
        now: DateTime<Utc>,
        plan: &mut Plan,
    ) -> Result<(), Vec<Violation>> {
        let cron = self.cron.as_ref().unwrap_or(&before.cron);
        let timezone = self.timezone.as_ref().unwrap_or(&before.timezone);
        let recurrence = Recurrence::parse(cron, timezone);

        // What is stored may be against today's rules; that is no fault of this request.
        let is_sent = |violation: &&Violation| match violation.field.as_ref() {
            "/cron" => self.cron.is_some(),
            _ => self.timezone.is_some(),
        };
        let refused = recurrence.as_ref().err().into_iter().flatten().filter(is_sent);
        let refused: Vec<_> = refused.cloned().collect();
        if !refused.is_empty() {
            return Err(refused);
        }

        let stored = |text: &str, parsed: Option<&str>| parsed.unwrap_or(text).to_owned();
        plan.cron = stored(cron, recurrence.as_ref().ok().map(Recurrence::as_str));
        plan.timezone = stored(timezone, recurrence.as_ref().ok().map(Recurrence::timezone));
        plan.enabled = self.enabled.unwrap_or(before.enabled);
        let same_times = plan.cron == before.cron && plan.timezone == before.timezone;
        if same_times && plan.enabled == before.enabled {
            return Ok(());
        }

        (plan.disabled_reason, plan.next_run_at) = (None, None);
        if plan.enabled {
            match next_tick(recurrence, now) {
                Ok(next) => plan.next_run_at = Some(next),
                Err(reason) if self.enabled == Some(true) => {
                    return Err(vec![Violation::new("/enabled", "invalid_cron", reason)]);
                }
                Err(reason) => (plan.enabled, plan.disabled_reason) = (false, Some(reason)),
            }
        }
        Ok(())
    }
}

fn accept<T>(judged: Result<T, Violation>, wrong: &mut Vec<Violation>) -> Option<T> {
    judged.map_err(|violation| wrong.push(violation)).ok()
}

fn name(text: &str) -> Result<String, Violation> {
    let name = text.trim();
    let chars = name.chars().take(MAX_NAME_CHARS + 1).count();
    if (1..=MAX_NAME_CHARS).contains(&chars) && !text.chars().any(char::is_control) {
        Ok(name.to_owned())
    } else {
        Err(Violation::new("/name", "invalid_name", "1 to 100 characters, no control characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> ScheduleRequest {
        ScheduleRequest {
            name: Some("nightly".into()),
            cron: Some("0 3 * * *".into()),
            task_type: Some("noop".into()),
            ..ScheduleRequest::default()
        }
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let plan = request().plan(Utc::now(), |_, _| Ok(())).unwrap();
        assert_eq!((plan.queue.as_str(), plan.enabled, plan.missed), ("default", true, Missed::Skip));
        assert_eq!((plan.timezone.as_str(), plan.payload), ("UTC", JsonText::empty_object()));
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let request = ScheduleRequest {
            name: Some(" ".into()),
            cron: Some("soon".into()),
            timezone: Some("Nowhere".into()),
            queue: Some("A".into()),
            missed: Some("maybe".into()),
            ..request()
        };
        let refuse = |_: &str, _: &JsonText| Err(vec![Violation::new("/payload/x", "unknown_field", "")]);
        let wrong = request.plan(Utc::now(), refuse).unwrap_err();
        let fields: Vec<_> = wrong.iter().map(|violation| violation.field.as_ref()).collect();
        assert_eq!(fields, ["/name", "/cron", "/timezone", "/payload/x", "/queue", "/missed"]);
    }
}
