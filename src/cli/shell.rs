//! `starter completions` and `starter man`: made from the commands themselves.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Failure, Outcome, Output};

/// Of the manual: change it with the version.
const DATE: &str = "2026-11-27";

pub(super) fn completions(shell: Shell, output: &Output) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "starter", &mut script);
    output.text(&String::from_utf8_lossy(&script))
}

/// The page of the program, followed by those of its commands, for `starter man | man -l -`.
pub(super) fn man(output: &Output) -> Outcome {
    let mut command = Cli::command();
    command.build();
    let mut pages = Vec::new();
    append(&command, &mut pages).map_err(|error| Failure::Failed(error.to_string()))?;
    output.text(&String::from_utf8_lossy(&pages))
}

fn append(command: &clap::Command, pages: &mut Vec<u8>) -> std::io::Result<()> {
    clap_mangen::Man::new(command.clone()).date(DATE).render(pages)?;
    let commands = command.get_subcommands().filter(|command| command.get_name() != "help");
    for command in commands.filter(|command| !command.is_hide_set()) {
        append(command, pages)?;
    }
    Ok(())
}
