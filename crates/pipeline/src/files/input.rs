//! Files of canonical events, one JSON object a line, plain or gzipped.
//!
//! Several files are merged by event time, each taken to be in order itself:
//! usage from one file and tickets from another make one log.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use churnwatch_core::EventTime;
use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;

use crate::source::{Committed, NoHeaders, PartitionId, Polled, RecordRef, Source, SourceError};

/// Lines handed over in one poll.
const LINES_AT_A_TIME: usize = 1_000;
/// Bytes read from a file at a time.
const BUFFER: usize = 1 << 18;
/// A longer line cannot be an event; it is cut here, and rejected as too large.
const LONGEST_LINE: usize = 4 << 20;

/// The partition that files are.
const PARTITION: PartitionId = PartitionId(0);

/// An input that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct InputError {
    /// Which file; `-` is the standard input.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// How far reading has come, for somebody who watches.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of all files, as they lie on disk; 0 where it is not known.
    pub total_bytes: u64,
    bytes: AtomicU64,
    records: AtomicU64,
}

impl Progress {
    /// Bytes read so far, as they lie on disk.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Lines read so far.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }
}

/// Counts the bytes that pass.
struct Counted<R> {
    inner: R,
    progress: Arc<Progress>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.progress
            .bytes
            .fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// One file, read line by line.
pub struct InputFile {
    path: PathBuf,
    lines: Box<dyn BufRead + Send>,
    /// The line to come next, without its line break.
    line: Vec<u8>,
    /// Blank lines between it and the line before.
    blanks: i64,
    /// Its event time, where several files are merged; a line that cannot be
    /// read goes out at once.
    time: EventTime,
}

impl InputFile {
    /// Opens a file; gzip is recognised by its first bytes, and `-` is the
    /// standard input.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn open(path: &Path, progress: &Arc<Progress>) -> Result<Self, InputError> {
        let failed = |source| InputError {
            path: path.to_owned(),
            source,
        };
        let raw: Box<dyn Read + Send> = if path == Path::new("-") {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(path).map_err(failed)?)
        };
        let counted = Counted {
            inner: raw,
            progress: progress.clone(),
        };
        let mut bytes = BufReader::with_capacity(BUFFER, counted);
        let gzipped = bytes.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
        let lines: Box<dyn BufRead + Send> = if gzipped {
            Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(bytes)))
        } else {
            Box::new(bytes)
        };
        Ok(Self {
            path: path.to_owned(),
            lines,
            line: Vec::new(),
            blanks: 0,
            time: EventTime::MIN,
        })
    }

    /// Reads the next line that is not blank; `false` at the end.
    fn advance(&mut self, with_time: bool) -> io::Result<bool> {
        self.blanks = 0;
        loop {
            self.line.clear();
            let mut limited = (&mut self.lines).take(LONGEST_LINE as u64);
            if limited.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(false);
            }
            if self.line.last() == Some(&b'\n') {
                self.line.pop();
            } else if self.line.len() == LONGEST_LINE {
                skip_line(&mut self.lines)?;
            }
            if self.line.last() == Some(&b'\r') {
                self.line.pop();
            }
            if self.line.iter().all(u8::is_ascii_whitespace) {
                self.blanks += 1;
                continue;
            }
            self.time = if with_time {
                time_of(&self.line)
            } else {
                EventTime::MIN
            };
            return Ok(true);
        }
    }
}

/// Passes over the rest of a line.
fn skip_line(lines: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let buffer = lines.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let used = end.map_or(buffer.len(), |end| end + 1);
        lines.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}

fn time_of(line: &[u8]) -> EventTime {
    #[derive(Deserialize)]
    struct Timed<'a> {
        #[serde(borrow)]
        time: std::borrow::Cow<'a, str>,
    }
    serde_json::from_slice::<Timed<'_>>(line)
        .ok()
        .and_then(|timed| churnwatch_wire::parse_time(&timed.time).ok())
        .unwrap_or(EventTime::MIN)
}

