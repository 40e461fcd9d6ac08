//! `starter admin task enqueue`.

use clap::Args;

use super::table;
use crate::{
    actors::dispatcher::{Intake, acts},
    cli::{Failure, Outcome, admin::desk::Desk},
    domain::{Error, JsonText, audit::Actor, task_request::TaskRequest},
    tasks::Registry,
};

#[derive(Debug, Args)]
pub(in crate::cli::admin) struct Wanted {
    /// One of `starter admin task types`
    task_type: String,
    /// What the task is told, a JSON object
    #[arg(long, default_value = "{}")]
    payload: String,
    /// Which workers run it
    #[arg(long)]
    queue: Option<String>,
    /// -100 to 100, higher first
    #[arg(long, allow_negative_numbers = true)]
    priority: Option<i64>,
    /// Not before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    run_at: Option<String>,
    /// Not before this many seconds from now
    #[arg(long, value_name = "SECONDS")]
    delay_secs: Option<f64>,
    /// Attempts that it is given
    #[arg(long, value_name = "N")]
    max_attempts: Option<i64>,
    /// At most one unfinished task of the system has it
    #[arg(long, value_name = "KEY")]
    unique_key: Option<String>,
    /// Seconds that one attempt may take
    #[arg(long, value_name = "SECONDS")]
    timeout_secs: Option<i64>,
}

pub(super) async fn run(wanted: Wanted, desk: &Desk) -> Outcome {
    let payload = JsonText::object(&wanted.payload)
        .map_err(|flaw| Failure::Usage(format!("--payload is not a JSON object that can be used: {flaw}")))?;
    let request = TaskRequest {
        task_type: wanted.task_type,
        payload: Some(payload),
        queue: wanted.queue,
        priority: wanted.priority,
        run_at: wanted.run_at,
        delay_secs: wanted.delay_secs,
        max_attempts: wanted.max_attempts,
        unique_key: wanted.unique_key,
        timeout_secs: wanted.timeout_secs,
    };
    let task = Intake::new(Registry::builtin())
        .with_payload_limit(desk.payload_limit())
        .admit(request, None, None)
        .map_err(Error::Invalid)?;
    let tasks = acts::enqueue_task(&mut *desk.connection().await?, &Actor::cli(), task).await?;
    desk.output.data(&tasks, |tasks| table(tasks))
}
