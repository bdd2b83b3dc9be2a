//! What the disk under the state does to us: it fills up, or gives back
//! something else than was written. Neither loses anything, since the changelog
//! has all that is committed, and neither is worth the end of the process.

use super::*;

/// A disk that was full within this time is taken to be still nearly full.
const NEARLY_FULL: Duration = Duration::from_secs(60);

/// How the disk has been lately.
#[derive(Debug, Default)]
pub(super) struct Disk {
    /// Whether it had no room when it was last asked.
    is_full: bool,
    /// When it was last found full.
    last_full: Option<Instant>,
    /// How long was waited for room.
    pause: Duration,
}

impl<S: Source, K: Sink, C: Changelog> Detector<S, K, C> {
    /// No room is left. A database that could not flush takes nothing any more,
    /// so all are dropped, with everything that is not committed, and opened
    /// again once there is room. Polling goes on, and so our stay in the group.
    pub(super) fn wait_for_room(&mut self, full: &StoreError) {
        tracing::warn!(error = %full, "dropping what is not committed; waiting for room");
        self.report("state", Some(full.to_string()));
        let now = Instant::now();
        let is_new = self
            .disk
            .last_full
            .is_none_or(|last| now.duration_since(last) > NEARLY_FULL);
        let longer = if is_new {
            MIN_BACKOFF
        } else {
            self.disk.pause * 2
        };
        self.disk = Disk {
            is_full: true,
            last_full: Some(now),
            pause: longer.clamp(MIN_BACKOFF, self.settings.max_backoff.max(MIN_BACKOFF)),
        };
        self.roll_back(&[]);
        for restore in self.restores.values_mut() {
            restore.wait(self.disk.pause);
        }
        self.report_assignment();
    }

    /// Whether the stores may be opened; asks the disk where it was full.
    pub(super) fn has_room(&mut self) -> Result<bool, StoreError> {
        if !self.disk.is_full {
            return Ok(true);
        }
        match self.state.check_room() {
            Ok(()) => {
                tracing::info!("there is room again");
                self.disk.is_full = false;
                Ok(true)
            }
            Err(full) if full.wants_room() => {
                self.wait_for_room(&full);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the cause back once every partition has its state again.
    pub(super) fn report_room(&self, is_restoring: bool) {
        if !self.disk.is_full && !is_restoring {
            self.report("state", None);
        }
    }

    /// A store gives back something else than was written. It is deleted, and
    /// built from the changelog; the others fall back to what is committed, as
    /// after any doubt.
    pub(super) fn rebuild(&mut self, partition: PartitionId) {
        self.roll_back(&[]);
        if let Some(restore) = self.restores.get_mut(&partition) {
            restore.distrust();
        }
    }
}
