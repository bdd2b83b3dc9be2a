//! What may go wrong in a schedule.

use super::random::Random;

/// How often each thing goes wrong, in thousandths of the occasions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// A process dies, at a moment of the loop or between two requests.
    pub crash: usize,
    /// A process sleeps between two requests, while others go on.
    pub sleep: usize,
    /// What sleeps is thrown out of the group meanwhile.
    pub expire: usize,
    /// A member that was thrown out does not hear of it.
    pub untold: usize,
    /// A rebalance is noticed later.
    pub slow_rebalance: usize,
    /// The broker does not answer a question.
    pub silence: usize,
    /// A record of a transaction is not delivered.
    pub cut: usize,
    /// A commit is not answered: not done, done, or done later.
    pub doubt: usize,
    /// The changelog is trimmed while it is read.
    pub trimmed: usize,
    /// A record is handed over again.
    pub repeat: usize,
    /// An open transaction times out.
    pub time_out: usize,
    /// The partitions are divided anew.
    pub rebalance: usize,
    /// A process ends in good order.
    pub stop: usize,
    /// A disk is lost while its process is down, or an old copy put back.
    pub disk: usize,
    /// A row on a disk is lost or an older one, while its process is down.
    pub damage: usize,
    /// The changelog is compacted.
    pub compact: usize,
}

impl Faults {
    /// Some kinds of fault, each rare or frequent: a schedule that has all of
    /// them never comes far.
    pub(super) fn draw(random: &mut Random) -> Self {
        let mut some = |rates: &[usize]| {
            let rate = random.one_of(rates).unwrap_or_default();
            if random.chance(550) { rate } else { 0 }
        };
        Self {
            crash: some(&[2, 6, 15]),
            sleep: some(&[5, 15, 40]),
            expire: some(&[300, 700]),
            untold: some(&[300, 800]),
            slow_rebalance: some(&[200, 600]),
            silence: some(&[10, 60]),
            cut: some(&[30, 150]),
            doubt: some(&[60, 250]),
            trimmed: some(&[20, 100]),
            repeat: some(&[3]),
            time_out: some(&[5, 30]),
            rebalance: some(&[5, 30]),
            stop: some(&[5, 20]),
            disk: some(&[10, 40]),
            damage: some(&[10, 40]),
            compact: some(&[10, 50]),
        }
    }
}

/// Something that happens once in a schedule, if at all, and that a person has
/// to put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfortune {
    /// The group's offsets are forgotten while no process runs.
    OffsetsForgotten,
    /// Records that were not read are trimmed from the log; they come back from
    /// a backup.
    LogTrimmed,
    /// Somebody moves the group to another offset; the former one is put back.
    OffsetReset,
    /// The whole cluster goes back to an earlier state, as that of a mirror;
    /// the disks of the processes do not.
    ClusterRewound,
}

impl Misfortune {
    const ALL: [Self; 4] = [
        Self::OffsetsForgotten,
        Self::LogTrimmed,
        Self::OffsetReset,
        Self::ClusterRewound,
    ];

    /// One of all, if any; or one of `only`, if there are any.
    pub(super) fn draw(random: &mut Random, only: Option<&[Self]>) -> Option<Self> {
        match only {
            Some(only) => random.one_of(only),
            None => random.one_of(&Self::ALL).filter(|_| random.chance(400)),
        }
    }
}
