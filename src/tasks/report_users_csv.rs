//! `report.users_csv`: all users, as a file.

use std::{io, time::Duration};

use chrono::{SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{Context, Outcome, Stop, TaskType, csv::record};
use crate::domain::{Action, Error, Role, User};

/// Users read at once.
const PAGE: u32 = 1_000;

/// Writes all users into a CSV file that its owner can download. Its owner must be an admin when it runs.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ReportUsersCsv {}

impl TaskType for ReportUsersCsv {
    const NAME: &'static str = "report.users_csv";
    const ENQUEUE: Action = Action::ReadUsers;
    const FILE: Action = Action::ReadUsers;
    const MAX_ATTEMPTS: i32 = 3;
    const TIMEOUT: Duration = Duration::from_secs(3600);
    const MAX_RUNNING: Option<u32> = Some(2);

    async fn run(self, context: Context) -> Outcome {
        let services = &context.services;
        let owner = match context.created_by {
            Some(id) => services.users.find(id).await?,
            None => None,
        };
        if !owner.is_some_and(|owner| owner.is_active && owner.role == Role::Admin) {
            return Err(Stop::refused("only an admin may have this report"));
        }
        let files = services.files.as_ref().ok_or(Error::Unavailable { what: "file store", cause: None })?;
        let mut draft = files.begin(context.task_id, context.attempt).await.map_err(not_written)?;
        let header =
            ["id", "username", "email", "role", "is_active", "email_verified", "created_at", "last_login_at"];
        draft.write(record(&header.map(str::to_owned)).as_bytes()).await.map_err(not_written)?;
        let (mut after, mut users) = (None, 0_u64);
        loop {
            if context.cancelled.is_cancelled() {
                return Err(Stop::Cancelled);
            }
            let page = services.users.page(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            users += page.len() as u64;
            let lines: String = page.iter().map(line).collect();
            draft.write(lines.as_bytes()).await.map_err(not_written)?;
            context.progress(json!({ "users": users }));
        }
        let name = format!("users-{}.csv", Utc::now().format("%Y%m%dT%H%M%SZ"));
        let file = draft.finish(name).await.map_err(not_written)?;
        Ok(json!({ "file": file, "users": users }))
    }
}

fn line(user: &User) -> String {
    let time = |at: chrono::DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    record(&[
        user.id.to_string(),
        user.username.to_string(),
        user.email.as_str().to_owned(),
        user.role.to_string(),
        user.is_active.to_string(),
        user.email_verified.to_string(),
        time(user.created_at),
        user.last_login_at.map(time).unwrap_or_default(),
    ])
}

fn not_written(error: io::Error) -> Stop {
    Error::internal(error).into()
}
