//! What `/metrics` shows of the queue as a whole. A scrape never waits for the database: it is told what was so at the
//! last look, and a look costs the same however many tasks there are.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    actors::figures::{Figure, Source},
    db::{self, Pool},
    domain::task_stats::{Percentiles, Stats},
};

const EVERY: Duration = Duration::from_secs(15);

/// The queue as it was at the last look. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Gauges(Arc<Mutex<Option<Stats>>>);

impl Gauges {
    /// Looks for as long as the actor lives.
    pub(super) async fn keep(self, pool: Pool) {
        loop {
            let looked = async { db::tasks::stats(&mut *pool.get().await?).await };
            match looked.await {
                Ok(stats) => *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(stats),
                Err(error) => log::debug!(error:% = error; "the queue could not be measured"),
            }
            tokio::time::sleep(EVERY.mul_f64(0.75 + rand::random::<f64>() / 2.0)).await;
        }
    }

    pub(super) fn figures(&self) -> Source {
        let last = self.clone();
        Box::new(move || {
            let stats = last.0.lock().unwrap_or_else(PoisonError::into_inner);
            stats.as_ref().map(figures).unwrap_or_default()
        })
    }
}

fn gauge(name: &'static str, help: &'static str, labels: Vec<(&'static str, String)>, value: f64) -> Figure {
    Figure { name, help, counts: false, labels, value }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, which no count here reaches")]
fn figures(stats: &Stats) -> Vec<Figure> {
    let mut figures: Vec<Figure> = stats
        .counts
        .iter()
        .map(|count| {
            let labels = vec![
                ("status", count.status.as_str().to_owned()),
                ("task_type", count.task_type.clone()),
                ("queue", count.queue.clone()),
            ];
            gauge("tasks", "Tasks that there are", labels, count.count as f64)
        })
        .collect();
    figures.extend(stats.unserved.iter().map(|left| {
        let labels = vec![("task_type", left.task_type.clone()), ("queue", left.queue.clone())];
        gauge("tasks_unserved", "Pending tasks that no live worker takes", labels, left.count as f64)
    }));
    let oldest = stats.oldest_due_secs.unwrap_or(0.0);
    figures.push(gauge(
        "tasks_oldest_due_seconds",
        "How long the oldest due task has waited",
        Vec::new(),
        oldest,
    ));
    let rate = stats.throughput.per_second;
    figures.push(gauge("tasks_finished_per_second", "Over the last hour", Vec::new(), rate));
    for recent in &stats.recent {
        let Some(task_type) = &recent.task_type else { continue };
        let wait = ("task_wait_seconds", "From due to begun, of the tasks that finished last");
        let run = ("task_run_seconds", "From begun to finished, of the tasks that finished last");
        figures.extend(spread(wait, task_type, recent.wait_secs.as_ref()));
        figures.extend(spread(run, task_type, recent.run_secs.as_ref()));
    }
    figures
}

fn spread(
    (name, help): (&'static str, &'static str),
    task_type: &str,
    percentiles: Option<&Percentiles>,
) -> Vec<Figure> {
    let Some(Percentiles { p50, p95, p99 }) = percentiles else { return Vec::new() };
    let one = |quantile: &str, value: &f64| {
        let labels = vec![("task_type", task_type.to_owned()), ("quantile", quantile.to_owned())];
        gauge(name, help, labels, *value)
    };
    vec![one("0.5", p50), one("0.95", p95), one("0.99", p99)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        task::Status,
        task_stats::{Count, Recent, Throughput, Unserved},
    };

    #[test]
    fn every_kind_of_task_has_its_count_and_every_type_its_percentiles() {
        let recent = |task_type: Option<&str>| Recent {
            task_type: task_type.map(str::to_owned),
            sample: 3,
            succeeded: 3,
            failed: 0,
            cancelled: 0,
            wait_secs: Some(Percentiles { p50: 0.1, p95: 0.2, p99: 0.3 }),
            run_secs: None,
        };
        let stats = Stats {
            counts: vec![Count {
                status: Status::Pending,
                task_type: "noop".into(),
                queue: "mail".into(),
                count: 7,
            }],
            unserved: vec![Unserved { task_type: "of.tomorrow".into(), queue: "mail".into(), count: 2 }],
            estimated: false,
            bounded: false,
            oldest_due_secs: Some(1.5),
            throughput: Throughput { finished: 3, window_secs: 3600.0, per_second: 0.25 },
            recent: vec![recent(None), recent(Some("noop"))],
        };
        let told: Vec<_> =
            figures(&stats).into_iter().map(|one| (one.name, one.labels.len(), one.value)).collect();
        assert_eq!(
            told,
            [
                ("tasks", 3, 7.0),
                ("tasks_unserved", 2, 2.0),
                ("tasks_oldest_due_seconds", 0, 1.5),
                ("tasks_finished_per_second", 0, 0.25),
                ("task_wait_seconds", 2, 0.1),
                ("task_wait_seconds", 2, 0.2),
                ("task_wait_seconds", 2, 0.3),
            ]
        );
    }
}
