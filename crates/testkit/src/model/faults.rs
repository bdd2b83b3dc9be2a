//! What may go wrong in a schedule.

use super::random::Random;

/// How often each thing goes wrong, in thousandths of the occasions.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    /// A process dies, at a moment of the loop or between two requests.
    pub(super) crash: usize,
    /// A process sleeps between two requests, while others go on.
    pub(super) sleep: usize,
    /// What sleeps is thrown out of the group meanwhile.
    pub(super) expire: usize,
    /// A member that was thrown out does not hear of it.
    pub(super) untold: usize,
    /// A rebalance is noticed later.
    pub(super) slow_rebalance: usize,
    /// The broker does not answer a question.
    pub(super) silence: usize,
    /// A record of a transaction is not delivered.
    pub(super) cut: usize,
    /// A commit is not answered: not done, done, or done later.
    pub(super) doubt: usize,
    /// The changelog is trimmed while it is read.
    pub(super) trimmed: usize,
    /// A record is handed over again.
    pub(super) repeat: usize,
    /// An open transaction times out.
    pub(super) time_out: usize,
    /// The partitions are divided anew.
    pub(super) rebalance: usize,
    /// A process ends in good order.
    pub(super) stop: usize,
    /// A disk is lost while its process is down, or an old copy put back.
    pub(super) disk: usize,
    /// The changelog is compacted.
    pub(super) compact: usize,
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

    pub(super) fn draw(random: &mut Random) -> Option<Self> {
        let one = random.one_of(&Self::ALL);
        one.filter(|_| random.chance(400))
    }
}
