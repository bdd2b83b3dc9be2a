//! How results are shown: tables for people on a terminal, JSON for programs.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::Path,
};

use churnwatch_wire::AlertBody;
use clap::ValueEnum;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};

/// In which form a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Ndjson,
}

impl Format {
    /// What was asked for, else a table on a terminal and lines elsewhere.
    pub(crate) fn or_by_terminal(asked: Option<Self>) -> Self {
        asked.unwrap_or_else(|| {
            if io::stdout().is_terminal() {
                Self::Table
            } else {
                Self::Ndjson
            }
        })
    }
}

/// An empty table that fits its terminal.
pub(crate) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if !io::stdout().is_terminal() {
        table.set_width(140);
    }
    let bold = |heading: &&str| Cell::new(heading).add_attribute(Attribute::Bold);
    table.set_header(headings.iter().map(bold).collect::<Vec<_>>());
    table
}

/// Writes a text to the standard output, where `print!` would panic when
/// nobody reads on.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes rows in a form: a table of `cells`, or the values themselves.
pub(crate) fn show<T: serde::Serialize>(
    format: Format,
    rows: &[T],
    headings: &[&str],
    cells: impl Fn(&T) -> Vec<String>,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Table => {
            let mut table = table(headings);
            for row in rows {
                table.add_row(cells(row));
            }
            writeln!(out, "{table}")
        }
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, rows)?;
            writeln!(out)
        }
        Format::Ndjson => {
            for row in rows {
                serde_json::to_writer(&mut out, row)?;
                writeln!(out)?;
            }
            Ok(())
        }
    }
}

/// Reads alert bodies back from a file.
pub(crate) fn read_alerts(path: &Path) -> anyhow::Result<Vec<AlertBody>> {
    let file = io::BufReader::new(std::fs::File::open(path)?);
    file.lines()
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect()
}

/// Alerts as a table, in the order given.
pub(crate) fn alerts_table<'a>(alerts: impl IntoIterator<Item = &'a AlertBody>) -> Table {
    use churnwatch_core::alert::Severity;
    let mut table = table(&["day", "account", "signal", "severity", "what moved", "why"]);
    for alert in alerts {
        let color = match alert.severity {
            Severity::Critical => Color::Red,
            Severity::Warning => Color::Yellow,
            Severity::Info => Color::Blue,
        };
        let name = alert.account.name.as_deref().unwrap_or_default();
        table.add_row(vec![
            Cell::new(alert.updated_at.0.to_string().get(..10).unwrap_or_default()),
            Cell::new(format!("{name}\n{}", alert.account_id).trim()),
            Cell::new(alert.signal.as_str()),
            Cell::new(alert.severity.as_str()).fg(color),
            Cell::new(alert.transition.as_str()),
            Cell::new(&alert.reason),
        ]);
    }
    table
}
