//! What a process answers while the database lacks migrations: that it lives, that it is not ready, and 503 to
//! everything else. Nothing else of the service runs then.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use actix_web::{HttpResponse, web};

use super::{
    Endpoint, Problem,
    access::Access,
    health::{self, Checks, Health},
};
use crate::{actors::checkup::Condition, endpoint};

/// How the database was when it was last looked at.
#[derive(Debug, Clone)]
pub struct Waiting {
    since: Instant,
    answers: Arc<AtomicBool>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { since: Instant::now(), answers: Arc::new(AtomicBool::new(true)) }
    }
}

impl Waiting {
    /// Notes whether the database answered.
    pub fn looked(&self, answers: bool) {
        self.answers.store(answers, Ordering::Relaxed);
    }
}

/// The routes of such a process.
pub fn endpoints() -> Vec<Endpoint> {
    vec![health::live_endpoint(), endpoint!(ready, Access::Public), endpoint!(health, Access::Public)]
}

/// What the routes need, and the answer to every other path.
pub fn configure(waiting: &Waiting, services: &mut web::ServiceConfig) {
    services.app_data(web::Data::new(waiting.clone()));
    services.default_service(web::to(|| async { Err::<String, _>(Problem::NotReady) }));
}

/// Not ready.
#[utoipa::path(get, path = "/health/ready", responses((status = 503, description = "Migrations are pending")))]
async fn ready() -> Result<HttpResponse, Problem> {
    Err(Problem::NotReady)
}

/// What is missing.
#[utoipa::path(get, path = "/health", responses((status = 503, description = "Migrations are pending")))]
async fn health(waiting: web::Data<Waiting>) -> HttpResponse {
    let answers = waiting.answers.load(Ordering::Relaxed);
    HttpResponse::ServiceUnavailable().json(Health {
        status: Condition::Down,
        version: env!("CARGO_PKG_VERSION"),
        uptime_secs: waiting.since.elapsed().as_secs(),
        checks: Checks {
            database: if answers { Condition::Ok } else { Condition::Down },
            migrations: Condition::Down,
            change_feed: Condition::Down,
            actors: Condition::Down,
        },
    })
}
