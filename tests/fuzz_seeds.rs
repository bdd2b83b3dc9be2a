//! What the fuzz targets ask, asked of their committed seeds, of the seeds cut
//! short, and of what fuzzing has found: the targets themselves are built by
//! another compiler, and rarely.

use std::fs;

use churnwatch_testkit::cli::repository;

#[path = "../fuzz/properties/configuration.rs"]
mod configuration;
#[path = "../fuzz/properties/event.rs"]
mod event;
#[path = "../fuzz/properties/row.rs"]
mod row;

/// Asks of each seed of a target, and of its beginnings.
fn ask(target: &str, property: fn(&[u8])) {
    let seeds = repository().join("fuzz/seeds").join(target);
    let mut asked = 0;
    for seed in fs::read_dir(&seeds).expect("a folder of seeds") {
        let path = seed.expect("a seed").path();
        let bytes = fs::read(&path).expect("a file can be read");
        println!("{}", path.display());
        property(&bytes);
        let step = bytes.len().div_ceil(64).max(1);
        for end in (0..bytes.len()).step_by(step) {
            property(&bytes[..end]);
        }
        asked += 1;
    }
    assert!(asked >= 5, "{asked} seeds in {}", seeds.display());
}

#[test]
fn every_seed_of_the_log_is_an_event_a_clock_or_a_dead_letter() {
    ask("event", event::holds);
}

#[test]
fn every_seed_of_a_configuration_says_what_it_says_or_is_refused() {
    ask("configuration", configuration::holds);
}

#[test]
fn every_seed_of_a_row_is_written_as_it_was_read_or_is_known_to_be_damaged() {
    ask("row", row::holds);
}
