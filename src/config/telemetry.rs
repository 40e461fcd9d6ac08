//! `STARTER__TELEMETRY__*` and `RUST_LOG`: logs and metrics.

use std::io::IsTerminal;

use super::{
    problem::Problems,
    section::{Check, section},
    value::words,
};

section! {
    /// Logs and metrics.
    pub struct Telemetry("TELEMETRY") {
        /// How log records are written: `text` or `json`. By default text on a terminal, else json.
        pub log_format: Option<LogFormat> = None,

        /// Which log records are written, in the syntax of env_logger; RUST_LOG means the same.
        /// `debug` writes several lines a request. What strangers can make the HTTP framework log is counted in
        /// `http_rejected_requests_total` instead; to log it, add `actix_http::h1::dispatcher=error`.
        pub log_filter: String = "info".to_owned(),

        /// Serve `/metrics` without a credential.
        /// Then keep it from the public at the proxy: it tells how busy the service is.
        pub metrics_public: bool = false,
    }
}

words! {
    /// How log records are written.
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// One object a line.
        Json = "json",
    }
}

impl Telemetry {
    /// LOG_FORMAT, or what suits standard error.
    pub fn log_format(&self) -> LogFormat {
        self.log_format.unwrap_or_else(|| {
            if std::io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json }
        })
    }
}

impl Check for Telemetry {
    fn check(&self, problems: &mut Problems<'_>) {
        // env_logger itself only prints a warning, and then logs too little or too much.
        let directives = self.log_filter.split('/').next().unwrap_or_default();
        let levels = directives.split(',').filter_map(|directive| directive.split_once('='));
        if levels.into_iter().any(|(_, level)| level.trim().parse::<log::LevelFilter>().is_err()) {
            problems.add(
                "STARTER__TELEMETRY__LOG_FILTER",
                "not a filter",
                "a level (off, error, warn, info, debug, trace) or target=level pairs separated by commas",
            );
        }
    }
}
