//! What tasks and maintenance work with, as configured.

use std::sync::Arc;

use crate::{
    actors::{
        accounts::Secretary,
        maintenance::{self, Upkeep},
        worker,
    },
    config::Config,
    db::Pool,
    domain::Result,
    tasks::{Registry, Services},
};

/// Connects them to `pool`. `port` is the one that is listened on: links in mails may lead there.
pub(super) fn services(
    config: &Config,
    pool: &Pool,
    registry: &Registry,
    port: u16,
) -> Result<(Services, Upkeep)> {
    let files = Some(worker::files(&config.worker));
    let upkeep = Upkeep::new(pool.clone(), registry.clone(), files, maintenance::Settings::from(config));
    let secretary = Arc::new(Secretary::new(pool.clone(), &config.server.public_url(port)));
    let services = worker::services(config, secretary.clone(), secretary, Arc::new(upkeep.clone()))?;
    Ok((services, upkeep))
}
