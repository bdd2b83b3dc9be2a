//! `churnwatch validate`: everything that is checked before a start, without
//! the start.

use churnwatch_kafka::topics;
use clap::Args;

use super::ConfigFile;
use crate::{
    config::Config,
    exit::{Exit, Failure, OrExit},
};

/// Arguments of `validate`.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    config: ConfigFile,

    /// Look at the configuration only, not at the broker and the topics.
    #[arg(long)]
    offline: bool,

    /// Do not warn about topics with fewer copies than a cluster should keep.
    #[arg(long)]
    dev: bool,
}

pub(crate) fn run(args: ValidateArgs) -> Result<(), Exit> {
    let config = Config::load(args.config.config.as_deref())?;
    config.http_token().map_err(|message| Exit {
        failure: Failure::Config,
        error: anyhow::anyhow!(message),
    })?;
    config.shares().map_err(|message| Exit {
        failure: Failure::Config,
        error: anyhow::anyhow!(message),
    })?;
    config.kafka.check_clients().or_exit(Failure::Config)?;
    println!("the configuration is valid");
    if args.offline {
        return Ok(());
    }
    let report = topics::check(&config.kafka, args.dev).or_exit(Failure::Unavailable)?;
    for warning in &report.warnings {
        println!("warning: {warning}");
    }
    if !report.errors.is_empty() {
        let error = anyhow::anyhow!("{}", report.errors.join("\n       "));
        return Err(Exit {
            failure: Failure::Unavailable,
            error,
        });
    }
    println!(
        "the broker answers, and the topics are fit: {} partitions",
        report.partitions
    );
    Ok(())
}
