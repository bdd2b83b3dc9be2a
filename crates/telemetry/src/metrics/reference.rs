//! The reference page of all metrics, generated from the catalogue.

use std::fmt::Write;

use super::declaration::{LabelValues, MetricInfo};
use super::{Kind, catalogue};

const HEADER: &str = "\
# Metrics

Generated from the declarations in `crates/telemetry/src/metrics.rs`; do not edit.

Scraped from `/metrics`. All times are in seconds and all sizes in bytes. No metric carries an
account id. Events, alerts and rejects are counted when their batch is committed: a batch that is
aborted and read again is counted once. Series of a partition end when it is given away.

| metric | kind | unit | labels | meaning |
|---|---|---|---|---|
";

/// The text of `docs/metrics.md`: a table of all metrics, the values of their labels, and the
/// buckets of the histograms. The same catalogue always gives the same bytes.
pub fn reference_markdown() -> String {
    let mut page = String::from(HEADER);
    for metric in catalogue() {
        push(&mut page, &row(metric));
    }

    push(
        &mut page,
        "\n## Labels\n\n| metric | label | values |\n|---|---|---|\n",
    );
    for metric in catalogue() {
        for label in metric.labels {
            let values = match label.values {
                LabelValues::Fixed(values) => quoted(values.iter().copied()),
                LabelValues::Bounded(bound) => bound.to_owned(),
            };
            push(
                &mut page,
                &format!("| `{}` | `{}` | {values} |\n", metric.name, label.name),
            );
        }
    }

    push(
        &mut page,
        "\n## Buckets\n\n| histogram | unit | upper bounds |\n|---|---|---|\n",
    );
    for metric in catalogue()
        .iter()
        .filter(|metric| metric.kind == Kind::Histogram)
    {
        let bounds: Vec<String> = metric.buckets.iter().map(f64::to_string).collect();
        push(
            &mut page,
            &format!(
                "| `{}` | {} | {} |\n",
                metric.name,
                metric.unit,
                bounds.join(", ")
            ),
        );
    }
    page
}

fn row(metric: &MetricInfo) -> String {
    let labels = quoted(metric.labels.iter().map(|label| label.name));
    let MetricInfo {
        name,
        kind,
        unit,
        help,
        ..
    } = metric;
    format!("| `{name}` | {kind} | {unit} | {labels} | {help} |\n")
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn push(page: &mut String, text: &str) {
    page.write_str(text).expect("a string can always grow");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_row_with_kind_unit_labels_and_meaning() {
        let page = reference_markdown();
        for row in [
            "| `churnwatch_events_total` | counter | events | `source`, `kind` | Events applied to their account, late ones included. |",
            "| `churnwatch_duplicates_total` | counter | events |  | Events dropped because their id was seen within the dedupe horizon. |",
            "| `churnwatch_restore_progress_ratio` | gauge | ratio 0..1 | `partition` | How much of the partition's restore is done, from 0 to 1. |",
        ] {
            assert!(
                page.lines().any(|line| line == row),
                "missing {row}\n{page}"
            );
        }
        for metric in catalogue() {
            assert!(page.contains(&format!("| `{}` | {} |", metric.name, metric.kind)));
        }
    }

    #[test]
    fn label_values_and_buckets_are_listed() {
        let page = reference_markdown();
        for row in [
            "| `churnwatch_commits_total` | `result` | `committed`, `aborted`, `in_doubt` |",
            "| `churnwatch_events_total` | `kind` | the kinds of canonical events |",
            "| `churnwatch_batch_events` | events | 1, 10, 100, 1000, 5000, 10000, 50000, 100000, 500000 |",
        ] {
            assert!(
                page.lines().any(|line| line == row),
                "missing {row}\n{page}"
            );
        }
    }

    #[test]
    fn no_cell_breaks_the_table() {
        for line in reference_markdown()
            .lines()
            .filter(|line| line.starts_with("| `churnwatch_"))
        {
            let columns = line.matches('|').count() - 1;
            assert!(matches!(columns, 3 | 5), "{columns} columns: {line}");
        }
    }
}
