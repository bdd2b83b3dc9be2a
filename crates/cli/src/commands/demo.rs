//! `churnwatch demo`: a made-up fleet with told stories, and what the detector
//! finds in it.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use churnwatch_core::alert::TransitionKind;
use churnwatch_kafka::{EventProducer, Reporting};
use churnwatch_telemetry::{Health, Metrics};
use churnwatch_wire::AlertBody;
use clap::Args;

use super::{
    ConfigFile,
    replay::{Replay, replay},
};
use crate::{
    config::Config,
    demo::{self, Fleet, STORIES, story::Ending},
    exit::{Exit, Failure, OrExit},
    output::{Format, alerts_table, read_alerts, table},
};

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Where events and alerts are written.
    #[arg(long, default_value = "churnwatch-demo", value_name = "DIR")]
    dir: PathBuf,

    /// How the alerts are shown. Default: a table.
    #[arg(long, value_enum, value_name = "FORM")]
    output: Option<Format>,

    /// Write the events to the log on Kafka instead, keyed by account.
    #[arg(long)]
    produce: bool,

    /// With `--produce`: events a second; 0 is as fast as it goes.
    #[arg(long, default_value_t = 5_000, requires = "produce", value_name = "N")]
    rate: u64,

    #[command(flatten)]
    config: ConfigFile,
}

pub(crate) fn run(args: DemoArgs) -> Result<(), Exit> {
    let config = Config::load(args.config.config.as_deref())?;
    if args.produce {
        produce(&config, args.rate)
    } else {
        show(&args, &config)
    }
}

fn show(args: &DemoArgs, config: &Config) -> Result<(), Exit> {
    let began = Instant::now();
    let events = args.dir.join("events.ndjson");
    let alerts = args.dir.join("alerts.ndjson");
    let fleet = Fleet::generate(demo::SEED);
    write_events(&fleet, &args.dir, &events).or_exit(Failure::Output)?;
    eprintln!(
        "{} events of {} accounts over {} days, with {} told stories in them; detecting ...",
        fleet.len(),
        demo::fleet::ACCOUNTS,
        demo::calendar::PERIOD_DAYS,
        STORIES.len(),
    );
    let summary = replay(&Replay {
        input: std::slice::from_ref(&events),
        output: &alerts,
        dead_letters: None,
        scores: None,
        until: None,
        now: None,
        config,
    })?;
    let found = read_alerts(&alerts).or_exit(Failure::Internal)?;
    match args.output.unwrap_or(Format::Table) {
        Format::Table => {
            let mut out = io::stdout().lock();
            writeln!(out, "{}", alerts_table(&found)).or_exit(Failure::Output)?;
            writeln!(out, "{}", stories_told(&found)).or_exit(Failure::Output)?;
            let opened: Vec<&AlertBody> = found
                .iter()
                .filter(|alert| alert.transition == TransitionKind::Opened)
                .collect();
            writeln!(
                out,
                "{} alerts opened, {} of them outside of the stories; {} transitions in all, from {} \
                 records in {:.1} s.",
                opened.len(),
                opened.iter().filter(|alert| !is_told(alert)).count(),
                found.len(),
                summary.records,
                began.elapsed().as_secs_f64(),
            )
            .or_exit(Failure::Output)?;
            writeln!(
                out,
                "The full records, each with its evidence and playbook: {}\nThe events: {}",
                alerts.display(),
                events.display(),
            )
            .or_exit(Failure::Output)
        }
        Format::Json => {
            let mut out = io::stdout().lock();
            serde_json::to_writer_pretty(&mut out, &found).or_exit(Failure::Output)?;
            writeln!(out).or_exit(Failure::Output)
        }
        Format::Ndjson => {
            let mut file = File::open(&alerts).or_exit(Failure::Internal)?;
            io::copy(&mut file, &mut io::stdout().lock()).or_exit(Failure::Output)?;
            Ok(())
        }
    }
}

/// Whether an alert is one that a story brings with it.
fn is_told(alert: &AlertBody) -> bool {
    STORIES.iter().any(|story| {
        let signal = alert.signal.as_str();
        alert.account_id == story.account
            && (signal == story.signal || story.also.contains(&signal))
    })
}

/// The told stories, and whether the detector heard each.
fn stories_told(found: &[AlertBody]) -> String {
    let mut table = table(&["account", "what was told", "what came of it"]);
    for story in STORIES {
        let first = found.iter().find(|alert| {
            alert.account_id == story.account && alert.signal.as_str() == story.signal
        });
        let heard = first.map_or_else(
            || "no alert".to_owned(),
            |alert| {
                let day = alert.updated_at.0.utc_day();
                format!("{} {} on {day}", story.signal, alert.severity.as_str())
            },
        );
        let as_told = first.is_none() == (story.ending == Ending::NoAlert);
        let verdict = if as_told { "as told" } else { "NOT as told" };
        table.add_row(vec![
            story.account.to_owned(),
            story.what_happens.to_owned(),
            format!("{heard}: {verdict}"),
        ]);
    }
    table.to_string()
}

fn write_events(fleet: &Fleet, dir: &Path, path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("{}", dir.display()))?;
    let file = File::create(path).with_context(|| format!("{}", path.display()))?;
    let mut out = BufWriter::with_capacity(1 << 18, file);
    fleet.write_ndjson(&mut out)?;
    Ok(out.flush()?)
}

/// Writes the fleet's events to the log, no faster than `rate` a second.
fn produce(config: &Config, rate: u64) -> Result<(), Exit> {
    let reporting = Reporting {
        metrics: std::sync::Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"))),
        health: Health::new(),
    };
    let mut producer = EventProducer::new(&config.kafka, &reporting).or_exit(Failure::Config)?;
    let fleet = Fleet::generate(demo::SEED);
    let began = Instant::now();
    for (sent, record) in (0_u64..).zip(fleet.records()) {
        producer
            .send(&record.key, record.json.as_bytes())
            .or_exit(Failure::Unavailable)?;
        if rate > 0 && sent % 100 == 99 {
            let due = Duration::from_secs_f64(sent as f64 / rate as f64);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
    }
    let sent = producer
        .flush(Duration::from_secs(60))
        .or_exit(Failure::Unavailable)?;
    eprintln!(
        "{sent} events written to {} in {:.1} s",
        config.kafka.topics.events(),
        began.elapsed().as_secs_f64()
    );
    Ok(())
}
