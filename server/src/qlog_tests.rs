//! Files of logs: where they are, what happens at the limits, and what is told when it is over.

use braid_quic::log::{Log, Opening, Record};
use braid_quic::{Event, LocalId, PathId, RouteId};

use super::*;

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("braid-qlog-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(factory: &LogFactory, original: u64) -> Box<dyn Log> {
    let original = original.to_be_bytes();
    let addresses = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
    let route = RouteId::new(LocalId(0), addresses.0, addresses.1);
    factory.open(&Opening { role: Role::Server, original: &original, route, at: Instant::ZERO }).unwrap()
}

fn say(log: &mut Box<dyn Log>, seconds: u64) {
    let at = Instant::from_nanos(seconds * 1_000_000_000);
    log.record(at, &Record::Event(&Event::PathRecovered(PathId(0))));
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_directory_gets_a_file_for_each_connection() {
    let scratch = Scratch::new("directory");
    let (factory, recorder) = Recorder::start(&Qlog::new(scratch.0.clone()), Role::Server).unwrap();
    for id in [1, 2] {
        say(&mut open(&factory, id), 1);
    }
    let written = recorder.stop();
    let files = scratch.files();
    let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["0000000000000001_server.sqlog", "0000000000000002_server.sqlog"]);
    let all: Vec<_> = files.iter().map(|file| lines(file)).collect();
    assert!(all.iter().all(|lines| lines.len() == 2), "a header and an event: {all:?}");
    assert!(all[0][0].contains("wall_clock_time") && all[0][1].contains("braid:path_recovered"), "{all:?}");
    let bytes = files.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert_eq!(written, Written { files: 2, bytes, chunks_dropped: 0, error: None });
}

#[test]
fn a_file_takes_all_connections_and_tells_them_apart() {
    let scratch = Scratch::new("file");
    fs::create_dir_all(&scratch.0).unwrap();
    let path = scratch.0.join("all.sqlog");
    let (factory, recorder) = Recorder::start(&Qlog::new(path.clone()), Role::Server).unwrap();
    for id in [1, 2] {
        say(&mut open(&factory, id), 1);
    }
    assert_eq!(recorder.stop().files, 1);
    let lines = lines(&path);
    assert_eq!(lines.len(), 3, "one header: {lines:?}");
    for group in ["0000000000000001", "0000000000000002"] {
        let of_group = lines.iter().filter(|line| line.contains(&format!("\"group_id\":\"{group}\"")));
        assert_eq!(of_group.count(), 1, "{lines:?}");
    }
}

#[test]
fn more_connections_than_files_may_be_open_lose_nothing() {
    let scratch = Scratch::new("many");
    let mut shelf = Shelf::open(&Qlog::new(scratch.0.clone()), b"").unwrap();
    let (queue, chunks) = bounded(2 * FILES_MAX + 2);
    let outlet = Queue { chunks: queue, dropped: Arc::default() };
    let factory = qlog::factory(Settings::new(Instant::ZERO), Arc::new(outlet));
    let mut logs: Vec<_> = (0..=FILES_MAX as u64).map(|id| open(&factory, id)).collect();
    for seconds in [1, 2, 4] {
        for log in &mut logs {
            say(log, seconds);
        }
        chunks.try_iter().for_each(|chunk| shelf.put(&chunk));
    }
    let Place::Each { open, .. } = &shelf.place else { panic!("a directory") };
    assert_eq!(open.len(), FILES_MAX, "no more are open at once");
    drop(logs);
    chunks.try_iter().for_each(|chunk| shelf.put(&chunk));
    let Place::Each { open, .. } = &shelf.place else { panic!("a directory") };
    assert!(open.is_empty(), "the last chunk closes a file");
    assert_eq!((shelf.written.files, &shelf.written.error), (FILES_MAX as u64 + 1, &None));
    for file in scratch.files() {
        assert_eq!(lines(&file).len(), 4, "a header and three events");
    }
}

#[test]
fn a_full_queue_drops_whole_chunks_and_counts_them() {
    let (queue, chunks) = bounded(CHUNKS_MAX);
    let dropped = Arc::<AtomicU64>::default();
    let outlet = Queue { chunks: queue, dropped: Arc::clone(&dropped) };
    let settings = Settings { grouping: Grouping::Shared, ..Settings::new(Instant::ZERO) };
    let factory = qlog::factory(settings, Arc::new(outlet));
    let mut log = open(&factory, 1);
    for seconds in 0..2 * (CHUNKS_MAX as u64 + 3) {
        say(&mut log, seconds); // every second one hands a chunk over
    }
    assert_eq!((chunks.len(), dropped.load(Ordering::Relaxed)), (CHUNKS_MAX, 3));
    chunks.try_iter().for_each(drop);
    drop(log);
    assert_eq!(chunks.len(), 1, "the last chunk tells of them");
}

#[test]
fn a_place_that_cannot_be_written_is_said_at_the_start() {
    let scratch = Scratch::new("nowhere");
    let nowhere = scratch.0.join("missing").join("all.sqlog");
    let error = Recorder::start(&Qlog::new(nowhere.clone()), Role::Server).unwrap_err();
    assert!(error.to_string().contains(nowhere.to_str().unwrap()), "{error}");
}

#[test]
fn times_count_from_the_origin_and_the_header_tells_the_time_of_day() {
    let text = wall_clock(Instant::from_nanos(braid_udp_uring::now()));
    assert!(text.len() == "2026-11-22T20:23:15.000Z".len() && text.ends_with('Z'), "{text}");
}
