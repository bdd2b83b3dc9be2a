//! Alerts and dead letters as lines.

use std::{
    io::{self, Write},
    time::Duration,
};

use crate::{
    sink::{CommitError, Epoch, Sink},
    source::{Changelog, ChangelogRead, PartitionId, SourceError, Visit},
};

/// Writes alert bodies, and dead letters where somebody wants them, one JSON
/// object a line.
pub struct FileSink {
    alerts: Box<dyn Write + Send>,
    dead_letters: Option<Box<dyn Write + Send>>,
    line: Vec<u8>,
}

impl FileSink {
    /// A sink on two writers.
    pub fn new(alerts: Box<dyn Write + Send>, dead_letters: Option<Box<dyn Write + Send>>) -> Self {
        Self {
            alerts,
            dead_letters,
            line: Vec::new(),
        }
    }

    fn write(&mut self, epoch: &Epoch) -> io::Result<()> {
        for alert in &epoch.alerts {
            self.line = alert.body.to_json();
            self.line.push(b'\n');
            self.alerts.write_all(&self.line)?;
        }
        self.alerts.flush()?;
        if let Some(out) = &mut self.dead_letters {
            for letter in &epoch.dead_letters {
                self.line = letter.to_line();
                self.line.push(b'\n');
                out.write_all(&self.line)?;
            }
            out.flush()?;
        }
        Ok(())
    }
}

impl Sink for FileSink {
    fn commit(&mut self, epoch: &Epoch) -> Result<Vec<i64>, CommitError> {
        self.write(epoch)?;
        Ok(vec![-1; epoch.partitions.len()])
    }

    fn reset(&mut self) -> Result<(), CommitError> {
        Ok(())
    }

    /// Files have no clock of their own: time ends with the input.
    fn write_clock(&mut self, _partition: PartitionId, _value: Vec<u8>) {}
}

/// Files keep no changelog: a run begins from nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoChangelog;

impl Changelog for NoChangelog {
    fn begin(&mut self, _partition: PartitionId, _after: i64) -> Result<(i64, i64), SourceError> {
        Ok((0, 0))
    }

    fn read(
        &mut self,
        _timeout: Duration,
        _visit: &mut dyn FnMut(i64, &[u8], Option<&[u8]>) -> Visit,
    ) -> Result<ChangelogRead, SourceError> {
        Ok(ChangelogRead::AtEnd)
    }

    fn end(&mut self) {}

    fn is_durable(&self) -> bool {
        false
    }
}
