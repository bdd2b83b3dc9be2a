//! The label `source`, which comes from records, held to a bounded number of values.
//!
//! A source is whatever a producer writes into its events, so one faulty producer could make a
//! series per event. A process therefore names the first [`MAX_SOURCES`] sources it sees; every
//! further one is counted under [`OTHER_SOURCE`].
//!
//! - [`SharedSources`]: the names of the process. It only grows, and a name keeps its index.
//! - [`SourceIndex`]: a name's place in it; index 0 is `other`.
//! - [`SourceReader`]: one worker's copy, which answers without a lock for names it has seen.

use std::sync::{Arc, Mutex, PoisonError};

/// How many sources a process names before it says [`OTHER_SOURCE`].
pub const MAX_SOURCES: usize = 64;

/// Longest source that gets a name of its own, in bytes; longer ones are [`OTHER_SOURCE`].
pub const MAX_SOURCE_BYTES: usize = 64;

/// What sources beyond the bounds are called.
pub const OTHER_SOURCE: &str = "other";

/// What the source of an event without one is called: an empty label value would mean that the
/// label is missing.
pub const NO_SOURCE: &str = "none";

/// Index of a source in [`SharedSources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SourceIndex(usize);

impl SourceIndex {
    pub(crate) const OTHER: SourceIndex = SourceIndex(0);
}

/// The names of all sources this process has met, `other` first.
#[derive(Debug, Clone)]
pub(crate) struct SharedSources(Arc<Mutex<Vec<Arc<str>>>>);

impl Default for SharedSources {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(vec![Arc::from(OTHER_SOURCE)])))
    }
}

impl SharedSources {
    /// Enters `name` if there is room, and brings `copy` up to date.
    fn enter(&self, name: &str, copy: &mut Vec<Arc<str>>) {
        // A panic cannot leave a half-entered name behind, so a poisoned lock is as good as any.
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = names.iter().any(|entered| **entered == *name);
        if !known && names.len() <= MAX_SOURCES {
            names.push(Arc::from(name));
        }
        copy.extend(names[copy.len()..].iter().cloned());
    }
}

/// One worker's view of the shared names: a copy of their beginning, extended when a name is not
/// in it.
#[derive(Debug)]
pub(crate) struct SourceReader {
    shared: SharedSources,
    names: Vec<Arc<str>>,
    last: SourceIndex,
}

impl SourceReader {
    pub(crate) fn new(shared: &SharedSources) -> Self {
        Self {
            shared: shared.clone(),
            names: vec![Arc::from(OTHER_SOURCE)],
            last: SourceIndex::OTHER,
        }
    }

    /// The index under which `source` is counted. Never fails: a source that is out of bounds is
    /// `other`.
    pub(crate) fn index(&mut self, source: &str) -> SourceIndex {
        let name = if source.is_empty() { NO_SOURCE } else { source };
        // Events of one source tend to follow one another.
        if *self.names[self.last.0] == *name {
            return self.last;
        }
        self.last = self.find(name);
        self.last
    }

    pub(crate) fn name(&self, index: SourceIndex) -> &str {
        &self.names[index.0]
    }

    fn find(&mut self, name: &str) -> SourceIndex {
        if name.len() > MAX_SOURCE_BYTES {
            return SourceIndex::OTHER;
        }
        if let Some(index) = self.position(name) {
            return index;
        }
        let all_names_known = self.names.len() > MAX_SOURCES;
        if all_names_known {
            return SourceIndex::OTHER;
        }
        self.shared.enter(name, &mut self.names);
        self.position(name).unwrap_or(SourceIndex::OTHER)
    }

    fn position(&self, name: &str) -> Option<SourceIndex> {
        self.names
            .iter()
            .position(|known| **known == *name)
            .map(SourceIndex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(reader: &mut SourceReader, source: &str) -> String {
        let index = reader.index(source);
        reader.name(index).to_owned()
    }

    #[test]
    fn the_first_sources_keep_their_names_and_the_rest_are_other() {
        let mut reader = SourceReader::new(&SharedSources::default());
        for number in 0..MAX_SOURCES {
            let source = format!("source-{number}");
            assert_eq!(label(&mut reader, &source), source);
        }
        for number in MAX_SOURCES..10 * MAX_SOURCES {
            assert_eq!(
                label(&mut reader, &format!("source-{number}")),
                OTHER_SOURCE
            );
        }
        assert_eq!(label(&mut reader, "source-0"), "source-0");
        assert_eq!(label(&mut reader, "source-63"), "source-63");
    }

    #[test]
    fn the_bound_holds_over_all_workers_together() {
        let shared = SharedSources::default();
        let mut readers = [SourceReader::new(&shared), SourceReader::new(&shared)];
        let mut labels = std::collections::BTreeSet::new();
        for number in 0..10 * MAX_SOURCES {
            labels.insert(label(&mut readers[number % 2], &format!("source-{number}")));
        }
        assert!(labels.remove(OTHER_SOURCE));
        assert_eq!(labels.len(), MAX_SOURCES);
    }

    #[test]
    fn a_name_entered_by_one_worker_has_the_same_index_for_another() {
        let shared = SharedSources::default();
        let (mut one, mut other) = (SourceReader::new(&shared), SourceReader::new(&shared));
        let usage = one.index("usage");
        let tickets = one.index("tickets");
        assert_eq!(other.index("tickets"), tickets);
        assert_eq!(other.index("usage"), usage);
        assert_ne!(usage, tickets);
    }

    #[test]
    fn a_worker_that_comes_late_still_finds_the_names_of_the_others() {
        let shared = SharedSources::default();
        let mut first = SourceReader::new(&shared);
        for number in 0..2 * MAX_SOURCES {
            first.index(&format!("source-{number}"));
        }
        let mut late = SourceReader::new(&shared);
        assert_eq!(label(&mut late, "never-seen"), OTHER_SOURCE);
        assert_eq!(label(&mut late, "source-40"), "source-40");
    }

    #[test]
    fn a_source_of_ten_kilobytes_is_other_and_takes_no_place() {
        let shared = SharedSources::default();
        let mut reader = SourceReader::new(&shared);
        for number in 0..10 * MAX_SOURCES {
            let long = format!("{number}{}", "x".repeat(10_000));
            assert_eq!(label(&mut reader, &long), OTHER_SOURCE);
        }
        assert_eq!(label(&mut reader, "usage"), "usage");
    }

    #[test]
    fn an_event_without_a_source_is_counted_under_none() {
        let mut reader = SourceReader::new(&SharedSources::default());
        assert_eq!(label(&mut reader, ""), NO_SOURCE);
    }
}
