//! `churnwatch resume`: lets a partition go on that the breaker has stopped.

use std::sync::Arc;

use churnwatch_core::event::Resume;
use churnwatch_kafka::{Reporting, operator};
use churnwatch_pipeline::PartitionId;
use churnwatch_store::TaskRow;
use churnwatch_telemetry::{Health, Metrics};
use clap::Args;

use super::{ConfigFile, erase::name};
use crate::{
    config::Config,
    exit::{Exit, Failure, OrExit},
    output,
};

/// Arguments of `resume`.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// Which partition of the log.
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(0..))]
    partition: i32,

    #[command(flatten)]
    config: ConfigFile,

    /// Let records below this offset through, however many of them cannot be
    /// used. Default: all that are in the partition now.
    #[arg(long, value_name = "OFFSET")]
    until: Option<i64>,

    /// Who decided it; stands in the log.
    #[arg(long, value_name = "NAME", default_value = "operator", value_parser = name)]
    by: String,
}

pub(crate) fn run(args: ResumeArgs) -> Result<(), Exit> {
    let config = Config::load(args.config.config.as_deref())?;
    let partition = PartitionId(args.partition);
    let standing = operator::standing(&config.kafka, partition).or_exit(Failure::Unavailable)?;
    let reporting = Reporting {
        metrics: Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"))),
        health: Health::new(),
    };
    let record = match &standing.mark {
        Some(mark) => operator::epoch_record(&config.kafka, &reporting, partition, mark)
            .or_exit(Failure::Unavailable)?,
        None => None,
    };
    let row = record
        .map(|record| TaskRow::decode(&record, args.partition))
        .transpose()?;
    let Some(row) = row.filter(|row| row.breaker.tripped().is_some()) else {
        return Err(Exit {
            failure: Failure::Usage,
            error: anyhow::anyhow!(
                "partition {partition} is not stopped by the breaker: /readyz of its owner says \
                 what it waits for"
            ),
        });
    };
    let resume = Resume {
        offset: row.next_offset,
        until: args.until.unwrap_or(standing.end),
    };
    if resume.until < resume.offset {
        return Err(Exit {
            failure: Failure::Usage,
            error: anyhow::anyhow!(
                "--until {}: partition {partition} stands at offset {}, give a later one",
                resume.until,
                resume.offset
            ),
        });
    }
    let value = churnwatch_wire::encode_resume(resume, &args.by);
    let written = operator::append(&config.kafka, Some(args.partition), None, &value)
        .or_exit(Failure::Unavailable)?;
    output::print(&format!(
        "partition {partition} goes on at offset {}; {} records, up to offset {}, are let through \
         (said at offset {})\n",
        resume.offset,
        resume.until - resume.offset,
        resume.until,
        written.offset
    ))
    .or_exit(Failure::Output)
}
