//! A broker that dies, sleeps or does not answer, and a network in front of it
//! that loses what it carries: nothing is lost, nothing is there twice, and the
//! detector goes on by itself.
//!
//! The detector reaches its broker through a proxy that can drop and hold back
//! single requests and replies; the tests themselves reach it directly. After
//! each fault everything that was left behind is compared with an undisturbed
//! run on the same log.

#[path = "broker_faults/broker_away.rs"]
mod broker_away;
#[path = "broker_faults/commit_in_doubt.rs"]
mod commit_in_doubt;
#[path = "broker_faults/line.rs"]
mod line;
#[path = "broker_faults/scene.rs"]
mod scene;
#[path = "broker_faults/teeth.rs"]
mod teeth;
