//! The HTTP listener of a process.

use std::{
    io::ErrorKind,
    net::{TcpListener, ToSocketAddrs},
    time::Duration,
};

use actix_web::{dev::ServerHandle, web};
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use super::{Mode, descriptors, failed};
use crate::{
    actors::{system::Actors, worker},
    cli::{Failure, Outcome},
    config::Config,
    http::{self, Draining, Endpoint, Settings, metrics::Metrics, waiting::Waiting},
};

/// Where a process listens, before it answers. A worker does so only where it is told a port, and only about itself.
pub(super) struct Socket {
    socket: TcpListener,
    port: u16,
    routes: Vec<Endpoint>,
}

impl Socket {
    /// From now on clients can connect; they wait for their answers.
    pub(super) fn bind(mode: Mode, config: &Config) -> Outcome<Option<Self>> {
        let (port, routes) = match (mode, config.worker.health_port) {
            (Mode::Worker, None) => return Ok(None),
            (Mode::Worker, Some(port)) => (port, http::operations()),
            (Mode::Server | Mode::Standalone, _) => (config.server.port, http::routes()),
        };
        let socket = bind(&config.server.host, port)?;
        let port = socket.local_addr().map_err(failed)?.port();
        Ok(Some(Self { socket, port, routes }))
    }

    /// The port that is listened on.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Answers that the process is not ready, until that is stopped; clients that come in between wait.
    pub(super) fn answer_not_ready(&self, config: &Config, waiting: &Waiting) -> Outcome<NotReady> {
        let socket = self.socket.try_clone().map_err(failed)?;
        let draining = Draining::default();
        let mut settings = Settings::of(&config.server, &config.rate_limit);
        settings.workers = 1;
        // No request that it answers takes any time.
        settings.shutdown_timeout = Duration::from_secs(1);

        let waiting = waiting.clone();
        let state = move |services: &mut web::ServiceConfig| http::waiting::configure(&waiting, services);
        let server = http::serve(socket, settings, draining.clone(), http::waiting::endpoints(), state);
        let server = server.map_err(failed)?;
        let handle = server.handle();
        actix_rt::spawn(server);
        write_port(config, self.port)?;
        Ok(NotReady { draining, handle })
    }
}

/// What answers while the process is not ready.
pub(super) struct NotReady {
    draining: Draining,
    handle: ServerHandle,
}

impl NotReady {
    /// Leaves the socket to the service itself.
    pub(super) async fn stop(self) {
        self.draining.begin();
        self.handle.stop(true).await;
    }
}

/// The HTTP listener of a process.
pub(super) struct Listener {
    draining: Draining,
    handle: ServerHandle,
    ended: watch::Receiver<bool>,
}

impl Listener {
    /// Answers.
    pub(super) fn open(socket: Socket, config: &Config, actors: &Actors) -> Outcome<Self> {
        let Socket { socket, port, routes } = socket;
        let draining = Draining::default();
        let mut settings = Settings::of(&config.server, &config.rate_limit);
        settings.max_connections = settings.max_connections.min(descriptors::connections(config)).max(1);
        let mut registry = Registry::with_prefix("starter");
        settings.metrics.register(&mut registry);
        registry.register_collector(Box::new(actors.figures.clone()));
        let metrics = Metrics::new(registry, config.telemetry.metrics_public);
        let (actors, shown, files) = (actors.clone(), draining.clone(), worker::files(&config.worker));
        let state = move |services: &mut web::ServiceConfig| {
            services
                .app_data(web::Data::new(actors.sessions.clone()))
                .app_data(web::Data::new(actors.api_keys.clone()))
                .app_data(web::Data::new(actors.accounts.clone()))
                .app_data(web::Data::new(actors.dispatcher.clone()))
                .app_data(web::Data::new(actors.task_events.clone()))
                .app_data(web::Data::new(actors.intake.clone()))
                .app_data(web::Data::new(files.clone()))
                .app_data(web::Data::new(actors.watchdog.clone()))
                .app_data(web::Data::new(actors.revoker.clone()))
                .app_data(web::Data::new(metrics.clone()))
                .app_data(web::Data::new(shown.clone()));
            #[cfg(feature = "bench-routes")]
            services.app_data(web::Data::new(actors.one_statement.clone())).configure(http::bench::configure);
        };
        let server = http::serve(socket, settings, draining.clone(), routes, state).map_err(failed)?;
        let handle = server.handle();
        let (ending, ended) = watch::channel(false);
        actix_rt::spawn(async move {
            if let Err(error) = server.await {
                log::error!(error:% = error; "the HTTP listener failed");
            }
            ending.send_replace(true);
        });
        write_port(config, port)?;
        Ok(Self { draining, handle, ended })
    }

    /// Readiness goes off, and every answer closes its connection.
    pub(super) fn begin_draining(&self) {
        self.draining.begin();
    }

    /// Takes no more connections, and waits for requests under way.
    pub(super) async fn stop(self) {
        self.handle.stop(true).await;
    }
}

/// Waits for the listener's end, which nobody asked for; for ever without one.
pub(super) async fn ended(listener: Option<&Listener>) {
    match listener {
        Some(listener) => {
            let mut ended = listener.ended.clone();
            let _sender_gone = ended.wait_for(|ended| *ended).await;
        }
        None => std::future::pending().await,
    }
}

fn bind(host: &str, port: u16) -> Outcome<TcpListener> {
    let refused = |error: std::io::Error| {
        let hint = match error.kind() {
            ErrorKind::AddrInUse => {
                "; is it running already? Another port: scripts/run --port 3001, or STARTER__SERVER__PORT"
            }
            _ => "",
        };
        Failure::Failed(format!("cannot listen on {host}:{port}: {error}{hint}"))
    };
    let addresses: Vec<_> = (host, port).to_socket_addrs().map_err(refused)?.collect();
    TcpListener::bind(&*addresses).map_err(refused)
}

/// Beside its place, and put there when it is whole: nobody reads half a number.
fn write_port(config: &Config, port: u16) -> Outcome {
    let Some(path) = &config.server.port_file else { return Ok(()) };
    let mut beside = path.clone().into_os_string();
    beside.push(".new");
    std::fs::write(&beside, port.to_string())
        .and_then(|()| std::fs::rename(&beside, path))
        .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", path.display())))
}
