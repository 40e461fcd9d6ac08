//! Logs: `log` records with key-values, to standard error, one line each.
//!
//! | format | looks like |
//! | --- | --- |
//! | text | `2026-01-02T03:04:05.678Z INFO  starter::http: listening port=3000` |
//! | json | `{"timestamp":"2026-01-02T03:04:05.678Z","level":"info","target":"starter::http","message":"listening","port":3000}` |
//!
//! What is logged inside [`with_request_id`] carries `request_id` by itself. Nobody can forge a
//! record: control characters are escaped in both formats.

mod line;
mod panic;

use std::{io::Write, sync::Arc};

use log::SetLoggerError;
use tokio::task::futures::TaskLocalFuture;

use crate::config::{LogFormat, Telemetry};

tokio::task_local! {
    static REQUEST_ID: Arc<str>;
}

/// Starts logging, and logs panics from now on. Call once, when the process starts.
///
/// # Errors
///
/// A logger is set already.
pub fn init(config: &Telemetry) -> Result<(), SetLoggerError> {
    let mut builder = filtered(&config.log_filter);
    builder.target(env_logger::Target::Stderr);
    match config.log_format() {
        LogFormat::Json => builder.format(|out, record| {
            let line = line::Line::new(record, chrono::Utc::now(), request_id());
            writeln!(out, "{}", line.json())
        }),
        LogFormat::Text => builder.format(|out, record| {
            let line = line::Line::new(record, chrono::Utc::now(), request_id());
            let style = out.default_level_style(record.level());
            writeln!(out, "{}", line.text(format_args!("{style}{:5}{style:#}", record.level())))
        }),
    };
    builder.try_init()?;
    panic::log_panics();
    Ok(())
}

/// What strangers can make these modules log as an error, once per request: heads that do not parse, connections that
/// break. The edge counts them instead (`http_rejected_requests`).
const NOISY: [&str; 2] = ["actix_http::h1::dispatcher", "actix_http::h1::decoder"];

/// Returns a builder with this filter, in which the noisy modules are off unless the filter names them.
fn filtered(filter: &str) -> env_logger::Builder {
    let mut builder = env_logger::Builder::new();
    if filter.trim().is_empty() {
        // Without any directive, env_logger shows errors; the ones below must not change that.
        builder.filter_level(log::LevelFilter::Error);
    }
    for module in NOISY {
        builder.filter_module(module, log::LevelFilter::Off);
    }
    // It says of each thread that it starts and ends.
    builder.filter_module("actix_server", log::LevelFilter::Warn);
    // A later directive for the same module replaces the earlier one.
    builder.parse_filters(filter);
    builder
}

/// Returns `message` as the line of an error in JSON, for what is said where no logger is.
pub fn json_error(message: &str) -> String {
    let args = format_args!("{message}");
    let record = log::Record::builder().level(log::Level::Error).target("starter").args(args).build();
    line::Line::new(&record, chrono::Utc::now(), None).json()
}

/// Runs `future` so that every record logged inside carries this `request_id`. A task spawned
/// inside is outside: wrap it too, with [`request_id`].
pub fn with_request_id<F: Future>(id: impl Into<Arc<str>>, future: F) -> TaskLocalFuture<Arc<str>, F> {
    REQUEST_ID.scope(id.into(), future)
}

/// The request that is being worked on here, if any.
pub fn request_id() -> Option<Arc<str>> {
    REQUEST_ID.try_with(Arc::clone).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_request_id_is_known_inside_and_only_there() {
        assert_eq!(request_id(), None);
        let inside = with_request_id("req-1", async {
            let inner = with_request_id("req-2", async { request_id() }).await;
            (request_id(), inner)
        });
        assert_eq!(inside.await, (Some("req-1".into()), Some("req-2".into())));
        assert_eq!(request_id(), None);
    }

    #[test]
    fn strangers_cannot_fill_the_log_with_errors_of_the_framework() {
        let logs = |filter: &str, target: &str| {
            let record = log::Record::builder().level(log::Level::Error).target(target).build();
            filtered(filter).build().matches(&record)
        };
        for filter in ["info", "debug", "warn,starter=trace", "trace,actix_http=trace", ""] {
            for module in NOISY {
                assert!(!logs(filter, module), "{filter}: {module}");
            }
            assert!(logs(filter, "starter::http") && logs(filter, "actix_http::h1::service"), "{filter}");
        }
        assert!(logs("info,actix_http::h1::dispatcher=error", "actix_http::h1::dispatcher"));
    }
}
