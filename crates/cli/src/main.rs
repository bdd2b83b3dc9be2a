//! The `churnwatch` binary: configuration, wiring, commands.
//!
//! Data goes to the standard output, logs and progress to the standard error.
//! Async lives in `run` only, for the HTTP endpoints.

mod commands;
mod config;
mod demo;
mod exit;
mod memory;
mod output;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    commands::{Cli, Command},
    config::ConfigError,
    exit::{Exit, Failure},
};

/// RocksDB allocates through it as well: glibc's allocator doubles the memory
/// that stays resident.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The allocator's own settings, which it reads under this name before `main`:
/// a thread of its own gives freed pages back after a second, also those of
/// threads that have gone quiet, and few arenas, since each keeps some.
/// `MALLOC_CONF` in the environment overrides it.
#[expect(unsafe_code, reason = "the name is how jemalloc finds it")]
#[unsafe(export_name = "malloc_conf")]
pub static MALLOC_CONF: &[u8; 53] = b"background_thread:true,dirty_decay_ms:1000,narenas:4\0";

fn main() -> ExitCode {
    let cli = Cli::parse_or_exit();
    if let Err(error) = churnwatch_telemetry::logging::init(&cli.log_level(), cli.log_format) {
        eprintln!("error: {error}");
        return Failure::Usage.code();
    }
    let result = match cli.command {
        Command::Run(args) => commands::run::run(args),
        Command::Replay(args) => commands::replay::run(args),
        Command::Demo(args) => commands::demo::run(args),
        Command::Validate(args) => commands::validate::run(args),
        Command::Erase(args) => commands::erase::run(args),
        Command::Resume(args) => commands::resume::run(args),
        Command::Inspect(args) => commands::inspect::run(args),
        Command::Topics(args) => commands::topics::run(args),
        Command::Schema(args) => commands::schema::run(&args),
        Command::Config(args) => commands::config::run(args),
        Command::Completions(args) => commands::completions(&args),
        Command::Generate(args) => commands::generate::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => report(exit),
    }
}

/// Says what went wrong, with the offending line where it is in a file.
fn report(exit: Exit) -> ExitCode {
    let Exit { failure, error } = exit;
    // Whoever read our output has seen enough.
    if error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    }) {
        return ExitCode::SUCCESS;
    }
    match error.downcast::<ConfigError>() {
        Ok(config) => eprintln!("{:?}", miette::Report::new(config)),
        Err(error) => eprintln!("error: {}", in_one_line(&error)),
    }
    failure.code()
}

/// An error with its causes, from the outside in. Many of our errors quote
/// their cause already; nothing is said twice.
fn in_one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

impl From<Box<ConfigError>> for Exit {
    fn from(error: Box<ConfigError>) -> Self {
        Self {
            failure: Failure::Config,
            error: anyhow::Error::new(*error),
        }
    }
}

impl Cli {
    /// Parses the command line; what is wrong with it ends the program with
    /// the code of [`Failure::Usage`].
    fn parse_or_exit() -> Self {
        Self::try_parse().unwrap_or_else(|error| {
            // Printing to a closed pipe is nobody's business any more.
            error.print().unwrap_or_default();
            let code = if error.use_stderr() { 64 } else { 0 };
            std::process::exit(code)
        })
    }
}
