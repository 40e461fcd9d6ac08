//! `starter admin task list|show|stats|types`.

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use super::table;
use crate::{
    cli::{
        Failure, Outcome, Table,
        admin::desk::{Desk, or_dash, time},
    },
    db,
    domain::{
        Error, JsonText, Reach, TaskId,
        task::{AttemptRecord, Status, Task},
        task_request::TaskFilter,
        task_stats::{Count, Percentiles, Recent, Stats, Throughput, Unserved},
    },
    tasks::{Definition, Registry},
};

#[derive(Debug, Args)]
pub(in crate::cli::admin) struct Filter {
    /// In this status
    #[arg(long)]
    status: Option<String>,
    /// Of this type
    #[arg(long = "type", value_name = "TYPE")]
    task_type: Option<String>,
    /// In this queue
    #[arg(long)]
    queue: Option<String>,
    /// With this key
    #[arg(long, value_name = "KEY")]
    unique_key: Option<String>,
    /// At most that many
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
}

#[derive(Debug, Args)]
pub(in crate::cli::admin) struct Which {
    /// The task's id
    id: Uuid,
}

pub(super) fn parse_status(name: &str) -> Outcome<Status> {
    let names = || Status::ALL.map(Status::as_str).join(", ");
    Status::parse(name).ok_or_else(|| Failure::Usage(format!("no such status; there are: {}", names())))
}

pub(super) async fn list(wanted: Filter, desk: &Desk) -> Outcome {
    let Filter { status, task_type, queue, unique_key, limit } = wanted;
    let status = status.as_deref().map(parse_status).transpose()?;
    let filter = TaskFilter { status, task_type, queue, created_by: None, unique_key };
    let mut connection = desk.connection().await?;
    let mut tasks: Vec<Task> = Vec::new();
    loop {
        // Large tasks come in several pages.
        let (before, left) =
            (tasks.last().map(|last| last.id), limit - i64::try_from(tasks.len()).unwrap_or(limit));
        let part = db::tasks::page(&mut connection, Reach::All, &filter, before, left).await?;
        let goes_on = part.cut && !part.rows.is_empty();
        tasks.extend(part.rows);
        if !goes_on {
            break;
        }
    }
    desk.output.data(&tasks, |tasks| table(tasks))
}

#[derive(Debug, Serialize)]
struct Story {
    #[serde(flatten)]
    task: Task,
    attempts: Vec<AttemptRecord>,
}

pub(super) async fn one(wanted: Which, desk: &Desk) -> Outcome {
    let id = TaskId(wanted.id);
    let mut connection = desk.connection().await?;
    let task = db::tasks::find(&mut connection, id, Reach::All).await?.ok_or(Error::NotFound)?;
    let story = Story { task, attempts: db::tasks::attempts(&mut connection, id).await? };
    desk.output.data_or_text(&story, |Story { task, attempts }| {
        let attempts = Table::new(["attempt", "outcome", "worker", "started", "finished", "error"]).rows(
            attempts,
            |attempt| {
                [
                    attempt.attempt.to_string(),
                    attempt.outcome.clone(),
                    or_dash(attempt.worker_id),
                    or_dash(attempt.started_at.map(time)),
                    or_dash(attempt.finished_at.map(time)),
                    or_dash(attempt.error.clone()),
                ]
            },
        );
        format!("{}\n{}\n{attempts}", table(std::slice::from_ref(task)), fields(task))
    })
}

fn fields(task: &Task) -> Table {
    let json = |value: &Option<JsonText>| or_dash(value.as_ref());
    Table::new(["field", "value"]).rows(
        [
            ("payload", task.payload.to_string()),
            ("progress", json(&task.progress)),
            ("result", json(&task.result)),
            ("priority", task.priority.to_string()),
            ("unique_key", or_dash(task.unique_key.clone())),
            ("created_by", or_dash(task.created_by)),
            ("created_at", time(task.created_at)),
            ("started_at", or_dash(task.started_at.map(time))),
            ("last_error", or_dash(task.last_error.clone())),
        ],
        |(name, value)| [name.to_owned(), value],
    )
}

#[derive(Debug, Serialize)]
struct Shown {
    counts: Vec<Count>,
    estimated: bool,
    bounded: bool,
    unserved: Vec<Unserved>,
    oldest_due_secs: Option<f64>,
    throughput: Throughput,
    recent: Vec<Recent>,
}

impl From<Stats> for Shown {
    fn from(stats: Stats) -> Self {
        let Stats { counts, estimated, bounded, unserved, oldest_due_secs, throughput, recent } = stats;
        Self { counts, estimated, bounded, unserved, oldest_due_secs, throughput, recent }
    }
}

pub(super) async fn stats(desk: &Desk) -> Outcome {
    let stats = db::tasks::stats(&mut *desk.connection().await?).await?;
    desk.output.data_or_text(&Shown::from(stats), |shown| {
        let about = if shown.estimated || shown.bounded { " (large counts are estimates)" } else { "" };
        let counts = Table::new(["status", "type", "queue", "count"]).rows(&shown.counts, |count| {
            [count.status.to_string(), count.task_type.clone(), count.queue.clone(), count.count.to_string()]
        });
        let head = ["last hour", "finished", "failed", "wait p50/p95/p99", "run p50/p95/p99"];
        let recent = Table::new(head).rows(&shown.recent, |recent| {
            [
                recent.task_type.clone().unwrap_or_else(|| "all types".to_owned()),
                recent.sample.to_string(),
                recent.failed.to_string(),
                or_dash(recent.wait_secs.map(spread)),
                or_dash(recent.run_secs.map(spread)),
            ]
        });
        let oldest = or_dash(shown.oldest_due_secs.map(|secs| format!("{secs:.1} s")));
        let rate = shown.throughput.per_second;
        let unserved: String = shown
            .unserved
            .iter()
            .map(|left| format!("no live worker for {} in {}: {}\n", left.task_type, left.queue, left.count))
            .collect();
        format!("{counts}\n{recent}\n{unserved}oldest due: {oldest}; finished: {rate:.2}/s{about}")
    })
}

fn spread(of: Percentiles) -> String {
    format!("{:.3} / {:.3} / {:.3} s", of.p50, of.p95, of.p99)
}

pub(super) fn types(desk: &Desk) -> Outcome {
    let types: Vec<Definition> = Registry::builtin().definitions().cloned().collect();
    desk.output.data(&types, |types| {
        Table::new(["type", "attempts", "time-out", "what it does"]).rows(types, |one| {
            [
                one.task_type.to_owned(),
                one.defaults.max_attempts.to_string(),
                format!("{} s", one.defaults.timeout_secs),
                one.description.clone(),
            ]
        })
    })
}