/// When the log took a line in, where the line says so.
fn appended_at(line: &[u8]) -> Option<EventTime> {
    #[derive(Deserialize)]
    struct Appended<'a> {
        #[serde(borrow)]
        appended_at: Option<std::borrow::Cow<'a, str>>,
    }
    const FIELD: &[u8] = b"\"appended_at\"";
    // Few files carry it, and looking is far cheaper than parsing.
    line.windows(FIELD.len())
        .any(|window| window == FIELD)
        .then_some(())?;
    let appended: Appended<'_> = serde_json::from_slice(line).ok()?;
    churnwatch_wire::parse_time(&appended.appended_at?).ok()
}

/// Where a run on files stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begin,
    Reading,
}

/// Files as a source: one partition. Offsets are line numbers from 0, over all
/// files where there are several.
pub struct FileSource {
    files: Vec<InputFile>,
    /// What every line without a time of its own is taken in at.
    now: Option<EventTime>,
    progress: Arc<Progress>,
    stage: Stage,
    resumed: bool,
    offset: i64,
    merge: bool,
}

impl FileSource {
    /// Opens all files before anything is read. `now` is when lines without an
    /// `appended_at` count as taken in; without it the check against wrong
    /// clocks is off for them.
    ///
    /// # Errors
    /// The first file that cannot be opened or read.
    pub fn open(paths: &[PathBuf], now: Option<EventTime>) -> Result<Self, InputError> {
        let total_bytes = paths
            .iter()
            .filter_map(|path| path.metadata().ok())
            .map(|metadata| metadata.len())
            .sum();
        let progress = Arc::new(Progress {
            total_bytes,
            ..Progress::default()
        });
        let merge = paths.len() > 1;
        let mut files = Vec::new();
        for path in paths {
            let mut file = InputFile::open(path, &progress)?;
            let more = file.advance(merge).map_err(|source| InputError {
                path: path.clone(),
                source,
            })?;
            if more {
                files.push(file);
            }
        }
        let stage = Stage::Begin;
        Ok(Self {
            files,
            now,
            progress,
            stage,
            resumed: false,
            offset: 0,
            merge,
        })
    }

    /// How far reading has come.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }
}

impl Source for FileSource {
    fn poll(
        &mut self,
        _timeout: Duration,
        visit: &mut dyn FnMut(RecordRef<'_>),
    ) -> Result<Polled, SourceError> {
        if self.stage == Stage::Begin {
            self.stage = Stage::Reading;
            return Ok(Polled::Assigned(vec![PARTITION]));
        }
        if !self.resumed {
            return Ok(Polled::Idle);
        }
        let mut count = 0;
        while count < LINES_AT_A_TIME {
            let least = (0..self.files.len()).min_by_key(|&index| self.files[index].time);
            let Some(index) = least else { break };
            let file = &mut self.files[index];
            // Blank lines count: whoever looks for the record counts them too.
            self.offset += file.blanks;
            visit(RecordRef {
                partition: PARTITION,
                offset: self.offset,
                appended_at: appended_at(&file.line).or(self.now),
                key: None,
                value: Some(&file.line),
                headers: &NoHeaders,
            });
            self.offset += 1;
            count += 1;
            let more = file.advance(self.merge).map_err(|error| {
                SourceError::Fatal(format!(
                    "{}: line {}: {error}",
                    file.path.display(),
                    self.offset
                ))
            })?;
            if !more {
                self.files.remove(index);
            }
        }
        self.progress
            .records
            .fetch_add(count as u64, Ordering::Relaxed);
        Ok(if count == 0 {
            Polled::Ended
        } else {
            Polled::Records(count)
        })
    }

    fn accept(&mut self, _partitions: &[PartitionId]) -> Result<(), SourceError> {
        Ok(())
    }

    fn committed(
        &mut self,
        partitions: &[PartitionId],
        _timeout: Duration,
    ) -> Result<Vec<(PartitionId, Option<Committed>)>, SourceError> {
        Ok(partitions
            .iter()
            .map(|&partition| (partition, None))
            .collect())
    }

    fn bounds(&mut self, _partition: PartitionId) -> Result<(i64, i64), SourceError> {
        Ok((0, i64::MAX))
    }

    fn resume(&mut self, _partition: PartitionId, _offset: i64) -> Result<(), SourceError> {
        self.resumed = true;
        Ok(())
    }

    fn pause(&mut self, _partition: PartitionId) -> Result<(), SourceError> {
        self.resumed = false;
        Ok(())
    }

    fn release(&mut self, _partitions: &[PartitionId], _lost: bool) -> Result<(), SourceError> {
        Ok(())
    }

    fn close(&mut self) {
        self.files.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read_all(source: &mut FileSource) -> Vec<String> {
        assert_eq!(
            source.poll(Duration::ZERO, &mut |_| ()).unwrap(),
            Polled::Assigned(vec![PARTITION])
        );
        source.resume(PARTITION, 0).unwrap();
        let mut lines = Vec::new();
        loop {
            let polled = source.poll(Duration::ZERO, &mut |record| {
                lines.push(String::from_utf8_lossy(record.value.unwrap()).into_owned());
            });
            if polled.unwrap() == Polled::Ended {
                return lines;
            }
        }
    }

    fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn plain_and_gzipped_files_read_alike_and_blank_lines_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let text = b"{\"a\":1}\r\n\n  \n{\"a\":2}";
        let plain = write(dir.path(), "plain", text);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text).unwrap();
        let gzipped = write(dir.path(), "gz", &gz.finish().unwrap());
        for path in [plain, gzipped] {
            let mut source = FileSource::open(&[path], None).unwrap();
            assert_eq!(read_all(&mut source), ["{\"a\":1}", "{\"a\":2}"]);
            assert_eq!(source.progress().records(), 2);
        }
    }

