//! `outrigger completion SHELL`: prints the script that a shell reads to complete our commands.

use anyhow::Result;
use clap::ValueEnum;
use clap_complete::Shell;
use std::io::Write as _;

/// Print the completion script of a shell.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(value_enum)]
    shell: Completed,
}

/// The shells that we test.
#[derive(Clone, Copy, ValueEnum)]
enum Completed {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn run(args: &Args, mut command: clap::Command) -> Result<()> {
    let shell = match args.shell {
        Completed::Bash => Shell::Bash,
        Completed::Zsh => Shell::Zsh,
        Completed::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "outrigger", &mut script);
    Ok(std::io::stdout().write_all(&script)?)
}
