//! `GET /metrics`: how much and how fast, in the text format of Prometheus.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    dev::ServiceRequest,
    http::{
        Method,
        header::{self, HeaderMap},
    },
    web,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        histogram::Histogram,
    },
    registry::Registry,
};

use super::{
    Access, Endpoint, Problem,
    exposition::{Format, to_prometheus},
};
use crate::{
    domain::{Action, Error},
    endpoint,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![endpoint!(metrics, Access::NeedsUnless(Action::ReadMetrics, is_public))]
}

/// Upper bounds of the buckets, seconds.
const BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: &'static str,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rejected {
    status: u16,
}

#[derive(Clone)]
struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(BUCKETS)
    }
}

/// What is counted of requests. Cheap to clone.
#[derive(Clone)]
pub struct HttpMetrics {
    answered: Family<Answered, Counter>,
    duration: Family<Route, Histogram, Buckets>,
    rejected: Family<Rejected, Counter>,
}

impl std::fmt::Debug for HttpMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpMetrics")
    }
}

impl Default for HttpMetrics {
    fn default() -> Self {
        Self {
            answered: Family::default(),
            duration: Family::new_with_constructor(Buckets),
            rejected: Family::default(),
        }
    }
}

impl HttpMetrics {
    /// Shows them in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("http_requests", "Requests that were answered", self.answered.clone());
        registry.register(
            "http_request_duration_seconds",
            "From the head of a request to the head of its answer",
            self.duration.clone(),
        );
        registry.register(
            "http_rejected_requests",
            "Requests whose head was not understood, too large or too late, so that no route saw them",
            self.rejected.clone(),
        );
    }

    /// Counts a request that was refused before it had a route.
    pub(super) fn count_rejected(&self, status: u16) {
        self.rejected.get_or_create(&Rejected { status }).inc();
    }

    /// Counts one. `route` is a pattern of the route table, so that callers cannot make labels.
    pub(super) fn observe(&self, method: &Method, route: &str, status: u16, took: Duration) {
        let method = known(method);
        self.answered.get_or_create(&Answered { method, route: route.to_owned(), status }).inc();
        self.duration.get_or_create(&Route { method, route: route.to_owned() }).observe(took.as_secs_f64());
    }
}

fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// All that is shown.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    public: bool,
}

impl Metrics {
    /// `public`: shown to anyone.
    pub fn new(registry: Registry, public: bool) -> Self {
        Self { registry: Arc::new(registry), public }
    }
}

fn is_public(request: &ServiceRequest) -> bool {
    request.app_data::<web::Data<Metrics>>().is_some_and(|metrics| metrics.public)
}

/// Counts, rates and sizes of this process.
///
/// For admins, and for API keys with `metrics:read`; for anyone with `STARTER__TELEMETRY__METRICS_PUBLIC`. `Accept`
/// decides between Prometheus text 0.0.4, the default, and OpenMetrics 1.0.
#[utoipa::path(
    get, path = "/metrics", tag = "operations", security((), ("bearer" = [])),
    responses((
        status = 200, description = "The metrics, in the format that `Accept` prefers",
        content((String = "text/plain"), (String = "application/openmetrics-text"))
    ))
)]
async fn metrics(metrics: web::Data<Metrics>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let mut text = String::with_capacity(16 * 1024);
    encode(&mut text, &metrics.registry).map_err(Error::internal)?;
    let format = preferred(request.headers());
    if format == Format::Prometheus {
        text = to_prometheus(&text);
    }
    Ok(HttpResponse::Ok()
        .content_type(format.content_type())
        .insert_header((header::VARY, "accept"))
        .body(text))
}

/// Returns the format for these headers. A list may be spread over several of them (RFC 9110 5.3).
fn preferred(headers: &HeaderMap) -> Format {
    let lists: Vec<&str> = headers.get_all(header::ACCEPT).filter_map(|value| value.to_str().ok()).collect();
    Format::preferred(&lists.join(","))
}
