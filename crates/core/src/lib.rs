//! What an account is, how windows roll, when a signal fires, how an alert
//! lives. Pure: no clock, disk, network, log, metric or random number; time
//! comes in as an argument, and everything that happens goes out as a value.
//!
//! - [`Event`] and [`FleetDay`] come in, through [`apply`];
//! - [`account::AccountState`] is what an account is judged by;
//! - [`signal`] holds the rules, one a file;
//! - [`life`] turns their readings into the lives of alerts;
//! - [`alert::Transition`] goes out;
//! - [`watermark::TaskTime`] says how far time has come;
//! - [`breaker::Breaker`] says when too many records were of no use.

pub mod account;
pub mod alert;
mod apply;
pub mod breaker;
pub mod event;
pub mod fleet;
pub mod ids;
pub mod life;
pub mod rules;
pub mod signal;
pub mod time;
pub mod watermark;

pub use self::{
    account::AccountState,
    apply::{Input, Outcome, Score, apply},
    event::{Clock, Event, EventId, Fact},
    fleet::FleetDay,
    ids::{AccountId, ContactId, Feature, SourceName, TicketId, UserId},
    rules::Rules,
    signal::SignalId,
    time::{Day, EventTime},
};
