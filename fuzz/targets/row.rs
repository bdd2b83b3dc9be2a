//! Fuzzes what `properties/row.rs` says.
#![no_main]

#[path = "../properties/row.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::holds(bytes));
