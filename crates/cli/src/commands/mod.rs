//! The commands, one a file, and their arguments.

pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod erase;
pub(crate) mod generate;
pub(crate) mod inspect;
pub(crate) mod replay;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod topics;
pub(crate) mod validate;

use std::path::PathBuf;

use churnwatch_telemetry::logging::LogFormat;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::{
    exit::{Exit, Failure, OrExit},
    output,
};

/// Watches product usage and support tickets for signs of churn, and says which
/// account to act on, why, and how.
///
/// Exit codes: 0 done; 64 wrong command line; 66 input unusable; 69 broker or
/// topic unavailable; 70 program or state at fault; 74 output unwritable;
/// 75 state directory held by another process; 78 configuration wrong.
#[derive(Debug, Parser)]
#[command(name = "churnwatch", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Say more on the standard error; twice for everything.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,

    /// Format of the logs on the standard error.
    #[arg(
        long,
        global = true,
        default_value = "human",
        value_name = "human|json"
    )]
    pub(crate) log_format: LogFormat,
}

impl Cli {
    /// Replays and one-off commands are quiet unless asked; a service logs.
    pub(crate) fn log_level(&self) -> String {
        let quiet = !matches!(self.command, Command::Run(_));
        match self.verbose {
            0 if quiet => "warn",
            0 => "info",
            1 => "debug",
            _ => "trace",
        }
        .to_owned()
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Detect on Kafka, until told to stop.
    Run(run::RunArgs),
    /// Detect on files of canonical events, with a state that is thrown away.
    Replay(replay::ReplayArgs),
    /// Show what it finds in a made-up fleet of accounts with told stories.
    Demo(demo::DemoArgs),
    /// Check a configuration, the broker and the topics; start nothing.
    Validate(validate::ValidateArgs),
    /// Forget everything that is kept about an account.
    Erase(erase::EraseArgs),
    /// Let a partition go on that was stopped because too many of its records
    /// could not be used.
    Resume(resume::ResumeArgs),
    /// Look at the state directory of a stopped process, and prove it.
    Inspect(inspect::InspectArgs),
    /// Set topics up.
    Topics(topics::TopicsArgs),
    /// Print the JSON Schemas of records, or the AsyncAPI document.
    Schema(schema::SchemaArgs),
    /// Look at the configuration.
    Config(config::ConfigArgs),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
    /// Write every generated document below a directory.
    #[command(hide = true)]
    Generate(generate::GenerateArgs),
}

/// The configuration file.
#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// Configuration file (YAML). Without it, every default holds.
    #[arg(short, long, value_name = "FILE", env = "CHURNWATCH_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell.
    shell: clap_complete::Shell,
}

pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Exit> {
    // clap_complete panics where it cannot write; memory takes everything.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "churnwatch", &mut script);
    output::print(&String::from_utf8_lossy(&script)).or_exit(Failure::Output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_exit_codes_of_the_help_are_those_of_the_program() {
        let help = Cli::command().render_long_help().to_string();
        for (_, code, _) in crate::exit::CODES {
            assert!(
                help.contains(&code.to_string()),
                "{code} is not in the help"
            );
        }
    }
}
