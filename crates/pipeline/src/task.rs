//! A task: one partition of the log and its state.

use churnwatch_core::{
    AccountId, AccountState, Event, EventTime, Fact, FleetDay, Input, Outcome, Rules,
    breaker::Bound,
    time::DAY_MS,
    watermark::{TaskTime, Timeliness},
};
use churnwatch_store::{
    Accounts, CacheBounds, PartitionStore, RowChange, StoreError, TaskRow, key,
};

use crate::{
    breaker::Guard,
    dues::Dues,
    sink::PartitionEpoch,
    source::{PartitionId, TopicIds},
};

/// One partition: what is stored, what is decoded, and what is not yet
/// committed.
pub struct Task {
    pub(crate) partition: PartitionId,
    pub(crate) store: PartitionStore,
    accounts: Accounts,
    dues: Dues,
    time: TaskTime,
    pub(crate) breaker: Guard,
    partitions: u32,
    epoch: u64,
    pub(crate) next_offset: i64,
    /// Whether anything moved since the last commit.
    moved: bool,
    /// What the commit under way will write.
    prepared: Option<TaskRow>,
    /// The topics in which its position counts.
    topics: TopicIds,
    /// Whether the changelog lacks rows that the store has.
    owes_rows: bool,
}

impl Task {
    /// A task at `next_offset`, which is the position of its store unless that
    /// is empty. `dues` come from the pass that verified the store.
    pub(crate) fn new(
        partition: PartitionId,
        store: PartitionStore,
        dues: Dues,
        partitions: u32,
        next_offset: i64,
        cached_accounts: usize,
        breaker: Option<Bound>,
    ) -> Self {
        let breaker = Guard::new(breaker, store.task().map(|row| &row.breaker));
        let (time, epoch) = match store.task() {
            Some(row) => (row.time.clone(), row.epoch),
            None => (TaskTime::default(), 0),
        };
        Self {
            partition,
            store,
            accounts: Accounts::new(cached_accounts),
            dues,
            time,
            breaker,
            partitions,
            epoch,
            next_offset,
            moved: false,
            prepared: None,
            topics: TopicIds::default(),
            owes_rows: false,
        }
    }

    /// Names the topics in which its position counts. Where the changelog
    /// `lacks_rows`, the next commit carries every row, so that the state can be
    /// read back again.
    pub(crate) fn in_topics(mut self, topics: TopicIds, lacks_rows: bool) -> Self {
        self.topics = topics;
        self.owes_rows = lacks_rows;
        self.moved = lacks_rows;
        self
    }

    /// Whether the next commit carries every row.
    pub(crate) fn owes_rows(&self) -> bool {
        self.owes_rows
    }

    /// How far its event time has come.
    pub fn time(&self) -> &TaskTime {
        &self.time
    }

    pub(crate) fn time_mut(&mut self) -> &mut TaskTime {
        &mut self.time
    }

    /// Takes note that a record was read.
    pub(crate) fn advance_to(&mut self, offset: i64) {
        self.next_offset = offset + 1;
        self.moved = true;
    }

    /// Lets a partition that stood still go on where it stands; what it read
    /// ahead was for nothing else.
    pub(crate) fn goes_on(&mut self) {
        self.breaker.goes_on();
        self.moved = true;
    }

    /// Notes an event's time; see [`TaskTime::observe`]. An erasure is a wish
    /// and nothing that happened: it moves no time and never comes too late.
    pub(crate) fn observe(&mut self, event: &Event, rules: &Rules) -> Timeliness {
        if event.fact == Fact::Erase {
            return Timeliness::OnTime;
        }
        let usage = matches!(event.fact, Fact::Usage(_));
        self.time
            .observe(&event.source, event.time, usage, rules.time.tolerance())
    }

    /// Applies an event to its account, after the account's own looks that are
    /// due before it.
    pub(crate) fn apply(
        &mut self,
        event: &Event,
        rules: &Rules,
        mut took: impl FnMut(Outcome),
    ) -> Result<(), StoreError> {
        let until = if event.fact == Fact::Erase {
            // Nobody is judged on the occasion of being forgotten.
            None
        } else {
            let tolerance = rules.time.tolerance();
            self.time
                .look_time_before(&event.source, event.time, tolerance)
        };
        let account = self.accounts.load_for_change(&self.store, &event.account)?;
        let due_before = account.next_due();
        if let Some(until) = until {
            close_days(account, rules, until, &mut took);
        }
        took(churnwatch_core::apply(account, rules, Input::Event(event)));
        if let Some(due) = account.next_due().filter(|&due| Some(due) != due_before) {
            self.dues.push(due, &event.account);
        }
        Ok(())
    }

