//! Waiting for migrations, which somebody else runs: quietly, and answering that this is so.

use std::{sync::Arc, time::Duration};

use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{Mode, greeting, listener::Socket};
use crate::{
    cli::{Failure, Outcome},
    config::Config,
    db::{Pool, health},
    domain::{Error, Result},
    http::waiting::Waiting,
};

/// Between two looks at the database.
const LOOK: Duration = Duration::from_secs(1);

/// A process that starts.
pub(super) struct Start<'a> {
    pub(super) mode: Mode,
    pub(super) config: &'a Config,
    pub(super) runtime: &'a Arc<Runtime>,
    pub(super) socket: Option<&'a Socket>,
    /// Cancelled when the process is to end.
    pub(super) stop: &'a CancellationToken,
}

impl Start<'_> {
    /// Returns once the database behind `pool` has every migration of this program. Until then every request is
    /// answered with 503, and nothing of the service runs that would complain about missing tables.
    pub(super) async fn until_migrated(&self, pool: &Pool) -> Outcome {
        let pending = self.pending(pool).await?;
        if pending == 0 {
            return Ok(());
        }
        log::warn!(pending; "migrations are pending; nothing else is started until they are run: starter migrate run");
        greeting::not_ready(self.mode, self.config, self.socket.map(Socket::port), pending);

        let waiting = Waiting::default();
        let server = self.socket.map(|socket| socket.answer_not_ready(self.config, &waiting)).transpose()?;
        let migrated = self.look_again(pool, &waiting).await;
        if let Some(server) = server {
            server.stop().await;
        }
        migrated?;
        log::info!("migrations were run");
        Ok(())
    }

    async fn look_again(&self, pool: &Pool, waiting: &Waiting) -> Outcome {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return Err(Failure::Failed("stopped while it waited".into())),
                () = tokio::time::sleep(LOOK) => {}
            }
            let pending = self.pending(pool).await;
            waiting.looked(pending.is_ok());
            match pending {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => log::debug!(error:% = error; "pending migrations are not known"),
            }
        }
    }

    /// Connections are driven by the runtime that dialled them, so it is this one that asks.
    async fn pending(&self, pool: &Pool) -> Result<usize> {
        let pool = pool.clone();
        let asked = self.runtime.spawn(async move {
            let mut connection = pool.get().await?;
            health::pending_migrations(&mut connection).await
        });
        asked.await.map_err(Error::internal)?
    }
}
