//! `starter server`, `starter worker`, `starter standalone`: start everything, wait for the end, stop in order.

mod descriptors;
mod foundation;
mod greeting;
mod listener;
mod services;
mod waiting;

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use self::{
    foundation::Foundation,
    listener::{Listener, Socket},
};
use super::{Failure, Flags, Outcome, signals::Signals};
use crate::{actors::system::Actors, config::Config, telemetry};

/// Between readiness going off and the listener closing: what asks us every second or less has noticed by then,
/// and every connection was told to close with its last answer.
const NOTICE: Duration = Duration::from_millis(300);

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// HTTP API only.
    Server,
    /// Tasks only.
    Worker,
    /// Both.
    Standalone,
}

impl Mode {
    fn works(self) -> bool {
        self != Self::Server
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Worker => "worker",
            Self::Standalone => "standalone",
        }
    }
}

/// Runs until it is told to stop.
pub(super) fn run(mode: Mode, flags: &Flags) -> Outcome {
    let config = Arc::new(flags.load()?);
    telemetry::init(&config.telemetry).map_err(failed)?;
    actix_rt::System::new().block_on(serve(mode, config))
}

/// Why a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// This signal asked for it.
    Signal(&'static str),
    /// An actor keeps dying, and restarts do not heal it.
    GivenUp,
    /// The listener ended unasked.
    Listener,
}

async fn serve(mode: Mode, config: Arc<Config>) -> Outcome {
    // Before anything that would have to be stopped, such as the embedded database.
    let mut signals = Signals::catch().map_err(failed)?;
    let socket = Socket::bind(mode, &config)?;
    let port = socket.as_ref().map(Socket::port);

    let stop_laying = CancellationToken::new();
    let foundation = {
        let laying = Foundation::lay(mode, Arc::clone(&config), socket.as_ref(), &stop_laying);
        let mut laying = std::pin::pin!(laying);
        tokio::select! {
            laid = &mut laying => laid?,
            signal = signals.next() => {
                log::info!(signal; "stopping before everything was started");
                actix_rt::spawn(signals.end_at_second(1));
                stop_laying.cancel();
                return take_back(laying).await;
            }
        }
    };

    let actors = Actors::start(&foundation.ground);
    let end = match socket.map(|socket| Listener::open(socket, &config, &actors)).transpose() {
        Ok(listener) => {
            announce(mode, &config, port, &foundation);
            let end = wait(&mut signals, &actors, listener.as_ref()).await;
            if let End::Signal(signal) = end {
                log::info!(signal; "stopping");
            }
            actix_rt::spawn(signals.end_at_second(0));
            stop(&config, &actors, listener).await;
            Ok(end)
        }
        Err(failure) => {
            actors.drain(Duration::ZERO).await;
            actors.stop().await;
            Err(failure)
        }
    };
    foundation.remove().await?;

    match end? {
        End::Signal(signal) => {
            log::info!(signal; "stopped");
            Ok(())
        }
        End::GivenUp => Err(Failure::Failed("an actor keeps ending; see the log".into())),
        End::Listener => Err(Failure::Failed("the HTTP listener ended".into())),
    }
}

/// The last line of the log before the greeting, and the greeting.
fn announce(mode: Mode, config: &Config, port: Option<u16>, foundation: &Foundation) {
    let name = mode.as_str();
    match port {
        Some(port) => log::info!(mode = name, port; "started"),
        None => log::info!(mode = name; "started"),
    }
    if !foundation.has_admin && mode != Mode::Worker {
        log::warn!("there is no admin yet; make one: {}", greeting::MAKE_AN_ADMIN);
    }
    greeting::print(mode, config, port, foundation);
}

/// Lets what was begun come to its end, to take it away: half a start would leave a database server behind.
async fn take_back(laying: impl Future<Output = Outcome<Foundation>>) -> Outcome {
    match laying.await {
        Ok(foundation) => foundation.remove().await,
        Err(_) => Ok(()),
    }
}

async fn wait(signals: &mut Signals, actors: &Actors, listener: Option<&Listener>) -> End {
    tokio::select! {
        signal = signals.next() => End::Signal(signal),
        () = actors.given_up.cancelled() => End::GivenUp,
        () = listener::ended(listener) => End::Listener,
    }
}

/// Readiness off, then requests and tasks under way finish, then the actors end.
async fn stop(config: &Config, actors: &Actors, listener: Option<Listener>) {
    let grace = Duration::from_secs(config.server.shutdown_timeout_secs);
    let requests = async {
        if let Some(listener) = listener {
            listener.begin_draining();
            tokio::time::sleep(NOTICE.min(grace)).await;
            listener.stop().await;
        }
    };

    // Tasks that requests still enqueue are left to other workers, or to the next start.
    tokio::join!(requests, actors.drain(grace));
    actors.stop().await;
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}
