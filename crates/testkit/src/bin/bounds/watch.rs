//! The memory of a process over time, as the kernel counts it.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Memory of a process, in KiB.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Resident now.
    pub(crate) resident: u64,
    /// The part of it that is no file.
    pub(crate) anonymous: u64,
    /// The most that was resident at any time.
    pub(crate) highest: u64,
}

impl Memory {
    /// Of a process; `None` once it is gone.
    pub(crate) fn of(process: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let kib = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.parse().ok()
        };
        Some(Self {
            resident: kib("VmRSS:")?,
            anonymous: kib("RssAnon:")?,
            highest: kib("VmHWM:")?,
        })
    }
}

pub(crate) fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// Looks at a process until it is dropped.
pub(crate) struct Watch {
    seen: Arc<Mutex<Vec<Memory>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn begin(process: u32) -> Self {
        let (seen, stop) = (Arc::new(Mutex::default()), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (seen, stop): (Arc<Mutex<Vec<Memory>>>, _) = (seen.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Some(memory) = Memory::of(process) {
                        seen.lock().expect("nobody panicked").push(memory);
                    }
                    thread::sleep(LOOK);
                }
            }
        });
        Self {
            seen,
            stop,
            thread: Some(thread),
        }
    }

    /// The mean of what was resident, and the most.
    pub(crate) fn end(mut self) -> (f64, f64) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the watch goes on");
        }
        let seen = self.seen.lock().expect("nobody panicked");
        let mean = seen.iter().map(|memory| mib(memory.resident)).sum::<f64>();
        let highest = seen.iter().map(|memory| memory.highest).max().unwrap_or(0);
        (mean / seen.len().max(1) as f64, mib(highest))
    }
}
