//! Queues: how full they are, and whether workers leave them alone.

use chrono::{DateTime, Utc};
use diesel::{
    QueryDsl,
    sql_types::{Nullable, Text, Timestamptz},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::{
    schema::queues,
    statement::{Fixed, Statement},
    tasks::{depths, oldest_due},
};
use crate::domain::{
    Result,
    queue::{Queue, QueueCounts, QueueName},
    task::Status,
};

/// Every queue that has unfinished tasks, was paused once, or is called `default`, by name.
///
/// # Errors
/// As the database tells.
pub async fn list(connection: &mut AsyncPgConnection) -> Result<Vec<Queue>> {
    let known: Vec<(String, Option<DateTime<Utc>>)> =
        queues::table.select((queues::name, queues::paused_at)).load(connection).await?;
    let depths = depths(connection).await?;
    let oldest = oldest_due(connection).await?;
    let mut all = std::collections::BTreeMap::new();
    all.insert("default".to_owned(), None);
    all.extend(depths.counts.iter().map(|count| (count.queue.clone(), None)));
    all.extend(known);
    let queue = |(name, paused_at): (String, Option<DateTime<Utc>>)| {
        let mut counts = QueueCounts::default();
        for count in depths.counts.iter().filter(|count| count.queue == name) {
            match count.status {
                Status::Pending => counts.pending += count.count,
                Status::Scheduled => counts.scheduled += count.count,
                Status::Running => counts.running += count.count,
                Status::Retrying => counts.retrying += count.count,
                Status::Succeeded | Status::Failed | Status::Cancelled => {}
            }
        }
        let oldest_due_secs = oldest.iter().find(|(queue, _)| *queue == name).map(|(_, secs)| *secs);
        Queue { name, paused_at, counts, counts_bounded: depths.bounded, oldest_due_secs }
    };
    Ok(all.into_iter().map(queue).collect())
}

struct Pause;

impl Fixed for Pause {
    const SQL: &'static str = "
        insert into queues (name, paused_at) values ($1, statement_timestamp())
        on conflict (name) do update set paused_at = coalesce(queues.paused_at, statement_timestamp())
        returning paused_at";
    type Args = (Text,);
    type Row = (Nullable<Timestamptz>,);
}

struct Resume;

impl Fixed for Resume {
    const SQL: &'static str = "
        insert into queues (name) values ($1) on conflict (name) do update set paused_at = null
        returning pg_notify('starter_tasks', name)::text";
    type Args = (Text,);
    type Row = (Text,);
}

/// Workers leave the queue alone from now on; what runs goes on. A queue that is paused stays so.
///
/// # Errors
/// As the database tells.
pub async fn pause(connection: &mut AsyncPgConnection, name: &QueueName) -> Result<()> {
    let _: (Option<DateTime<Utc>>,) =
        Statement::<Pause, _>::with((name.as_str(),)).get_result(connection).await?;
    Ok(())
}

/// Workers take from the queue again, and are told.
///
/// # Errors
/// As the database tells.
pub async fn resume(connection: &mut AsyncPgConnection, name: &QueueName) -> Result<()> {
    let _: (String,) = Statement::<Resume, _>::with((name.as_str(),)).get_result(connection).await?;
    Ok(())
}
