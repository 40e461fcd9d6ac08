//! Where values come from, and which one wins.

use std::{collections::BTreeMap, env, ffi::OsString, fs, io::Read as _, path::Path};

use super::{Config, Key, problem::Problem};

const PREFIX: &str = "STARTER__";
/// What is no prefix of a key, and yet surely meant for this program.
const ALMOST: &str = "STARTER_";
/// What some editors put at the beginning of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Other names for keys, used when the key itself is not set. The first is what the diesel CLI
/// reads, the second what people expect of a program that uses `env_logger`.
const ALIASES: [(&str, &str); 2] =
    [("DATABASE_URL", "STARTER__DATABASE__URL"), ("RUST_LOG", "STARTER__TELEMETRY__LOG_FILTER")];

/// The prefix of the keys that say where the database is: setting one by a flag replaces them all.
const DATABASE_URL: &str = "STARTER__DATABASE__URL";
const DATABASE_PARTS: [&str; 6] = ["HOST", "PORT", "USER", "PASSWORD", "NAME", "SSLMODE"];

/// Values given on the command line: they win over the environment.
#[derive(Debug, Clone, Default)]
pub struct Overrides(Vec<(&'static str, &'static str, String)>);

impl Overrides {
    /// Sets `variable`, if there is a value, on behalf of `flag`.
    #[must_use]
    pub fn with(mut self, flag: &'static str, variable: &'static str, value: Option<&String>) -> Self {
        self.0.extend(value.map(|value| (flag, variable, value.clone())));
        self
    }
}

/// All values after the layers were laid over each other.
pub(super) struct Layers {
    /// By variable.
    pub(super) values: BTreeMap<String, String>,
    /// Where each came from; those from the environment too.
    pub(super) sources: BTreeMap<String, String>,
    /// What was wrong so far: unknown names, unreadable files.
    pub(super) problems: Vec<Problem>,
}

impl Layers {
    /// Of `.env`, the environment and the flags.
    pub(super) fn of_process(overrides: &Overrides) -> Self {
        let mut layers = Self::empty();
        layers.lay_dotenv(Path::new(".env"));
        for (variable, value) in env::vars_os() {
            layers.lay_os(variable, value);
        }
        layers.settle(overrides)
    }

    /// Of pairs, as if they were the environment, and flags.
    pub(super) fn of_pairs(pairs: impl Iterator<Item = (String, String)>, overrides: &Overrides) -> Self {
        let mut layers = Self::empty();
        for (variable, value) in pairs {
            layers.lay(variable, value, "environment");
        }
        layers.settle(overrides)
    }

    fn empty() -> Self {
        Self { values: BTreeMap::new(), sources: BTreeMap::new(), problems: Vec::new() }
    }

    fn problem(&mut self, variable: &str, wrong: impl Into<String>, allowed: impl Into<String>) {
        let problem = Problem { variable: variable.into(), wrong: wrong.into(), allowed: allowed.into() };
        self.problems.push(problem);
    }

    fn lay(&mut self, variable: String, value: String, source: &str) {
        // As if it were not there: it must not hide what a layer below says. Its name may be wrong all the same.
        if value.is_empty() && self.values.contains_key(&variable) {
            return;
        }
        if variable.starts_with(PREFIX) || ALIASES.iter().any(|(alias, _)| *alias == variable) {
            self.sources.insert(variable.clone(), source.to_owned());
            self.values.insert(variable, value);
        } else if variable.starts_with(ALMOST) {
            self.problem(
                &variable,
                "unknown variable",
                format!("all names begin with {PREFIX}, with two underscores"),
            );
        }
    }

    fn lay_os(&mut self, variable: OsString, value: OsString) {
        let variable = variable.to_string_lossy().into_owned();
        match value.into_string() {
            Ok(value) => self.lay(variable, value, "environment"),
            Err(_) if variable.starts_with(PREFIX) => self.problem(&variable, "not UTF-8", "text in UTF-8"),
            Err(_) => {}
        }
    }

    fn lay_dotenv(&mut self, path: &Path) {
        let entries = match dotenvy::from_path_iter(path) {
            Ok(entries) => entries,
            Err(error) if error.not_found() => return,
            Err(_) => return self.problem(".env", "cannot be read", "a readable file in UTF-8, or none"),
        };
        if starts_with_mark(path) {
            return self.problem(".env", "begins with a byte order mark", "a file in UTF-8 without one");
        }
        let mut last = "the beginning".to_owned();
        for entry in entries {
            match entry {
                Ok((variable, value)) => {
                    last.clone_from(&variable);
                    self.lay(variable, value, ".env");
                }
                // dotenvy's message quotes the line, which may hold a secret.
                Err(dotenvy::Error::LineParse(..)) => self.problem(
                    ".env",
                    format!("the line after {last} cannot be read"),
                    "VARIABLE=value, values with spaces in quotes",
                ),
                // The same would come for ever, as of a directory.
                Err(_) => return self.problem(".env", "cannot be read", "a readable file in UTF-8, or none"),
            }
        }
    }