    /// Looks at accounts whose time has come, up to `most` of them, in the
    /// order of time and id. Gives whether more are waiting.
    pub(crate) fn fire_dues(
        &mut self,
        rules: &Rules,
        mut most: usize,
        mut took: impl FnMut(&AccountId, Outcome),
    ) -> Result<bool, StoreError> {
        let Some(first) = self.dues.first() else {
            return Ok(false);
        };
        let Some(watermark) = self.time.look_watermark(rules.time.tolerance()) else {
            return Ok(false);
        };
        if watermark < first {
            return Ok(false);
        }
        while most > 0 {
            let Some((due, ids)) = self.dues.take(watermark, most) else {
                return Ok(false);
            };
            most -= ids.len().min(most);
            for id in ids {
                // Its own events may have moved it on. What is merely looked up must not count
                // as changed: nothing would be committed that makes room for it.
                if self.accounts.load(&self.store, &id)?.next_due() != Some(due) {
                    continue;
                }
                let account = self.accounts.load_for_change(&self.store, &id)?;
                self.moved = true;
                close_days(account, rules, due, |outcome| took(&id, outcome));
                if let Some(next) = account.next_due() {
                    self.dues.push(next, &id);
                }
            }
        }
        Ok(self.dues.first().is_some_and(|first| first <= watermark))
    }

    /// Whether a look is due at `time` at the latest.
    pub(crate) fn is_due_by(&self, time: EventTime) -> bool {
        self.dues.first().is_some_and(|first| first <= time)
    }

    /// Accounts changed since the last commit.
    pub(crate) fn dirty_accounts(&self) -> usize {
        self.accounts.dirty_len()
    }

    /// Memory of the accounts changed since the last commit, in bytes, roughly.
    pub(crate) fn dirty_bytes(&self) -> usize {
        self.accounts.dirty_bytes()
    }

    /// Accounts held decoded.
    pub(crate) fn cached_accounts(&self) -> usize {
        self.accounts.len()
    }

    /// Memory of the accounts held decoded, in bytes, roughly.
    pub(crate) fn cached_bytes(&self) -> usize {
        self.accounts.bytes()
    }

    /// Memory of the due times, in bytes.
    pub(crate) fn due_bytes(&self) -> usize {
        self.dues.bytes()
    }

    /// Keeps so many accounts decoded from now on.
    pub(crate) fn set_cache(&mut self, bounds: CacheBounds) {
        self.accounts.set_bounds(bounds);
    }

    /// Its part of the epoch about to be committed; `None` when nothing moved.
    pub(crate) fn prepare(&mut self) -> Result<Option<PartitionEpoch>, StoreError> {
        if !self.moved {
            return Ok(None);
        }
        let mut changes = self.accounts.changes(self.store.state_version())?;
        if self.owes_rows {
            let mut all = self.store.rows_but(&changes)?;
            all.append(&mut changes);
            changes = all;
        }
        let digest = self.store.digest_after(&changes)?;
        let row = TaskRow {
            partitions: self.partitions,
            epoch: self.epoch + 1,
            next_offset: self.next_offset,
            changelog_offset: -1,
            digest,
            time: self.time.clone(),
            breaker: self.breaker.state().clone(),
        };
        let epoch = PartitionEpoch {
            partition: self.partition,
            epoch: row.epoch,
            next_offset: row.next_offset,
            digest,
            rows: changes
                .into_iter()
                .map(|row| (row.key, row.value))
                .collect(),
            epoch_record: (
                key::task().to_vec(),
                row.encode(self.store.state_version())?,
            ),
            // Members of an older release could not read a position that names them.
            topics: if self.store.state_version().names_topics() {
                self.topics.clone()
            } else {
                TopicIds::default()
            },
        };
        self.prepared = Some(row);
        Ok(Some(epoch))
    }

    /// The epoch prepared last is committed: now the store may have its rows.
    pub(crate) fn committed(
        &mut self,
        epoch: PartitionEpoch,
        changelog_offset: i64,
    ) -> Result<(), StoreError> {
        let Some(mut row) = self.prepared.take() else {
            return Ok(());
        };
        row.changelog_offset = changelog_offset;
        let changes: Vec<RowChange> = epoch
            .rows
            .into_iter()
            .map(|(key, value)| RowChange { key, value })
            .collect();
        self.store.commit(&changes, &row)?;
        self.accounts.committed();
        self.epoch = row.epoch;
        self.moved = false;
        self.owes_rows = false;
        Ok(())
    }

    /// As a store that goes ahead of its transaction would; for tests of what
    /// comes of that.
    pub(crate) fn store_before_commit(&mut self, epoch: &PartitionEpoch) -> Result<(), StoreError> {
        let changes: Vec<RowChange> = epoch
            .rows
            .iter()
            .map(|(key, value)| RowChange {
                key: key.clone(),
                value: value.clone(),
            })
            .collect();
        match &self.prepared {
            Some(row) => self.store.commit(&changes, row),
            None => Ok(()),
        }
    }

    /// Gives the store up, and with it everything that was not committed.
    pub(crate) fn into_store(self) -> PartitionStore {
        self.store
    }
}

/// Makes the looks that are due by `until`, one a day, each with the fleet's
/// record of its day: the calendar, until a fleet stage writes them.
fn close_days(
    account: &mut AccountState,
    rules: &Rules,
    until: EventTime,
    mut took: impl FnMut(Outcome),
) {
    while let Some(due) = account.next_due().filter(|&due| due <= until) {
        let day = due.plus_millis(-DAY_MS).utc_day();
        let fleet = FleetDay::calendar(day);
        took(churnwatch_core::apply(account, rules, Input::Close(&fleet)));
    }
}
