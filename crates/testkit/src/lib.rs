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
//! - [`mod@reference`] is the world as it has to be: the same log through the
//!   same detector, in memory and undisturbed.

pub mod access;
pub mod broker;
pub mod certificates;
pub mod cli;
pub mod hostile;
pub mod private_broker;
pub mod proxy;
pub mod reference;
pub mod timeline;
pub mod world;
