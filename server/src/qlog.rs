//! Writes the logs of connections to files: a bounded queue that workers fill, and one plain thread that empties it.
//!
//! Owns the files, their names and the thread. What stands in a log is `braid_quic::log::qlog`'s. A worker never waits
//! for a disk: what finds the queue full is dropped by the chunk, and the log says so. Used by load generators too.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use braid_quic::log::LogFactory;
use braid_quic::log::qlog::{self, Chunk, Grouping, Outlet, Settings, Source};
use braid_quic::{Instant, Role};
use crossbeam::channel::{Receiver, Sender, bounded, select};

use crate::error::StartError;

/// Chunks that wait to be written, each about 32 KiB; more are dropped.
pub const CHUNKS_MAX: usize = 256;

/// Files open at once; the one that was opened first is closed, and opened again for more.
pub const FILES_MAX: usize = 256;

/// The ending of the name of a log (draft-ietf-quic-qlog-main-schema, "qlog to JSON Text Sequences mapping").
const ENDING: &str = "sqlog";

/// Which connections are logged, and where to.
#[derive(Clone, Debug)]
pub struct Qlog {
    /// A file for all connections if its name ends in `.sqlog`, else a directory for a file each.
    pub path: PathBuf,
    /// One connection in so many is logged; both ends choose the same ones. 1 logs all.
    pub every: u64,
    /// When times are counted from.
    pub origin: Instant,
}

impl Qlog {
    /// All connections, times counted from now on.
    pub fn new(path: PathBuf) -> Self {
        Self { path, every: 1, origin: Instant::from_nanos(braid_udp_uring::now()) }
    }

    /// Do all connections share one file?
    pub fn is_file(&self) -> bool {
        self.path.extension().is_some_and(|ending| ending == ENDING)
    }
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Logs begun.
    pub files: u64,
    /// Bytes in all of them.
    pub bytes: u64,
    /// Chunks that found the queue full. The logs that they belong to tell how many events are missing.
    pub chunks_dropped: u64,
    /// The first thing that went wrong.
    pub error: Option<String>,
}

impl Written {
    /// What its owner should know, in a sentence each.
    pub fn complaints(&self) -> Vec<String> {
        let dropped = self.chunks_dropped;
        let dropped =
            (dropped > 0).then(|| format!("qlog: {dropped} chunks were dropped, the disk is too slow"));
        let error = self.error.as_ref().map(|error| format!("qlog: {error}"));
        dropped.into_iter().chain(error).collect()
    }
}

/// The thread that writes, and the way to stop it.
#[derive(Debug)]
pub struct Recorder {
    thread: JoinHandle<Written>,
    stop: Sender<()>,
    dropped: Arc<AtomicU64>,
}

impl Recorder {
    /// Makes the file or directory and starts the thread. The factory goes into `TransportConfig::log` of the end
    /// `role`.
    pub fn start(qlog: &Qlog, role: Role) -> Result<(LogFactory, Self), StartError> {
        let settings = Settings {
            grouping: if qlog.is_file() { Grouping::Shared } else { Grouping::Separate },
            every: qlog.every,
            wall_clock: Some(wall_clock(qlog.origin)),
            ..Settings::new(qlog.origin)
        };
        let wrong = |error| StartError::Log(qlog.path.clone(), error);
        let shelf = Shelf::open(qlog, &qlog::header(&settings, role)).map_err(wrong)?;
        let (queue, chunks) = bounded(CHUNKS_MAX);
        let (stop, stopped) = bounded(1);
        let thread = std::thread::Builder::new().name("qlog".to_owned());
        let thread = thread.spawn(move || write(shelf, &chunks, &stopped)).map_err(wrong)?;
        let dropped = Arc::<AtomicU64>::default();
        let outlet = Queue { chunks: queue, dropped: Arc::clone(&dropped) };
        Ok((qlog::factory(settings, Arc::new(outlet)), Self { thread, stop, dropped }))
    }

