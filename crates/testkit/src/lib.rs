//! What the suites in `tests/` share, and what proves the promises: nothing of
//! it is part of the program.
//!
//! - [`cli`] runs the binary, as users do;
//! - [`timeline`] tells what an account does, in words;
//! - [`broker`] has a real broker, and the detector as processes on it;
//! - [`hostile`] makes a log that means harm;
//! - [`access`] and [`certificates`] are what a broker asks of strangers;
//! - [`private_broker`] starts one more, for a test that does it harm;
//! - [`proxy`] is a bad network in front of it;
//! - [`world`] is everything a run has left behind, and compares two of them;
//! - [`model`] plays the commit protocol on a broker in memory, by random
//!   schedules;
//! - [`mod@reference`] is the world as it has to be: the same log through the
//!   same detector, in memory and undisturbed;
//! - [`crash`] interrupts a run in every way that a seed draws, and looks at
//!   what is left.

pub mod access;
pub mod broker;
pub mod certificates;
pub mod cli;
pub mod crash;
pub mod hostile;
pub mod model;
pub mod private_broker;
pub mod proxy;
pub mod random;
pub mod reference;
pub mod timeline;
pub mod world;
