//! `starter`: the foundation of a production web service, on Actix actors and PostgreSQL.
//!
//! One binary, several modes. The layers, outermost first, and what each may name:
//!
//! | module | is | names |
//! | --- | --- | --- |
//! | [`cli`] | commands, start and stop | `clap`, everything below |
//! | [`http`] | routes, problem documents | `actix_web`, status codes; never `diesel` |
//! | [`actors`] | who owns what | `actix`; never `actix_web`, never `diesel` |
//! | [`db`] | statements | `diesel`, `bb8` |
//! | [`tasks`] | what the queue can run | neither `actix` nor `diesel` |
//! | [`config`] | the environment | `envy`, the only reader of `std::env` |
//! | [`domain`] | the words of all the others | nobody |
//!
//! `tests/it/architecture.rs` reads the sources and enforces it.

// The blocks of docs/extending.md say `starter::…`, and can be pasted into this crate all the same.
extern crate self as starter;

pub mod actors;
pub mod cli;
pub mod config;
pub mod db;
pub mod domain;
pub mod http;
pub mod tasks;
pub mod telemetry;

#[cfg(doctest)]
#[doc = include_str!("../docs/extending.md")]
mod extending {}
