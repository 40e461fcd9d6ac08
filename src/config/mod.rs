//! The configuration: `STARTER__SECTION__KEY`, each section read with `envy`.
//!
//! Order, later wins: default, `.env` in the working directory, environment, command-line flag.
//! An empty value counts as unset. Every secret `…__X` may come from the file that `…__X_FILE` names.
//! All problems are reported at once ([`Invalid`]). To add a key, add a field to its section's file;
//! `starter config example > .env.example` brings that file up to date.
//!
//! No other module reads the environment.

mod auth;
mod connection_url;
mod database;
mod initial_admin;
mod layers;
mod mail;
mod mail_url;
mod problem;
mod rate_limit;
mod read;
mod section;
mod server;
mod telemetry;
#[cfg(test)]
mod tests;
mod value;
mod webhook;
mod worker;

use std::{collections::BTreeMap, fmt};

use layers::Layers;
use problem::Problems;
use section::{Check, Section};

pub use auth::{Auth, Registration};
pub use connection_url::ConnectionUrl;
pub use database::{Database, SslMode};
pub use initial_admin::InitialAdmin;
pub use layers::Overrides;
pub use mail::Mail;
pub use mail_url::{MailUrl, Smtp, SmtpTls};
pub use problem::{Invalid, Problem};
pub use rate_limit::RateLimit;
pub use section::Key;
pub use server::Server;
pub use telemetry::{LogFormat, Telemetry};
pub use value::PublicUrl;
pub use webhook::Webhook;
pub use worker::Worker;

/// One key of a configuration as it is in force.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What is known of the key.
    pub key: Key,
    /// The value, secrets masked; `None`: unset.
    pub value: Option<String>,
    /// `default`, `environment`, `.env`, `file PATH`, `flag --NAME`, or `environment RUST_LOG`.
    pub source: String,
}

macro_rules! sections {
    ($($(#[doc = $doc:literal])+ $field:ident: $section:ident,)+) => {
        /// The whole configuration. Never serialised; its `Debug` masks every secret.
        #[derive(Clone)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $field: $section,)+
            sources: BTreeMap<String, String>,
        }

        impl Config {
            /// Every key there is, by section, in the order of the fields.
            pub fn keys() -> Vec<Key> {
                [$($section::keys()),+].concat()
            }

            fn shown(&self) -> Vec<Option<String>> {
                [$(self.$field.shown()),+].concat()
            }

            fn read(layers: Layers) -> Result<Self, Invalid> {
                let mut problems = Problems::new(layers.problems, &layers.sources);
                let config = Self {
                    $($field: read::section::<$section>(&layers.values, &mut problems),)+
                    sources: layers.sources.clone(),
                };
                $(config.$field.check(&mut problems);)+
                config.check_across(&mut problems);
                let found = problems.into_found();
                if found.is_empty() { Ok(config) } else { Err(Invalid(found)) }
            }
        }
    };
}

sections! {
    /// The HTTP listener.
    server: Server,
    /// Where the data is.
    database: Database,
    /// Sessions, passwords, log-in.
    auth: Auth,
    /// How often one client address may ask.
    rate_limit: RateLimit,
    /// Running tasks.
    worker: Worker,
    /// How mails leave.
    mail: Mail,
    /// Deliveries of webhooks.
    webhook: Webhook,
    /// Logs and metrics.
    telemetry: Telemetry,
    /// The first admin of a new installation.
    initial_admin: InitialAdmin,
}

impl Config {
    /// Reads `.env`, the environment and the flags.
    ///
    /// # Errors
    ///
    /// Every problem of all three.
    pub fn load(overrides: &Overrides) -> Result<Self, Invalid> {
        Self::read(Layers::of_process(overrides))
    }

    /// The same from pairs instead of the environment, and nothing else: for tests.
    ///
    /// # Errors
    ///
    /// Every problem of the pairs.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, Invalid> {
        let pairs = pairs.into_iter().map(|(variable, value)| (variable.into(), value.into()));
        Self::read(Layers::of_pairs(pairs, &Overrides::default()))
    }

    /// Every key with its value and where that came from, secrets masked.
    pub fn entries(&self) -> Vec<Entry> {
        let mut effective = self.clone();
        effective.settle();
        let source = |key: &Key| self.sources.get(&key.variable).map_or("default", String::as_str).to_owned();
        let entries = Self::keys().into_iter().zip(effective.shown());
        entries.map(|(key, value)| Entry { source: source(&key), key, value }).collect()
    }

    /// Leaves out of the log what is no warning, unless somebody chose a filter: for commands that end with a result.
    pub fn quiet(&mut self) {
        if self.source("STARTER__TELEMETRY__LOG_FILTER").is_none() {
            "warn".clone_into(&mut self.telemetry.log_filter);
        }
    }

    /// Where the value of a variable came from; `None` for a default.
    pub fn source(&self, variable: &str) -> Option<&str> {
        self.sources.get(variable).map(String::as_str)
    }

    /// What one section cannot know of another.
    fn check_across(&self, problems: &mut Problems<'_>) {
        self.initial_admin.check_account(&self.auth, problems);
    }

    /// Writes down what is otherwise worked out where it is used, so that it can be shown.
    fn settle(&mut self) {
        if self.server.port != 0 {
            let url = self.server.public_url(self.server.port);
            self.server.public_url = url.try_into().ok();
        }
        self.database.min_connections = self.database.min_connections();
        self.database.auto_migrate = Some(self.database.auto_migrate());
        self.telemetry.log_format = Some(self.telemetry.log_format());
    }

    /// A commented `.env` that names every key with its default: what `.env.example` holds.
    pub fn example() -> String {
        let mut text = String::from(EXAMPLE_HEAD);
        for key in Self::keys() {
            let meaning = key.meaning.lines().next().unwrap_or_default();
            let file = if key.secret { " [or …_FILE]" } else { "" };
            let (note, default) = match key.default.unwrap_or_default() {
                words if words == section::CORES => (format!(" Default: {words}."), String::new()),
                value if value.contains(' ') => (String::new(), format!("'{value}'")),
                value => (String::new(), value),
            };
            text.push_str(&format!("\n# {meaning}{note}{file}\n#{}={default}\n", key.variable));
        }
        text
    }
}

const EXAMPLE_HEAD: &str = "\
# Every key with its default, made by: starter config example > .env.example
# Copy to .env and take away the # of what you change. The environment wins over .env.
# Put values with spaces, # or $ into 'single quotes'. A secret marked so may instead be in a
# file, named by the same variable with _FILE appended. `starter config check` finds mistakes.
";

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.entries().into_iter().map(|entry| (entry.key.variable, entry.value)))
            .finish()
    }
}

/// Whether LOG_FORMAT is `json`: by `flag`, the environment or `.env`. For errors that end the process before its
/// configuration is known to hold.
pub fn logs_as_json(flag: Option<&str>) -> bool {
    const VARIABLE: &str = "STARTER__TELEMETRY__LOG_FORMAT";
    let said = || Layers::of_process(&Overrides::default()).values.get(VARIABLE).cloned();
    flag.map(str::to_owned).or_else(said).as_deref() == Some("json")
}

/// Number of cores that this process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
