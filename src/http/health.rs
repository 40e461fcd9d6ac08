//! How the process is: for load balancers, supervisors and people.
//!
//! Liveness never asks the database: a database that is away must not get every process restarted.

use actix_web::{HttpResponse, http::StatusCode, web};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Access, Draining, Endpoint, Problem, problem::Document};
use crate::{
    actors::{
        checkup::Condition,
        live::Live,
        vital::{Report, State},
        watchdog::{CheckHealth, ReportAll, Watchdog},
    },
    domain::Action,
    endpoint,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        live_endpoint(),
        endpoint!(ready, Access::Public),
        endpoint!(health, Access::Public),
        endpoint!(actors, Action::ReadActors),
    ]
}

/// Liveness alone, for a process that has nothing else yet.
pub(super) fn live_endpoint() -> Endpoint {
    endpoint!(live, Access::Public)
}

/// That it is there.
#[derive(Debug, Serialize, ToSchema)]
struct Alive {
    #[schema(example = "ok")]
    status: &'static str,
}

const OK: Alive = Alive { status: "ok" };

/// How the process is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    #[schema(example = "ok")]
    pub(super) status: Condition,
    pub(super) version: &'static str,
    /// Since the process started.
    pub(super) uptime_secs: u64,
    pub(super) checks: Checks,
}

/// What was looked at: each `ok`, `degraded` or `down`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Checks {
    #[schema(example = "ok")]
    pub(super) database: Condition,
    #[schema(example = "ok")]
    pub(super) migrations: Condition,
    /// Degraded: nothing is remembered, and tasks are found by polling.
    #[schema(example = "ok")]
    pub(super) change_feed: Condition,
    #[schema(example = "ok")]
    pub(super) actors: Condition,
}

/// The process can answer at all.
#[utoipa::path(
    get, path = "/health/live", tag = "operations",
    responses((status = 200, description = "The process can answer", body = Alive))
)]
async fn live() -> web::Json<Alive> {
    web::Json(OK)
}

/// Requests may be sent here: database, migrations and every actor are fine, and the process is not stopping.
#[utoipa::path(
    get, path = "/health/ready", tag = "operations",
    responses(
        (status = 200, description = "Requests may be sent here", body = Alive),
        (
            status = 503, description = "Not now; `Retry-After` says when",
            body = Document, content_type = "application/problem+json"
        )
    )
)]
async fn ready(
    watchdog: web::Data<Live<Watchdog>>,
    draining: web::Data<Draining>,
) -> Result<web::Json<Alive>, Problem> {
    if draining.has_begun() || !watchdog.ask(CheckHealth).await?.is_ready() {
        return Err(Problem::NotReady);
    }
    Ok(web::Json(OK))
}

/// How the process is, and what it depends on.
#[utoipa::path(
    get, path = "/health", tag = "operations",
    responses(
        (status = 200, description = "Requests can be served: `ok` or `degraded`", body = Health),
        (status = 503, description = "Requests cannot be served: `down`", body = Health)
    )
)]
async fn health(watchdog: web::Data<Live<Watchdog>>) -> Result<HttpResponse, Problem> {
    let health = watchdog.ask(CheckHealth).await?;
    let checks = health.checks;
    let status =
        if health.status == Condition::Down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    Ok(HttpResponse::build(status).json(Health {
        status: health.status,
        version: env!("CARGO_PKG_VERSION"),
        uptime_secs: health.uptime_secs,
        checks: Checks {
            database: checks.database,
            migrations: checks.migrations,
            change_feed: checks.change_feed,
            actors: checks.actors,
        },
    }))
}

/// How an actor is.
#[derive(Debug, Serialize, ToSchema)]
struct ActorRow {
    name: &'static str,
    /// `running`, `restarting` or `stopped`.
    #[schema(example = "running")]
    state: State,
    /// How often it was replaced since the process started.
    restarts: u64,
    /// Requests that it is at work on.
    mailbox_depth: usize,
    /// Requests that it takes at once; more get 503.
    mailbox_capacity: usize,
    /// Since its last sign of life; null before the first.
    #[schema(required = true)]
    last_reply_ms: Option<u64>,
    started_at: DateTime<Utc>,
    /// Why the last one was replaced.
    #[schema(required = true)]
    last_error: Option<&'static str>,
}

impl From<Report> for ActorRow {
    fn from(report: Report) -> Self {
        Self {
            name: report.name,
            state: report.state,
            restarts: report.restarts,
            mailbox_depth: report.mailbox_depth,
            mailbox_capacity: report.mailbox_capacity,
            last_reply_ms: report.last_reply_ms,
            started_at: report.started_at,
            last_error: report.last_error,
        }
    }
}

/// Every actor of this process. For admins, and for API keys with `metrics:read`.
#[utoipa::path(
    get, path = "/health/actors", tag = "operations", security(("bearer" = [])),
    responses((status = 200, description = "One row for each actor", body = Vec<ActorRow>))
)]
async fn actors(watchdog: web::Data<Live<Watchdog>>) -> Result<web::Json<Vec<ActorRow>>, Problem> {
    let rows = watchdog.ask(ReportAll).await?;
    Ok(web::Json(rows.into_iter().map(ActorRow::from).collect()))
}
