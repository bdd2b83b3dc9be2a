//! Interruptions of every kind, on a real broker: afterwards nothing is lost,
//! nothing is there twice and nothing differs from a replay of the same events.
//!
//! Tests feed the log in pieces or at a steady pace and interrupt while it is
//! being read, at a moment that is named, or drawn from a seed that is printed.
//! Commits are made after few records, so that there are many moments between
//! any two of their steps.

#[path = "crash/feed.rs"]
mod feed;
#[path = "crash/kill.rs"]
mod kill;
#[path = "crash/members.rs"]
mod members;
#[path = "crash/orphans.rs"]
mod orphans;
#[path = "crash/shutdown.rs"]
mod shutdown;
#[path = "crash/teeth.rs"]
mod teeth;
#[path = "crash/zombies.rs"]
mod zombies;
