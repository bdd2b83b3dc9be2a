//! Fuzzes what `properties/event.rs` says.
#![no_main]

#[path = "../properties/event.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::holds(bytes));
