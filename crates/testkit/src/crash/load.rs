//! A steady load: a backlog would be read before anybody can interrupt it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::broker::{Deployment, Outgoing, Producer};

/// How many records are written in how much time.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Records written in one go.
    pub records: usize,
    /// Time from one go to the next.
    pub tick: Duration,
    /// Records by which it may be ahead of what is committed. So the load
    /// lasts as long as the members are interrupted, however slow the machine,
    /// and there are so many commits at least.
    pub ahead: usize,
}

impl Pace {
    /// So many records a second.
    pub fn per_second(records: usize) -> Self {
        Self {
            records: (records / 50).max(1),
            tick: Duration::from_millis(20),
            ahead: usize::MAX,
        }
    }

    /// At most so many records ahead of what is committed.
    pub fn ahead(self, ahead: usize) -> Self {
        Self { ahead, ..self }
    }
}

/// Records on their way into the log.
pub struct Load {
    sent: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Writes these records to the log in the background.
    pub fn start<I>(deployment: &Deployment, records: I, pace: Pace) -> Self
    where
        I: Iterator<Item = Outgoing> + Send + 'static,
    {
        let producer = Producer::new(&deployment.bootstrap, &deployment.events());
        let sent = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (told, asked) = (Arc::clone(&sent), Arc::clone(&stop));
        let group = deployment.group();
        let before = group.ends() as usize;
        let thread = thread::spawn(move || {
            let mut next = Instant::now();
            let mut allowed = pace.ahead;
            for (index, record) in records.enumerate() {
                if index % pace.records == 0 {
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                    next += pace.tick;
                    while index >= allowed && !asked.load(Ordering::Relaxed) {
                        thread::sleep(pace.tick);
                        allowed = (group.committed() as usize + pace.ahead).saturating_sub(before);
                        next = Instant::now();
                    }
                    if asked.load(Ordering::Relaxed) {
                        break;
                    }
                }
                producer.send(&record);
                told.store(index + 1, Ordering::Relaxed);
            }
            producer.flush();
        });
        Self {
            sent,
            stop,
            thread: Some(thread),
        }
    }

    /// Records written so far.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether everything is on the broker.
    pub fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until everything is on the broker.
    ///
    /// # Panics
    /// The broker did not take a record.
    pub fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the broker takes the records");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It says by itself what went wrong.
            let _ = thread.join();
        }
    }
}
