//! What is wrong with a configuration: all of it at once, a line each.

use std::{collections::BTreeMap, fmt};

/// One variable that stops the start. Never holds the value, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The variable, by its full name.
    pub variable: String,
    /// What is wrong with it.
    pub wrong: String,
    /// What is allowed.
    pub allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.variable, self.wrong, self.allowed)
    }
}

/// Every problem of a configuration, in the order in which they were found; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(pub Vec<Problem>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, problem) in self.0.iter().enumerate() {
            if nth > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

/// Collects problems while sections are read and checked.
pub(super) struct Problems<'a> {
    found: Vec<Problem>,
    sources: &'a BTreeMap<String, String>,
}

impl<'a> Problems<'a> {
    /// None so far. `sources` tells where a value that is wrong came from.
    pub(super) fn new(found: Vec<Problem>, sources: &'a BTreeMap<String, String>) -> Self {
        Self { found, sources }
    }

    /// Whether somebody set `variable`.
    pub(super) fn is_set(&self, variable: &str) -> bool {
        self.sources.contains_key(variable)
    }

    /// `variable` is wrong.
    pub(super) fn add(&mut self, variable: &str, wrong: impl fmt::Display, allowed: impl Into<String>) {
        let wrong = match self.sources.get(variable).map(String::as_str) {
            None | Some("environment") => wrong.to_string(),
            Some(source) => format!("{wrong} (from {source})"),
        };
        self.found.push(Problem { variable: variable.to_owned(), wrong, allowed: allowed.into() });
    }

    /// These variables, the first of which is blamed, contradict each other. Says nothing when one
    /// of them is known to be wrong already: its value was not taken, so there is nothing to compare.
    pub(super) fn contradiction(&mut self, variables: &[&str], wrong: &str, allowed: &str) {
        let known = |variable: &&str| self.found.iter().any(|problem| problem.variable == **variable);
        if let (false, Some(first)) = (variables.iter().any(known), variables.first()) {
            self.add(first, wrong, allowed);
        }
    }

    /// All that was found.
    pub(super) fn into_found(self) -> Vec<Problem> {
        self.found
    }
}
