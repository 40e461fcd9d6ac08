//! What happens to every request before and after its handler, in one place and one order:
//! name it, know the caller, refuse floods, bound the time, catch panics, make every error a
//! problem document, set the headers, write the access log.

use std::{
    cell::OnceCell,
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use actix_web::{
    Error, HttpMessage, HttpResponse, ResponseError,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
    http::{
        ConnectionType, StatusCode, Version,
        header::{self, HeaderMap, HeaderValue},
    },
    middleware::Next,
    web,
};
use futures_util::FutureExt;

use super::{
    access_log::Visit, client_ip::ClientIp, connection::LastAnswer, cors::Cors, endpoint::Matched, headers,
    large::LargeAnswers, problem::Problem, rate_limit::RateLimiter, request_id, settings::Settings,
};
use crate::{domain, telemetry};

/// Set when the process begins to stop: every answer then closes its connection, so that clients
/// go elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    /// From now on connections end with their next answer.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the process is stopping.
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The state of the edge, shared by all threads.
#[derive(Debug)]
pub(super) struct Edge {
    pub(super) settings: Settings,
    pub(super) draining: Draining,
    pub(super) large: LargeAnswers,
    cors: Cors,
    limiter: Option<RateLimiter>,
    auth_limiter: Option<RateLimiter>,
}

/// Where the endpoint that a request was routed to is noted, to be known when the request is gone.
pub(super) type RouteSlot = Rc<OnceCell<Matched>>;

/// An answer, with its request or after the request was lost to a panic or a time-out.
enum Answer {
    Routed(ServiceResponse<BoxBody>),
    Bare(HttpResponse),
}

impl Answer {
    fn response(&mut self) -> &mut HttpResponse {
        match self {
            Self::Routed(routed) => routed.response_mut(),
            Self::Bare(response) => response,
        }
    }
}

impl Edge {
    pub(super) fn new(settings: Settings, draining: Draining) -> Self {
        Self {
            cors: Cors::new(&settings.cors_origins),
            limiter: settings
                .rate_limit
                .map(|(rate, burst)| RateLimiter::new(rate, Duration::from_secs(1), burst)),
            auth_limiter: settings
                .auth_per_minute
                .map(|rate| RateLimiter::new(rate, Duration::from_secs(60), rate)),
            settings,
            draining,
            large: LargeAnswers::default(),
        }
    }

    /// The middleware: outermost, so that its answers need nobody else's work.
    pub(super) async fn handle<B: MessageBody + 'static>(
        self: Arc<Self>,
        request: ServiceRequest,
        next: Next<B>,
    ) -> Result<ServiceResponse<BoxBody>, Error> {
        let id = request_id::of(request.headers());
        telemetry::with_request_id(Arc::clone(&id), async move {
            let client = self.client_of(&request);
            let route = RouteSlot::default();
            let visit = Visit::begin(&request, client, Rc::clone(&route));
            request.extensions_mut().insert(client);
            request.extensions_mut().insert(route);
            let grant = self.cors.grant(request.headers());
            let last_answer = request.conn_data::<LastAnswer>().cloned();
            let chunks = request.version() > Version::HTTP_10;
            let mut answer = self.answer(request, next, client).await;
            self.finish(answer.response(), grant, &id);
            if !chunks {
                end_with_the_connection(answer.response());
            }
            if answer.response().head().connection_type() == ConnectionType::Close {
                last_answer.iter().for_each(LastAnswer::begin);
            }
            visit.end(answer.response().status(), &self.settings.metrics);
            match answer {
                Answer::Routed(routed) => Ok(routed),
                Answer::Bare(response) => Err(InternalError::from_response("answered", response).into()),
            }
        })
        .await
    }

    fn client_of(&self, request: &ServiceRequest) -> ClientIp {
        let unknown = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        let peer = request.peer_addr().map_or(unknown, |peer| peer.ip());
        ClientIp::of(peer, request.headers(), &self.settings.trusted_proxies)
    }

    async fn answer<B: MessageBody + 'static>(
        &self,
        request: ServiceRequest,
        next: Next<B>,
        client: ClientIp,
    ) -> Answer {
        if let Some(preflight) = self.cors.preflight(request.method(), request.headers()) {
            return Answer::Routed(request.into_response(preflight));
        }
        // Whoever watches over the process must be answered when it is flooded most of all.
        let exempt = matches!(request.path(), "/health" | "/health/live" | "/health/ready");
        if let (false, Some(limiter)) = (exempt, &self.limiter)
            && let Err(problem) = take(limiter, client)
        {
            return Answer::Routed(request.into_response(problem.error_response()));
        }
        let work = AssertUnwindSafe(async move { next.call(request).await }).catch_unwind();
        match tokio::time::timeout(self.settings.request_timeout, work).await {
            Ok(Ok(Ok(routed))) => Answer::Routed(as_problem(routed.map_into_boxed_body())),
            Ok(Ok(Err(error))) => Answer::Bare(bare_as_problem(error.error_response())),
            Ok(Err(_panic)) => Answer::Bare(Problem::Panicked.error_response()),
            Err(_elapsed) => Answer::Bare(Problem::TimedOut.error_response()),
        }
    }

    fn finish(&self, response: &mut HttpResponse, grant: Option<HeaderValue>, id: &str) {
        let head = response.headers_mut();
        headers::protect(head, self.settings.secure);
        self.cors.mark(grant, head);
        if let Ok(id) = HeaderValue::from_str(id) {
            head.insert(request_id::HEADER, id);
        }
        if self.draining.has_begun() {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
    }
}

/// HTTP/1.0 knows no chunks (RFC 9112, section 6.1): what has no length goes on to the end of the connection.
fn end_with_the_connection(response: &mut HttpResponse) {
    if matches!(response.body().size(), BodySize::Stream) {
        let head = response.head_mut();
        head.no_chunking(true);
        head.set_connection_type(ConnectionType::Close);
    }
}

fn take(limiter: &RateLimiter, client: ClientIp) -> Result<(), Problem> {
    limiter
        .take(client.0, Instant::now())
        .map_err(|retry_after| domain::Error::RateLimited { retry_after }.into())
}

/// The stricter limit, for a request that brings a password.
pub(super) fn limit_passwords(request: &ServiceRequest) -> Result<(), Problem> {
    let edge = request.app_data::<web::Data<Edge>>();
    let client = request.extensions().get::<ClientIp>().copied();
    match (edge.and_then(|edge| edge.auth_limiter.as_ref()), client) {
        (Some(limiter), Some(client)) => take(limiter, client),
        _ => Ok(()),
    }
}

fn is_plain_error(status: StatusCode, headers: &HeaderMap) -> bool {
    // The framework answers in plain text; JSON with such a status is `/health`, which says what is wrong.
    let is_ours = headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        [&b"application/problem+json"[..], b"application/json"]
            .iter()
            .any(|ours| kind.as_bytes().starts_with(ours))
    });
    (status.is_client_error() || status.is_server_error()) && !is_ours
}

/// An error answer that is no problem document was made by the framework: it is told again, properly.
fn as_problem(routed: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    if !is_plain_error(routed.status(), routed.headers()) {
        return routed;
    }
    let (request, response) = routed.into_parts();
    ServiceResponse::new(request, bare_as_problem(response))
}

fn bare_as_problem(response: HttpResponse) -> HttpResponse {
    if !is_plain_error(response.status(), response.headers()) {
        return response;
    }
    let mut problem = Problem::Framework(response.status()).error_response();
    if let Some(allow) = response.headers().get(header::ALLOW) {
        problem.headers_mut().insert(header::ALLOW, allow.clone());
    }
    problem
}
