//! Damage to what a process rests on, against a real broker: its files, its
//! disk, its changelog, its position. Whatever is damaged is found and healed
//! from what is whole, or its partition stops and says why; nothing wrong is
//! ever served, and nothing is silently empty.
//!
//! Each test feeds a log in pieces, damages something between two of them, and
//! at the end compares everything that was left behind with what the log alone
//! gives.

#[path = "damage/disk_full.rs"]
mod disk_full;
#[path = "damage/files.rs"]
mod files;
#[path = "damage/inspect.rs"]
mod inspect;
#[path = "damage/positions.rs"]
mod positions;
#[path = "damage/proof.rs"]
mod proof;
#[path = "damage/support.rs"]
mod support;
