//! `churnwatch erase`: everything that is kept about an account is forgotten.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use churnwatch_core::{
    AccountId, EventTime,
    ids::{ACCOUNT_ID_MAX_BYTES, NAME_MAX_BYTES},
};
use churnwatch_kafka::operator;
use clap::Args;

use super::ConfigFile;
use crate::{
    config::Config,
    exit::{Exit, Failure, OrExit},
    output,
};

/// Arguments of `erase`.
#[derive(Debug, Args)]
pub(crate) struct EraseArgs {
    /// The account, as its records name it.
    #[arg(value_parser = account)]
    account: String,

    #[command(flatten)]
    config: ConfigFile,

    /// Who decided it; stands in the log.
    #[arg(long, value_name = "NAME", default_value = "operator", value_parser = name)]
    by: String,
}

/// As the log wants them, so that the record is not put away as a dead letter.
fn account(text: &str) -> Result<String, String> {
    within(text, ACCOUNT_ID_MAX_BYTES)
}

/// As the log wants the name of a person.
pub(super) fn name(text: &str) -> Result<String, String> {
    within(text, NAME_MAX_BYTES)
}

fn within(text: &str, most_bytes: usize) -> Result<String, String> {
    if text.is_empty() || text.len() > most_bytes || text.chars().any(char::is_control) {
        return Err(format!(
            "give 1 to {most_bytes} bytes without control characters"
        ));
    }
    Ok(text.to_owned())
}

pub(crate) fn run(args: EraseArgs) -> Result<(), Exit> {
    let config = Config::load(args.config.config.as_deref())?;
    let account = AccountId::from(&*args.account);
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock of this machine stands before 1970")
        .or_exit(Failure::Internal)?;
    let now = EventTime::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX));
    let value = churnwatch_wire::encode_erase(&account, now, &args.by);
    let written = operator::append(
        &config.kafka,
        None,
        Some(account.as_str().as_bytes()),
        &value,
    )
    .or_exit(Failure::Unavailable)?;
    output::print(&format!(
        "erasing account {:?}: partition {}, offset {} of {}\n\
         Its state and its open alerts go when the group has read that far. What remains, and \
         how long, is in docs/operations.md.\n",
        args.account,
        written.partition,
        written.offset,
        config.kafka.topics.events()
    ))
    .or_exit(Failure::Output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_log_would_refuse_is_refused_here() {
        assert!(account("acme").is_ok());
        for bad in ["", "a\nb", &"x".repeat(ACCOUNT_ID_MAX_BYTES + 1)] {
            assert!(account(bad).is_err(), "{bad:?}");
        }
    }
}
