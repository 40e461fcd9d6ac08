//! The edge: routes, and everything between the socket and the actors. The only layer that names
//! actix_web and status codes.
//!
//! A resource is a file with its request and answer types, its handlers, each with a
//! `#[utoipa::path]`, and a function `endpoints()` that lists them; and one line in [`routes`].
//! A handler takes [`Json`], [`Query`], [`Path`], [`ClientIp`], and returns `Result<_, Problem>`.

mod access;
mod access_log;
mod accounts;
mod api_keys;
mod audit;
mod bearer;
#[cfg(feature = "bench-routes")]
pub mod bench;
pub mod catalogue;
mod client_ip;
mod connection;
mod cors;
mod denied;
mod docs;
mod edge;
mod endpoint;
mod exposition;
mod files;
mod headers;
mod health;
mod idempotency;
mod identity;
pub mod json;
mod large;
pub mod metrics;
pub mod openapi;
mod origin;
mod page;
mod pages;
mod path;
mod problem;
mod problems;
mod profile;
mod query;
mod queues;
mod rate_limit;
mod request_id;
mod schedules;
mod server;
mod sessions;
mod settings;
mod tasks;
mod users;
pub mod waiting;

pub use access::Access;
pub use bearer::Presented;
pub use client_ip::ClientIp;
pub use edge::Draining;
pub use endpoint::Endpoint;
pub use idempotency::Idempotency;
pub use identity::Identity;
pub use json::{Input, Json, OptionalJson};
pub use origin::RequestOrigin;
pub use page::PageQuery;
pub use path::{Path, Segment};
pub use problem::{Document, Problem};
pub use query::Query;
pub use server::serve;
pub use settings::Settings;

/// The route table: one line a resource.
pub fn routes() -> Vec<Endpoint> {
    let resources = [
        accounts::endpoints(),
        api_keys::endpoints(),
        audit::endpoints(),
        docs::endpoints(),
        files::endpoints(),
        pages::endpoints(),
        problems::endpoints(),
        profile::endpoints(),
        queues::endpoints(),
        schedules::endpoints(),
        sessions::endpoints(),
        tasks::endpoints(),
        users::endpoints(),
    ];
    operations().into_iter().chain(resources.into_iter().flatten()).collect()
}

/// What a process says about itself: all that a worker answers.
pub fn operations() -> Vec<Endpoint> {
    [health::endpoints(), metrics::endpoints()].into_iter().flatten().collect()
}
