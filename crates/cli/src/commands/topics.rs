//! `churnwatch topics`: setting topics up.

use churnwatch_kafka::topics::{self, Outcome, TopicReport};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::ConfigFile;
use crate::{
    config::Config,
    exit::{Exit, Failure, OrExit},
    output::{self, Format},
};

/// Arguments of `topics`.
#[derive(Debug, Args)]
pub(crate) struct TopicsArgs {
    #[command(subcommand)]
    command: TopicsCommand,
}

#[derive(Debug, Subcommand)]
enum TopicsCommand {
    /// Make the topics that are missing; leave the others alone.
    Create(CreateArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    #[command(flatten)]
    config: ConfigFile,

    /// Partitions of the log and of the changelog. It cannot be changed later
    /// without replaying the log into a new one.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,

    /// Copies of each topic.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=100))]
    replication: i32,

    /// Ask the broker whether it would, and make nothing.
    #[arg(long)]
    dry_run: bool,

    /// How the result is shown. Default: a table on a terminal, else ndjson.
    #[arg(long, value_enum, value_name = "FORM")]
    output: Option<Format>,
}

#[derive(Serialize)]
struct Row {
    topic: String,
    outcome: &'static str,
    differences: Vec<String>,
}

impl From<TopicReport> for Row {
    fn from(report: TopicReport) -> Self {
        let (outcome, differences) = match report.outcome {
            Outcome::Created => ("created", Vec::new()),
            Outcome::WouldCreate => ("would create", Vec::new()),
            Outcome::Exists => ("exists", Vec::new()),
            Outcome::Differs(differences) => (
                "differs",
                differences.iter().map(ToString::to_string).collect(),
            ),
        };
        Self {
            topic: report.topic,
            outcome,
            differences,
        }
    }
}

pub(crate) fn run(args: TopicsArgs) -> Result<(), Exit> {
    let TopicsCommand::Create(args) = args.command;
    let config = Config::load(args.config.config.as_deref())?;
    let reports = topics::create(
        &config.kafka,
        args.partitions,
        args.replication,
        args.dry_run,
    )
    .or_exit(Failure::Unavailable)?;
    let rows: Vec<Row> = reports.into_iter().map(Row::from).collect();
    let format = Format::or_by_terminal(args.output);
    output::show(format, &rows, &["topic", "outcome", "differences"], |row| {
        vec![
            row.topic.clone(),
            row.outcome.to_owned(),
            row.differences.join("\n"),
        ]
    })
    .or_exit(Failure::Output)
}
