//! `churnwatch generate`: writes every document that is made from the code,
//! below a directory, at its path in the repository.

use std::path::{Path, PathBuf};

use anyhow::Context;
use churnwatch_core::SignalId;
use clap::{Args, CommandFactory};

use super::Cli;
use crate::{
    config,
    exit::{CODES, Exit, Failure, OrExit},
};

/// Arguments of `generate`.
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Directory to write to.
    #[arg(long)]
    dir: PathBuf,
}

pub(crate) fn run(args: &GenerateArgs) -> Result<(), Exit> {
    for (path, text) in documents() {
        write(&args.dir.join(path), &text).or_exit(Failure::Output)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("{}", parent.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("{}", path.display()))
}

/// Every generated document: path and text.
fn documents() -> Vec<(PathBuf, String)> {
    let mut documents: Vec<(PathBuf, String)> = churnwatch_wire::schemas()
        .into_iter()
        .map(|(file, schema)| (Path::new("docs/schemas").join(file), format!("{schema:#}\n")))
        .collect();
    let mut add = |path: &str, text: String| documents.push((PathBuf::from(path), text));
    add("docs/schemas/asyncapi.json", format!("{:#}\n", churnwatch_wire::asyncapi()));
    add("docs/configuration.md", config::reference_markdown());
    add("docs/metrics.md", churnwatch_telemetry::reference_markdown());
    add("docs/cli.md", commands_markdown());
    add("docs/signals/README.md", signals_index());
    for &signal in SignalId::ALL {
        add(&format!("docs/signals/{}.md", signal.as_str()), signal_page(signal));
    }
    documents
}

fn commands_markdown() -> String {
    let mut out = String::from(
        "# Commands\n\nMade from the program's own help. Data goes to the standard output, logs and \
         progress to the standard error.\n",
    );
    let mut root = Cli::command();
    root.build();
    describe(&mut out, &mut root);
    out.push_str("\n## Exit codes\n\n| code | when |\n|---|---|\n| 0 | done |\n");
    for (_, code, when) in CODES {
        out.push_str(&format!("| {code} | {when} |\n"));
    }
    out
}

fn describe(out: &mut String, command: &mut clap::Command) {
    for sub in command.get_subcommands_mut() {
        if sub.is_hide_set() || sub.get_name() == "help" {
            continue;
        }
        let name = sub.get_bin_name().unwrap_or(sub.get_name()).to_owned();
        let help = sub.clone().term_width(90).render_long_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        out.push_str(&format!("\n## `{name}`\n\n```text\n{}\n```\n", help.join("\n").trim()));
        describe(out, sub);
    }
}

fn signals_index() -> String {
    let mut out = String::from(
        "# Signals\n\nEach signal alerts on its own: one weak sign is enough. Thresholds are \
         [configuration](../configuration.md), with these defaults.\n\n\
         | signal | what it means | playbook |\n|---|---|---|\n",
    );
    for &signal in SignalId::ALL {
        let (name, about) = (signal.as_str(), signal.about());
        out.push_str(&format!("| [`{name}`]({name}.md) | {} | {} |\n", about.title, about.playbook.title));
    }
    out
}

/// A signal's manual page: its module documentation, and what its alerts say.
fn signal_page(signal: SignalId) -> String {
    let about = signal.about();
    let manual: Vec<&str> = signal
        .source()
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .map(|line| line.trim_start_matches("//!").trim_start_matches(' '))
        .collect();
    let mut out = format!("# {}: `{}`\n\n", about.title, signal.as_str());
    // Links between modules lead nowhere outside of the code's documentation.
    out.push_str(&manual.join("\n").replace("[`crate::account::rhythm`]", "`account::rhythm`"));
    out.push_str(&format!("\n\n## In its alerts\n\n- `score`: {}\n- `observed`, `expected`, `threshold`: {}\n", about.score, about.unit));
    out.push_str("\nLikely causes:\n\n");
    for cause in about.likely_causes {
        out.push_str(&format!("- {cause}\n"));
    }
    out.push_str(&format!("\nPlaybook `{}`, {}:\n\n", about.playbook.id, about.playbook.title));
    for (number, step) in (1..).zip(about.playbook.steps) {
        out.push_str(&format!("{number}. {step}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_has_a_page_and_stands_in_every_reference() {
        let documents = documents();
        let text = |path: &str| {
            documents.iter().find(|(known, _)| known == Path::new(path)).map(|(_, text)| text)
        };
        for &signal in SignalId::ALL {
            let name = signal.as_str();
            assert!(text(&format!("docs/signals/{name}.md")).is_some(), "{name} has no page");
            let manual = text("docs/configuration.md").expect("the configuration's manual");
            assert!(manual.contains(&format!("`rules.signals.{name}`")), "{name} has no key");
            let schema = text("docs/schemas/alert.v1.schema.json").expect("the alert's schema");
            assert!(schema.contains(name), "{name} is not in the alert's schema");
        }
    }
}
