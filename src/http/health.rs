//! How the process is: for load balancers, supervisors and people.
//!
//! Liveness never asks the database: a database that is away must not get every process restarted.

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Draining, Endpoint, Problem};
use crate::{
    actors::{
        checkup::Condition,
        live::Live,
        watchdog::{CheckHealth, Watchdog},
    },
    domain::Error,
    endpoint,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![endpoint!(live), endpoint!(ready), endpoint!(health)]
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
struct Health {
    #[schema(value_type = String, example = "ok")]
    status: Condition,
    version: &'static str,
    /// Since the process started.
    uptime_secs: u64,
    checks: Checks,
}

/// What was looked at: each `ok`, `degraded` or `down`.
#[derive(Debug, Serialize, ToSchema)]
struct Checks {
    #[schema(value_type = String, example = "ok")]
    database: Condition,
    #[schema(value_type = String, example = "ok")]
    migrations: Condition,
    /// Degraded: nothing is remembered, and tasks are found by polling.
    #[schema(value_type = String, example = "ok")]
    change_feed: Condition,
    #[schema(value_type = String, example = "ok")]
    actors: Condition,
}

/// The process can answer at all.
#[utoipa::path(get, path = "/health/live", tag = "operations", responses((status = 200, body = Alive)))]
async fn live() -> web::Json<Alive> {
    web::Json(OK)
}

/// Requests may be sent here: database, migrations and every actor are fine, and the process is not stopping.
#[utoipa::path(
    get, path = "/health/ready", tag = "operations",
    responses((status = 200, body = Alive), (status = 503, description = "Not now; `Retry-After` says when"))
)]
async fn ready(
    watchdog: web::Data<Live<Watchdog>>,
    draining: web::Data<Draining>,
) -> Result<web::Json<Alive>, Problem> {
    let not_ready = Error::Unavailable { what: "readiness", cause: None };
    if draining.has_begun() || !watchdog.ask(CheckHealth).await?.is_ready() {
        return Err(not_ready.into());
    }
    Ok(web::Json(OK))
}

/// How the process is, and what it depends on.
#[utoipa::path(
    get, path = "/health", tag = "operations",
    responses((status = 200, body = Health), (status = 503, body = Health))
)]
async fn health(watchdog: web::Data<Live<Watchdog>>) -> Result<HttpResponse, Problem> {
    let health = watchdog.ask(CheckHealth).await?;
    let checks = health.checks;
    let status = if health.status == Condition::Down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
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
