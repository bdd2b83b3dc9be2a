//! How fast one thread reads canonical records.
//!
//! The records are those that production is full of: a short usage event, and
//! the full samples of a usage, a ticket and an account record.

use churnwatch_wire::{Record, Rejection, decode, parse_time};
use divan::{
    Bencher, black_box,
    counter::{BytesCount, ItemsCount},
};

const SAMPLES: &str = include_str!("../samples/events.v1.ndjson");
const SHORT_USAGE: &str = r#"{"kind":"usage","account_id":"co_79949fafa4","time":"2012-01-01T06:20:28Z","feature":"horizon","user_id":"u_f1cbfff44d"}"#;

fn main() {
    divan::main();
}

fn read(bencher: Bencher<'_, '_>, value: &str) {
    bencher
        .counter(ItemsCount::new(1_usize))
        .counter(BytesCount::new(value.len()))
        .bench(|| -> Result<Record, Rejection> { decode(black_box(value.as_bytes())) });
}

/// The sample of a kind.
fn sample(kind: &str) -> &'static str {
    let start = format!(r#"{{"kind":"{kind}""#);
    SAMPLES
        .lines()
        .find(|line| line.starts_with(&start))
        .expect("every kind has a sample")
}

#[divan::bench]
fn short_usage(bencher: Bencher<'_, '_>) {
    read(bencher, SHORT_USAGE);
}

#[divan::bench]
fn usage(bencher: Bencher<'_, '_>) {
    read(bencher, sample("usage"));
}

#[divan::bench]
fn ticket(bencher: Bencher<'_, '_>) {
    read(bencher, sample("ticket"));
}

#[divan::bench]
fn account(bencher: Bencher<'_, '_>) {
    read(bencher, sample("account"));
}

#[divan::bench]
fn kind_at_the_end(bencher: Bencher<'_, '_>) {
    read(
        bencher,
        r#"{"account_id":"co_79949fafa4","time":"2012-01-01T06:20:28Z","feature":"horizon","user_id":"u_f1cbfff44d","kind":"usage"}"#,
    );
}

#[divan::bench]
fn rejected(bencher: Bencher<'_, '_>) {
    read(
        bencher,
        r#"{"kind":"usage","account_id":"co_79949fafa4","time":"2012-01-01T06:20:28Z","feature":5}"#,
    );
}

#[divan::bench]
fn time(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench(|| parse_time(black_box("2026-03-01T09:30:00.250+01:00")));
}
