//! How much happened.

use std::fmt;
use std::ops::AddAssign;

/// How much happened in a schedule, or in many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Schedules.
    pub schedules: u64,
    /// Rounds of the loop.
    pub steps: u64,
    /// Processes that died in the middle of a round, or were killed between two.
    pub crashes: u64,
    /// Processes that ended with an error.
    pub errors: u64,
    /// Processes that slept in the middle of a round.
    pub sleeps: u64,
    /// Members that the group threw out.
    pub thrown_out: u64,
    /// Generations of the group.
    pub rebalances: u64,
    /// Partitions that were restored and went on.
    pub restores: u64,
    /// Transactions that committed.
    pub committed: u64,
    /// Transactions that were aborted, those that timed out among them.
    pub aborted: u64,
    /// Transactions that timed out.
    pub timed_out: u64,
    /// Commits without an answer.
    pub in_doubt: u64,
    /// Transactions that a late request ended.
    pub late: u64,
    /// Disks that were lost, damaged, or replaced by an old copy.
    pub disks: u64,
    /// Rows that compaction took.
    pub compacted: u64,
    /// Misfortunes that a person had to put right.
    pub misfortunes: u64,
    /// Alerts that were compared.
    pub alerts: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.steps += other.steps;
        self.crashes += other.crashes;
        self.errors += other.errors;
        self.sleeps += other.sleeps;
        self.thrown_out += other.thrown_out;
        self.rebalances += other.rebalances;
        self.restores += other.restores;
        self.committed += other.committed;
        self.aborted += other.aborted;
        self.timed_out += other.timed_out;
        self.in_doubt += other.in_doubt;
        self.late += other.late;
        self.disks += other.disks;
        self.compacted += other.compacted;
        self.misfortunes += other.misfortunes;
        self.alerts += other.alerts;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} schedules, {} steps: {} crashes, {} ended by an error, {} sleeps, {} thrown out, \
             {} rebalances, {} restores, {} disks lost, old or damaged, {} rows compacted, {} misfortunes; \
             transactions: {} committed, {} aborted ({} timed out), {} in doubt, {} ended late; \
             {} alerts compared",
            self.schedules,
            self.steps,
            self.crashes,
            self.errors,
            self.sleeps,
            self.thrown_out,
            self.rebalances,
            self.restores,
            self.disks,
            self.compacted,
            self.misfortunes,
            self.committed,
            self.aborted,
            self.timed_out,
            self.in_doubt,
            self.late,
            self.alerts,
        )
    }
}
