//! `tidegate completion`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use crate::failure::Outcome;
use crate::terminal;

const EXAMPLES: &str = "\x1b[1mExamples:\x1b[0m
  # bash, for this shell
  source <(tidegate completion bash)

  # zsh, for good
  tidegate completion zsh > \"${fpath[1]}/_tidegate\"";

/// Flags of `tidegate completion`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionArgs {
    /// Which shell
    shell: Shell,
}

/// Prints the script.
pub fn run(args: &CompletionArgs) -> Outcome<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tidegate", &mut script);
    terminal::print(String::from_utf8_lossy(&script))
}