    /// Writes what waits, and ends. Call it when the connections are gone: their last lines are handed over then.
    pub fn stop(self) -> Written {
        let _ = self.stop.send(());
        let mut written = self.thread.join().unwrap_or_default();
        written.chunks_dropped = self.dropped.load(Ordering::Relaxed);
        written
    }
}

/// The workers' end of the queue.
struct Queue {
    chunks: Sender<Chunk>,
    dropped: Arc<AtomicU64>,
}

impl Outlet for Queue {
    fn offer(&self, chunk: Chunk) -> Result<(), Chunk> {
        self.chunks.try_send(chunk).map_err(|error| {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            error.into_inner()
        })
    }
}

/// The thread: writes until it is told to stop, then what is left.
fn write(mut shelf: Shelf, chunks: &Receiver<Chunk>, stopped: &Receiver<()>) -> Written {
    loop {
        select! {
            recv(chunks) -> chunk => match chunk {
                Ok(chunk) => shelf.put(&chunk),
                Err(_) => return shelf.written,
            },
            recv(stopped) -> _ => {
                chunks.try_iter().for_each(|chunk| shelf.put(&chunk));
                return shelf.written;
            }
        }
    }
}

/// Where chunks go.
struct Shelf {
    place: Place,
    written: Written,
}

enum Place {
    /// All into one file.
    One(File),
    /// A file for each connection, the open ones in the order of their opening.
    Each { directory: PathBuf, open: VecDeque<(Source, File)> },
}

impl Shelf {
    fn open(qlog: &Qlog, header: &[u8]) -> io::Result<Self> {
        let mut written = Written::default();
        let place = if qlog.is_file() {
            let mut file = File::create(&qlog.path)?;
            file.write_all(header)?;
            written = Written { files: 1, bytes: header.len() as u64, ..written };
            Place::One(file)
        } else {
            fs::create_dir_all(&qlog.path)?;
            Place::Each { directory: qlog.path.clone(), open: VecDeque::new() }
        };
        Ok(Self { place, written })
    }

    fn put(&mut self, chunk: &Chunk) {
        match self.place.write(chunk) {
            Ok(news) => {
                self.written.files += u64::from(news);
                self.written.bytes += chunk.as_bytes().len() as u64;
            }
            Err(error) => {
                let _ = self.written.error.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

impl Place {
    /// Writes a chunk; `true` if a file was made for it.
    fn write(&mut self, chunk: &Chunk) -> io::Result<bool> {
        let (directory, open) = match self {
            Self::One(file) => return file.write_all(chunk.as_bytes()).map(|()| false),
            Self::Each { directory, open } => (directory, open),
        };
        let source = chunk.source();
        let mut news = false;
        let at = match open.iter().position(|(owner, _)| *owner == source) {
            Some(at) => at,
            None if chunk.as_bytes().is_empty() => return Ok(false),
            None => {
                let file;
                (file, news) = file_of(directory, source)?;
                if open.len() == FILES_MAX {
                    open.pop_front();
                }
                open.push_back((source, file));
                open.len() - 1
            }
        };
        let outcome = open[at].1.write_all(chunk.as_bytes());
        if chunk.is_last() {
            open.remove(at);
        }
        outcome.map(|()| news)
    }
}

/// The file of one end of a connection, and whether it is new.
fn file_of(directory: &Path, source: Source) -> io::Result<(File, bool)> {
    let path = directory.join(format!("{source}.{ENDING}"));
    let news = !path.exists();
    Ok((OpenOptions::new().create(true).append(true).open(path)?, news))
}

/// The time of day at `origin`, as RFC 3339 writes it.
fn wall_clock(origin: Instant) -> String {
    let since: Duration = Instant::from_nanos(braid_udp_uring::now()).since(origin);
    let then = SystemTime::now().checked_sub(since).unwrap_or(SystemTime::UNIX_EPOCH);
    humantime::format_rfc3339_millis(then).to_string()
}

#[cfg(test)]
#[path = "qlog_tests.rs"]
mod tests;