    #[test]
    fn an_offset_is_the_number_of_the_line_blank_ones_included() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(
            dir.path(),
            "gaps",
            b"\n{\"a\":1}\n{\"a\":2}\n\n \n{\"a\":3}\n",
        );
        let mut source = FileSource::open(&[path], None).unwrap();
        source.poll(Duration::ZERO, &mut |_| ()).unwrap();
        source.resume(PARTITION, 0).unwrap();
        let mut offsets = Vec::new();
        source
            .poll(Duration::ZERO, &mut |record| offsets.push(record.offset))
            .unwrap();
        assert_eq!(offsets, [1, 2, 5]);
    }

    #[test]
    fn several_files_are_merged_by_time() {
        let dir = tempfile::tempdir().unwrap();
        let line = |minute| format!("{{\"time\":\"2026-01-01T00:{minute:02}:00Z\"}}\n");
        let one = write(dir.path(), "1", [line(1), line(5)].concat().as_bytes());
        let two = write(
            dir.path(),
            "2",
            [line(2), "rubbish\n".into(), line(3)].concat().as_bytes(),
        );
        let mut source = FileSource::open(&[one, two], None).unwrap();
        let minutes: Vec<String> = read_all(&mut source)
            .iter()
            .map(|line| line.get(23..25).unwrap_or(line).to_owned())
            .collect();
        assert_eq!(minutes, ["01", "02", "rubbish", "03", "05"]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = FileSource::open(&[PathBuf::from("/no/such/file")], None)
            .err()
            .unwrap();
        assert!(error.to_string().starts_with("/no/such/file: "), "{error}");
    }

    #[test]
    fn a_line_too_long_is_cut_and_the_next_one_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let long = [vec![b'x'; LONGEST_LINE + 10], b"\nnext\n".to_vec()].concat();
        let path = write(dir.path(), "long", &long);
        let lines = read_all(&mut FileSource::open(&[path], None).unwrap());
        assert_eq!(
            lines.iter().map(String::len).collect::<Vec<_>>(),
            [LONGEST_LINE, 4]
        );
    }

    #[test]
    fn a_line_may_say_when_it_was_taken_in() {
        let line = br#"{"time":"2026-01-01T00:00:00Z","appended_at":"2026-01-01T00:00:02Z"}"#;
        assert_eq!(
            appended_at(line).map(|at| at.to_string()).as_deref(),
            Some("2026-01-01T00:00:02Z")
        );
        assert_eq!(appended_at(br#"{"time":"2026-01-01T00:00:00Z"}"#), None);
    }
}
