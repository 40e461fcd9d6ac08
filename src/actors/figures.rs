//! What `/metrics` shows of the process itself: read when somebody asks, never counted twice.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Instant};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::{coalesce::Tally, vital::State, watchdog::Roster};
use crate::db::PoolState;

/// One value at one time.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Without the prefix `starter_`, with the unit.
    pub name: &'static str,
    /// In a sentence.
    pub help: &'static str,
    /// It only ever grows.
    pub counts: bool,
    /// What tells it from others of that name.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

/// What can be read at any time.
pub type Source = Box<dyn Fn() -> Vec<Figure> + Send + Sync>;

/// All that can be read at any time.
#[derive(Clone, Default)]
pub struct Figures(Arc<Vec<Source>>);

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Figures").field(&self.0.len()).finish()
    }
}

impl Figures {
    /// Of these sources.
    pub fn new(sources: Vec<Source>) -> Self {
        Self(Arc::new(sources))
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut by_name: BTreeMap<&str, Vec<Figure>> = BTreeMap::new();
        for figure in self.0.iter().flat_map(|source| source()) {
            by_name.entry(figure.name).or_default().push(figure);
        }
        for (name, figures) in by_name {
            let Some(first) = figures.first() else { continue };
            let kind = if first.counts { MetricType::Counter } else { MetricType::Gauge };
            let mut metric = encoder.encode_descriptor(name, first.help, None, kind)?;
            for figure in &figures {
                let one = metric.encode_family(&figure.labels)?;
                if figure.counts {
                    ConstCounter::new(figure.value).encode(one)?;
                } else {
                    ConstGauge::new(figure.value).encode(one)?;
                }
            }
        }
        Ok(())
    }
}

fn gauge(name: &'static str, help: &'static str, label: (&'static str, &str), value: f64) -> Figure {
    Figure { name, help, counts: false, labels: vec![(label.0, label.1.to_owned())], value }
}

fn counter(name: &'static str, help: &'static str, label: (&'static str, &str), value: f64) -> Figure {
    Figure { counts: true, ..gauge(name, help, label, value) }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, which no count here reaches")]
fn float(count: u64) -> f64 {
    count as f64
}

/// Of every actor.
pub fn of_actors(roster: Roster) -> Source {
    Box::new(move || {
        roster
            .iter()
            .flat_map(|watched| {
                let report = watched.report();
                let label = ("actor", report.name);
                let up = f64::from(u8::from(report.state == State::Running));
                [
                    gauge("actor_up", "Whether the actor runs", label, up),
                    counter("actor_restarts", "How often it was replaced", label, float(report.restarts)),
                    gauge(
                        "actor_requests",
                        "Requests it is at work on",
                        label,
                        float(report.mailbox_depth as u64),
                    ),
                    gauge(
                        "actor_capacity",
                        "Requests it takes at once",
                        label,
                        float(report.mailbox_capacity as u64),
                    ),
                ]
            })
            .collect()
    })
}

/// Of one pool of connections.
pub fn of_pool(name: &'static str, state: impl Fn() -> PoolState + Send + Sync + 'static) -> Source {
    Box::new(move || {
        let (state, label) = (state(), ("pool", name));
        vec![
            gauge("database_connections", "Connections that are open", label, state.connections.into()),
            gauge("database_connections_idle", "Connections that nobody uses", label, state.idle.into()),
            gauge("database_connections_max", "Connections at most", label, state.max.into()),
            gauge("database_waiting", "Who waits for a connection", label, float(state.waiting)),
            counter("database_timeouts", "Who waited in vain", label, float(state.timed_out)),
            counter(
                "database_wait_seconds",
                "Time spent waiting for a connection",
                label,
                state.wait_time.as_secs_f64(),
            ),
        ]
    })
}

/// Of one place where requests are folded into statements.
pub fn of_store(name: &'static str, tally: impl Fn() -> Tally + Send + Sync + 'static) -> Source {
    Box::new(move || {
        let (tally, label) = (tally(), ("store", name));
        vec![
            counter("statements", "Statements sent by a coalescing store", label, float(tally.statements)),
            counter("statement_items", "Requests that were in them", label, float(tally.items)),
            gauge("statement_waiting", "Requests that wait for the next one", label, float(tally.waiting)),
        ]
    })
}

/// Of the process.
pub fn of_process(started: Instant) -> Source {
    Box::new(move || {
        let label = ("version", env!("CARGO_PKG_VERSION"));
        let uptime = started.elapsed().as_secs_f64();
        let mut figures = vec![gauge("uptime_seconds", "Since the process started", label, uptime)];
        if let Some(bytes) = resident_bytes() {
            figures.push(gauge("resident_memory_bytes", "Memory in use", label, float(bytes)));
        }
        figures
    })
}

/// Where the system tells it, as Linux does.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    #[test]
    fn figures_of_one_name_are_one_family() {
        let figures = Figures::new(vec![
            of_process(Instant::now()),
            of_store("sessions", || Tally { statements: 2, items: 9, waiting: 1 }),
            of_store("tasks", Tally::default),
        ]);
        let mut registry = Registry::with_prefix("starter");
        registry.register_collector(Box::new(figures));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert_eq!(text.matches("# TYPE starter_statements counter").count(), 1, "{text}");
        assert!(text.contains("starter_statements_total{store=\"sessions\"} 2"), "{text}");
        assert!(text.contains("starter_statement_items_total{store=\"tasks\"} 0"), "{text}");
        assert!(text.contains("starter_statement_waiting{store=\"sessions\"} 1"), "{text}");
        assert!(text.contains("starter_uptime_seconds{version="), "{text}");
    }
}
