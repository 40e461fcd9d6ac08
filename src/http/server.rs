//! The HTTP server: what `cli` runs and what tests run, the very same.

use std::{future::ready, io, net::TcpListener, sync::Arc};

use actix_http::{HttpService, Request, Response, body::BoxBody};
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::{
    App, HttpMessage, HttpRequest, HttpResponse,
    dev::AppConfig,
    http::{Method, StatusCode, header},
    middleware::from_fn,
    rt::net::TcpStream,
    web::{self, ServiceConfig},
};

use super::{
    connection::{Connection, LINGER},
    edge::{Draining, Edge},
    endpoint::{self, Endpoint},
    json::PASSWORD_BODY_LIMIT,
    problem::Problem,
    settings::Settings,
};
use crate::domain::Error;

/// Serves `endpoints` on a listener. `state` adds what the handlers extract by `web::Data`, and
/// services that are no part of the API, such as static files.
///
/// The server stops by its handle only, never by a signal.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(
    listener: TcpListener,
    settings: Settings,
    draining: Draining,
    endpoints: Vec<Endpoint>,
    state: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
) -> io::Result<Server> {
    let builder = Server::build()
        .workers(settings.workers)
        .max_concurrent_connections(settings.max_connections)
        .shutdown_timeout(settings.shutdown_timeout.as_secs())
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let edge = web::Data::new(Edge::new(settings, draining));
    let endpoints: Arc<[Arc<Endpoint>]> = endpoints.into_iter().map(Arc::new).collect();
    let factory = move || service(edge.clone(), &endpoints, &state, stopping.clone());
    Ok(builder.listen("http", listener, factory)?.run())
}

fn service(
    edge: web::Data<Edge>,
    endpoints: &[Arc<Endpoint>],
    state: &dyn Fn(&mut ServiceConfig),
    stopping: GracefulShutdownSignal,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), InitError = ()> + use<> {
    let settings = &edge.settings;
    let (silence_limit, secure) = (settings.silence, settings.secure);
    let metrics = settings.metrics.clone();
    let body_limit = settings.body.limit;
    let passwords: Vec<_> = endpoints.iter().filter(|each| each.takes_password()).cloned().collect();
    let limit = move |path: &str| match passwords.iter().any(|each| each.pattern() == path) {
        true => body_limit.min(PASSWORD_BODY_LIMIT),
        false => body_limit,
    };
    let http = HttpService::build()
        .keep_alive(settings.keep_alive)
        .client_request_timeout(settings.head_timeout)
        .client_disconnect_timeout(LINGER)
        .graceful_shutdown_signal(move || {
            let stopping = stopping.clone();
            async move { stopping.notified().await }
        })
        .on_connect_ext(|connection: &Connection<TcpStream>, data| {
            data.insert(connection.last_answer());
        })
        .expect(fn_service(move |request| ready(expect(request, &limit))))
        .h1(map_config(app(edge, endpoints, state), |()| AppConfig::default()));
    fn_service(move |io: TcpStream| {
        // Answers are small: waiting for more to send only makes them late.
        let _ = io.set_nodelay(true);
        let peer = io.peer_addr().ok();
        ready(Ok((Connection::new(io, silence_limit, secure, metrics.clone()), peer)))
    })
    .and_then(http)
}

fn app(
    edge: web::Data<Edge>,
    endpoints: &[Arc<Endpoint>],
    state: &dyn Fn(&mut ServiceConfig),
) -> impl ServiceFactory<
    Request,
    Config = AppConfig,
    Response = actix_web::dev::ServiceResponse<BoxBody>,
    Error = actix_web::Error,
    InitError = (),
> + use<> {
    let middleware = Arc::clone(&edge);
    App::new()
        .app_data(edge.settings.body)
        .app_data(edge)
        .configure(|config| endpoint::register(endpoints, config))
        // Before `state`, which may bring another.
        .default_service(web::to(unrouted))
        .configure(state)
        .wrap(from_fn(move |request, next| Arc::clone(&middleware).handle(request, next)))
        .into_factory()
}

/// Answers what no route takes: `OPTIONS *` asks about the server as a whole (RFC 9110 9.3.7), all else is not there.
async fn unrouted(request: HttpRequest) -> Result<HttpResponse, Problem> {
    if request.method() == Method::OPTIONS && request.path() == "*" {
        let allow = (header::ALLOW, "GET, HEAD, POST, PATCH, DELETE, OPTIONS");
        return Ok(HttpResponse::NoContent().insert_header(allow).finish());
    }
    Err(Error::NotFound.into())
}

/// Whether to tell a client that asks first (`Expect: 100-continue`) to send its body.
fn expect(request: Request, limit: impl Fn(&str) -> usize) -> Result<Request, Response<BoxBody>> {
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match declared.and_then(|length| length.parse::<u64>().ok()) {
        // Made a problem document by `Connection`.
        Some(length) if length > limit(request.path()) as u64 => {
            Err(Response::with_body(StatusCode::PAYLOAD_TOO_LARGE, BoxBody::new(())))
        }
        _ => Ok(request),
    }
}