    fn settle(mut self, overrides: &Overrides) -> Self {
        let keys = Config::keys();
        self.report_unknown(&keys);
        self.values.retain(|_, value| !value.is_empty());
        self.read_files(&keys);
        self.apply_aliases();
        for (flag, variable, value) in &overrides.0 {
            self.apply_flag(flag, variable, value);
        }
        self.tidy_lists(&keys);
        let Self { values, sources, .. } = &mut self;
        sources.retain(|variable, _| values.contains_key(variable));
        self
    }

    fn report_unknown(&mut self, keys: &[Key]) {
        let is_known = |variable: &String| {
            ALIASES.iter().any(|(alias, _)| alias == variable)
                || keys.iter().any(|key| {
                    key.variable == *variable
                        || key.secret && variable.strip_suffix("_FILE") == Some(key.variable.as_str())
                })
        };
        let unknown: Vec<String> =
            self.values.keys().filter(|variable| !is_known(variable)).cloned().collect();
        for variable in unknown {
            self.values.remove(&variable);
            let rest = variable.strip_prefix(PREFIX).unwrap_or_default();
            let section = format!("{PREFIX}{}__", rest.split("__").next().unwrap_or_default());
            let siblings = names(keys.iter().filter_map(|key| key.variable.strip_prefix(&section)));
            if siblings.is_empty() {
                let sections = keys.iter().filter_map(|key| key.variable.split("__").nth(1));
                self.problem(&variable, "unknown section", format!("there are {}", names(sections)));
            } else {
                self.problem(&variable, "unknown variable", format!("{section}… has {siblings}"));
            }
        }
    }

    /// Takes secrets from the files that `…_FILE` names.
    fn read_files(&mut self, keys: &[Key]) {
        for key in keys.iter().filter(|key| key.secret) {
            let variable = format!("{}_FILE", key.variable);
            let Some(path) = self.values.remove(&variable) else { continue };
            if self.values.contains_key(&key.variable) {
                self.problem(&variable, format!("set together with {}", key.variable), "one of the two");
                continue;
            }
            match fs::read_to_string(&path).map(|text| text.trim_end_matches(['\r', '\n']).to_owned()) {
                Ok(secret) if secret.starts_with(BYTE_ORDER_MARK) => self.problem(
                    &variable,
                    "the file begins with a byte order mark",
                    "a file in UTF-8 without one",
                ),
                Ok(secret) if secret.is_empty() => {
                    self.problem(&variable, "names an empty file", "the secret in a file")
                }
                Ok(secret) => {
                    self.values.insert(key.variable.clone(), secret);
                    self.sources.insert(key.variable.clone(), format!("file {path}"));
                }
                Err(error) => self.problem(
                    &variable,
                    format!("the file cannot be read ({})", error.kind()),
                    "the path of a readable UTF-8 file",
                ),
            }
        }
    }

    fn apply_aliases(&mut self) {
        let has_parts = DATABASE_PARTS.iter().any(|part| self.values.contains_key(&database_key(part)));
        for (alias, variable) in ALIASES {
            let Some(value) = self.values.remove(alias) else { continue };
            let is_set = self.values.contains_key(variable) || variable == DATABASE_URL && has_parts;
            if !is_set {
                let source = self.sources.get(alias).map_or("", String::as_str);
                self.sources.insert(variable.to_owned(), format!("{source} {alias}"));
                self.values.insert(variable.to_owned(), value);
            }
        }
    }

    fn apply_flag(&mut self, flag: &str, variable: &str, value: &str) {
        if variable == DATABASE_URL {
            self.values.retain(|key, _| !DATABASE_PARTS.iter().any(|part| *key == database_key(part)));
        }
        self.values.insert(variable.to_owned(), value.to_owned());
        self.sources.insert(variable.to_owned(), format!("flag {flag}"));
    }

    /// envy splits at commas and keeps what is around them: `a, b` means two names without spaces.
    fn tidy_lists(&mut self, keys: &[Key]) {
        for key in keys.iter().filter(|key| key.list) {
            if let Some(value) = self.values.get_mut(&key.variable) {
                let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
                *value = items.collect::<Vec<_>>().join(",");
            }
        }
    }
}

fn starts_with_mark(path: &Path) -> bool {
    let mut start = [0; BYTE_ORDER_MARK.len_utf8()];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start.starts_with(BYTE_ORDER_MARK.encode_utf8(&mut [0; 4]).as_bytes())
}

fn database_key(part: &str) -> String {
    format!("STARTER__DATABASE__{part}")
}

/// Each once, in their order.
fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let mut seen = Vec::new();
    for name in all {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen.join(", ")
}
