//! `churnwatch config`: looking at the configuration.

use clap::{Args, Subcommand};

use super::ConfigFile;
use crate::{
    config::Config,
    exit::{Exit, Failure, OrExit},
    output,
};

/// Arguments of `config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the configuration in force, every default filled in. Secrets are
    /// named by their files only.
    Show {
        #[command(flatten)]
        config: ConfigFile,
    },
}

pub(crate) fn run(args: ConfigArgs) -> Result<(), Exit> {
    let ConfigCommand::Show { config } = args.command;
    let config = Config::load(config.config.as_deref())?;
    let text = serde_saphyr::to_string(&config).or_exit(Failure::Internal)?;
    output::print(&text).or_exit(Failure::Output)
}
