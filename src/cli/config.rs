//! `starter config`: what is in force, where it came from, and what is wrong with it.

use clap::Subcommand;
use serde::Serialize;

use super::{Failure, Flags, Outcome, Output, Table};
use crate::config::{Config, Invalid};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print every value that is in force and where it came from, secrets masked
    Show(Flags),
    /// Print every problem of the configuration; exit 0 when there is none, else 1
    Check(Flags),
    /// Print a commented .env that names every key with its default
    Example,
}

pub(super) fn run(command: &Command, output: &Output) -> Outcome {
    match command {
        Command::Show(flags) => show(&flags.load()?, output),
        Command::Check(flags) => check(flags.read().err(), output),
        Command::Example => output.text(&Config::example()),
    }
}

#[derive(Serialize)]
struct Value {
    variable: String,
    value: Option<String>,
    source: String,
    meaning: String,
}

fn show(config: &Config, output: &Output) -> Outcome {
    let values: Vec<Value> = config
        .entries()
        .into_iter()
        .map(|entry| Value {
            variable: entry.key.variable,
            value: entry.value,
            source: entry.source,
            meaning: entry.key.meaning,
        })
        .collect();
    output.data(&values, |values| {
        Table::new(["variable", "value", "source"]).rows(values, |value| {
            [value.variable.clone(), value.value.clone().unwrap_or_default(), value.source.clone()]
        })
    })
}

#[derive(Serialize)]
struct Report {
    valid: bool,
    problems: Vec<Problem>,
}

#[derive(Serialize)]
struct Problem {
    variable: String,
    wrong: String,
    allowed: String,
}

fn check(invalid: Option<Invalid>, output: &Output) -> Outcome {
    let text = invalid.as_ref().map_or_else(|| "the configuration is valid".to_owned(), ToString::to_string);
    let problems: Vec<Problem> = invalid
        .map(|Invalid(problems)| problems)
        .unwrap_or_default()
        .into_iter()
        .map(|problem| Problem { variable: problem.variable, wrong: problem.wrong, allowed: problem.allowed })
        .collect();
    let report = Report { valid: problems.is_empty(), problems };
    output.data_or_text(&report, |_| text)?;
    if report.valid { Ok(()) } else { Err(Failure::Told) }
}
