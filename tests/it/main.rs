//! Integration tests: the real application on a real PostgreSQL.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    clippy::large_futures,
    missing_docs,
    reason = "a test that fails should say where"
)]

mod accounts;
mod accounts_http;
mod admin_cli;
mod adversarial;
mod api_keys;
mod architecture;
mod audit_log;
mod authorisation;
mod cli;
mod config;
mod credentials_http;
mod db_errors;
mod e2e;
mod edge;
mod embedded;
mod fairness;
mod foreign;
mod migrations;
mod network;
mod openapi;
mod openapi_limits;
mod payloads;
mod pool;
mod process;
mod query_plans;
mod revocation;
mod rights;
mod schedules;
mod scripts;
mod sessions;
mod start;
#[cfg(feature = "fault-injection")]
mod supervision;
mod support;
mod task_plans;
mod tasks_cli;
mod tasks_cli_flags;
mod tasks_dispatcher;
mod tasks_events;
mod tasks_http;
mod tasks_insert;
mod tasks_once;
mod tasks_stream;
mod terminal;
mod throttle;
mod worker;
