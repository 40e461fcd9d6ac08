//! What task handlers may use of the world outside, as configured.

use std::{sync::Arc, time::Duration};

use crate::{
    actors::{
        accounts::Secretary,
        maintenance::{self, Upkeep},
    },
    config::{Config, MailUrl},
    db::Pool,
    domain::{Error, Result},
    tasks::{
        Registry, Services,
        files::Files,
        mail::{Directory, Mailer, Smtp},
        webhook::Webhooks,
    },
};

/// Connects them to `pool`. `port` is the one that is listened on: links in mails may lead there.
pub(super) fn services(config: &Config, pool: &Pool, registry: &Registry, port: u16) -> Result<(Services, Upkeep)> {
    let files = Files::new(config.worker.files_dir.clone());
    let secretary = Arc::new(Secretary::new(pool.clone(), &config.server.public_url(port)));
    let upkeep = Upkeep::new(
        pool.clone(),
        registry.clone(),
        Some(files.clone()),
        maintenance::Settings::from(config),
    );
    let services = Services {
        mailer: mailer(config)?,
        letters: secretary.clone(),
        webhooks: webhooks(config)?,
        files: Some(files),
        users: secretary,
        sweeper: Arc::new(upkeep.clone()),
    };
    Ok((services, upkeep))
}

fn mailer(config: &Config) -> Result<Arc<dyn Mailer>> {
    let from = config.mail.from.parse().map_err(Error::internal)?;
    Ok(match &config.mail.url {
        MailUrl::File(directory) => Arc::new(Directory::new(directory.clone(), from)),
        MailUrl::Smtp(server) => Arc::new(Smtp::new(server, from)?),
    })
}

fn webhooks(config: &Config) -> Result<Option<Webhooks>> {
    let timeout = Duration::from_secs(config.webhook.timeout_secs);
    let key = config.webhook.signing_key();
    key.map(|key| Webhooks::new(key, config.webhook.allow_private, timeout)).transpose()
}
