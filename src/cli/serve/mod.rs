//! `starter server`, `starter worker`, `starter standalone`: start everything, wait for the end, stop in order.

mod descriptors;
mod foundation;
mod greeting;
mod listener;
mod services;
mod signals;

use std::{sync::Arc, time::Duration};

use self::{
    foundation::Foundation,
    listener::{Listener, Socket},
    signals::{End, Signals},
};
use super::{Failure, Flags, Outcome};
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
}

/// Runs until it is told to stop.
pub(super) fn run(mode: Mode, flags: &Flags) -> Outcome {
    let config = Arc::new(flags.load()?);
    telemetry::init(&config.telemetry).map_err(failed)?;
    actix_rt::System::new().block_on(serve(mode, config))
}

async fn serve(mode: Mode, config: Arc<Config>) -> Outcome {
    // Before anything that would have to be stopped, such as the embedded database.
    let mut signals = Signals::catch().map_err(failed)?;
    let socket = Socket::bind(mode, &config)?;
    let port = socket.as_ref().map(Socket::port);
    let given_up = tokio_util::sync::CancellationToken::new();
    let laying = Foundation::lay(mode, Arc::clone(&config), port.unwrap_or(config.server.port));
    let mut laying = std::pin::pin!(laying);
    let foundation = tokio::select! {
        laid = &mut laying => laid?,
        end = signals.wait(&given_up) => {
            log::info!(end:? = end; "told to stop before everything was started");
            return take_back(laying, &mut signals).await;
        }
    };
    let actors = Actors::start(&foundation.ground);
    let end = match socket.map(|socket| Listener::open(socket, &config, &actors)).transpose() {
        Ok(listener) => {
            log::info!(mode:? = mode, port:? = port; "started");
            greeting::print(mode, &config, port, foundation.first_admin.as_ref());
            let end = wait(&mut signals, &actors, listener.as_ref()).await;
            stop(&config, &actors, listener, &mut signals).await;
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
        End::Signal(name) => {
            log::info!(signal = name; "stopped");
            Ok(())
        }
        End::GivenUp => Err(Failure::Failed("an actor keeps ending; see the log".into())),
        End::Listener => Err(Failure::Failed("the HTTP listener ended".into())),
    }
}

/// Lets what was begun come to its end, to take it away: half a start would leave a database server behind.
async fn take_back(laying: impl Future<Output = Outcome<Foundation>>, signals: &mut Signals) -> Outcome {
    tokio::select! {
        laid = laying => match laid {
            Ok(foundation) => foundation.remove().await,
            Err(_) => Ok(()),
        },
        // The next start takes over whatever this one leaves.
        () = signals.wait_again() => std::process::exit(1),
    }
}

async fn wait(signals: &mut Signals, actors: &Actors, listener: Option<&Listener>) -> End {
    tokio::select! {
        end = signals.wait(&actors.given_up) => end,
        () = listener::ended(listener) => End::Listener,
    }
}

/// Readiness off, then requests and tasks under way finish, then the actors end. A second signal cuts it short.
async fn stop(config: &Config, actors: &Actors, listener: Option<Listener>, signals: &mut Signals) {
    let grace = Duration::from_secs(config.server.shutdown_timeout_secs);
    log::info!(grace_secs = grace.as_secs(); "stopping");
    let orderly = async {
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
    };
    tokio::select! {
        () = orderly => {}
        () = signals.wait_again() => log::warn!("told to stop at once; tasks under way will be rescued"),
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}
