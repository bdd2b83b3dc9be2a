//! The bundled data set: a fleet of 240 invented accounts over half a year,
//! told so that each signal has its stories and most accounts are healthy.
//!
//! The nouns, in the order they are made:
//!
//! * a [`story`] names one account, what befalls it and what should come of it;
//! * a `plan` is how one account lives: profile, team, volume, tickets,
//!   contact. It is drawn at random and then bent by the account's story;
//! * `activity`, `support` and `relations` act a plan out as events;
//! * the [`Fleet`] holds all events in order of time and writes them as
//!   canonical records of `churn.events.v1`, one JSON object a line.
//!
//! ```text
//! seed ─> Plan::draw ─> story bends it ─> activity + support + relations ─> Fleet (sorted)
//! ```
//!
//! The bytes depend on the seed alone: every account has its own stream of
//! random numbers, all arithmetic is in integers, and nothing reads a clock.
//! So a change to one story leaves every other account as it was.

mod activity;
pub(crate) mod calendar;
mod event;
pub(crate) mod fleet;
mod names;
mod plan;
mod relations;
mod rng;
pub(crate) mod story;
mod support;

#[cfg(test)]
mod told;

pub(crate) use fleet::{Fleet, SEED};
pub(crate) use story::STORIES;
