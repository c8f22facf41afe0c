//! What a client, or a server, shall do with its paths, in words that work for every multipath stack.
//!
//! Owns the words, their order and the waiting between them. A stack lends its verbs by `Paths` and tells its events to
//! a `Log`; both ends of every stack use the same names for events, so that the matrix can compare them.

use std::str::FromStr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Failure;

/// A step that does not come true within this time has failed.
const STEP_LIMIT: Duration = Duration::from_secs(20);
/// How often to try again what a stack refuses for now.
const AGAIN_AFTER: Duration = Duration::from_millis(5);

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `open L`: open a path over link L and wait until it is validated.
    Open(u8),
    /// `abandon N`: give path N up.
    Abandon(u32),
    /// `closed N`: wait until the last of path N is gone.
    Closed(u32),
    /// `backup N`, `available N`: advise the peer.
    Advise(u32, bool),
    /// `keys`: update the keys, as soon as that is allowed.
    Keys,
    /// `get BYTES`: begin a download.
    Get(u64),
    /// `after BYTES`: wait until so many bytes have come, or left where this is the server, since the start.
    After(u64),
    /// `finish`: wait until all downloads are complete.
    Finish,
    /// `cycle COUNT L`: open a path over link L and give it up, so many times.
    Cycle(u32, u8),
}

/// Why a stack did not do something.
#[derive(Debug)]
pub enum Refusal {
    /// It may do it later.
    Later(String),
    /// It will not.
    Never(String),
}

/// The verbs of a stack.
pub trait Paths {
    /// Begins to open a path over a link; returns its number.
    fn open(&mut self, link: u8) -> Result<u32, Refusal>;
    /// Gives a path up.
    fn abandon(&mut self, path: u32) -> Result<(), Refusal>;
    /// Advises the peer about a path.
    fn advise(&mut self, path: u32, backup: bool) -> Result<(), Refusal>;
    /// Updates the keys.
    fn update_keys(&mut self) -> Result<(), Refusal>;
    /// Begins a download.
    fn get(&mut self, bytes: u64) -> Result<(), Refusal>;
}

/// What has happened so far, for the script and for the report.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug, Default)]
struct State {
    events: Vec<String>,
    moved_bytes: u64,
    open_requests: u32,
    failure: Option<String>,
}

impl Step {
    /// Reads a script: steps with semicolons between them.
    pub fn read_all(text: &str) -> Result<Vec<Self>, String> {
        text.split(';').map(str::trim).filter(|step| !step.is_empty()).map(str::parse).collect()
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no step");
        let words: Vec<&str> = text.split_whitespace().collect();
        let number = |word: &str| word.parse::<u32>().map_err(|_| wrong());
        let link = |word: &str| word.parse::<u8>().map_err(|_| wrong());
        let step = match words[..] {
            ["open", over] => Self::Open(link(over)?),
            ["abandon", path] => Self::Abandon(number(path)?),
            ["closed", path] => Self::Closed(number(path)?),
            ["backup", path] => Self::Advise(number(path)?, true),
            ["available", path] => Self::Advise(number(path)?, false),
            ["keys"] => Self::Keys,
            ["get", bytes] => Self::Get(number(bytes)?.into()),
            ["after", bytes] => Self::After(number(bytes)?.into()),
            ["finish"] => Self::Finish,
            ["cycle", count, over] => Self::Cycle(number(count)?, link(over)?),
            _ => return Err(wrong()),
        };
        Ok(step)
    }
}

/// Does all steps in their order; blocks while it waits.
pub fn run(script: &[Step], paths: &mut impl Paths, log: &Log) -> Result<(), Failure> {
    for step in script {
        follow(*step, paths, log).map_err(|sentence| format!("{step:?}: {sentence}"))?;
    }
    Ok(())
}

fn follow(step: Step, paths: &mut impl Paths, log: &Log) -> Result<(), String> {
    match step {
        Step::Open(link) => open(link, paths, log).map(drop),
        Step::Abandon(path) => patiently(|| paths.abandon(path)),
        Step::Closed(path) => log.wait(|state| state.has("closed", path)),
        Step::Advise(path, backup) => patiently(|| paths.advise(path, backup)),
        Step::Keys => patiently(|| paths.update_keys()),
        Step::Get(bytes) => {
            log.on_request();
            patiently(|| paths.get(bytes))
        }
        Step::After(bytes) => log.wait(|state| state.moved_bytes >= bytes),
        Step::Finish => log.wait(|state| state.open_requests == 0),
        Step::Cycle(count, link) => (0..count).try_for_each(|_| {
            let path = open(link, paths, log)?;
            patiently(|| paths.abandon(path))
        }),
    }
}

fn open(link: u8, paths: &mut impl Paths, log: &Log) -> Result<u32, String> {
    let path = patiently(|| paths.open(link))?;
    let over = |state: &State| {
        state.has("abandoned", path) || state.events.contains(&format!("abandoned {path} by peer"))
    };
    log.wait(|state| state.has("validated", path) || over(state))?;
    if log.state().has("validated", path) { Ok(path) } else { Err(format!("path {path} failed")) }
}

/// Tries again what may pass.
fn patiently<T>(mut act: impl FnMut() -> Result<T, Refusal>) -> Result<T, String> {
    let until = Instant::now() + STEP_LIMIT;
    loop {
        match act() {
            Ok(value) => return Ok(value),
            Err(Refusal::Later(_)) if Instant::now() < until => std::thread::sleep(AGAIN_AFTER),
            Err(Refusal::Later(sentence) | Refusal::Never(sentence)) => return Err(sentence),
        }
    }
}

impl Log {
    /// Something happened, in words as `validated 1`, `abandoned 1 by peer`, `closed 1`, `told backup 1`.
    pub fn on_event(&self, event: impl Into<String>) {
        let event = event.into();
        eprintln!("event: {event}");
        self.change(|state| state.events.push(event));
    }

    /// So many bytes of answers in all came, or left.
    pub fn on_moved(&self, moved_bytes: u64) {
        self.change(|state| state.moved_bytes = state.moved_bytes.max(moved_bytes));
    }

    /// So many more bytes of answers came.
    pub fn on_received(&self, bytes: u64) {
        self.change(|state| state.moved_bytes += bytes);
    }

    /// A download is complete, or never will be.
    pub fn on_done(&self, result: Result<(), String>) {
        self.change(|state| {
            state.open_requests = state.open_requests.saturating_sub(1);
            state.failure = state.failure.take().or(result.err());
        });
    }

    /// Nothing will come true any more.
    pub fn on_failed(&self, sentence: String) {
        self.change(|state| state.failure = state.failure.take().or(Some(sentence)));
    }

    /// All that happened.
    pub fn events(&self) -> Vec<String> {
        self.state().events.clone()
    }

    /// Bytes of answers.
    pub fn moved_bytes(&self) -> u64 {
        self.state().moved_bytes
    }

    fn on_request(&self) {
        self.change(|state| state.open_requests += 1);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.0.1.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something is true, or has become impossible.
    fn wait(&self, wanted: impl Fn(&State) -> bool) -> Result<(), String> {
        let until = Instant::now() + STEP_LIMIT;
        let mut state = self.state();
        loop {
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if wanted(&state) {
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("that takes too long; {} bytes, {:?}", state.moved_bytes, state.events));
            }
            state = self.0.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    fn has(&self, what: &str, path: u32) -> bool {
        self.events.contains(&format!("{what} {path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths that open at once, and keys that can be updated at the second try only.
    #[derive(Default)]
    struct Willing {
        log: Log,
        opened: u32,
        done: Vec<String>,
    }

    impl Paths for Willing {
        fn open(&mut self, link: u8) -> Result<u32, Refusal> {
            self.opened += 1;
            self.log.on_event(format!("validated {}", self.opened));
            self.done.push(format!("open {link}"));
            Ok(self.opened)
        }

        fn abandon(&mut self, path: u32) -> Result<(), Refusal> {
            self.done.push(format!("abandon {path}"));
            self.log.on_event(format!("closed {path}"));
            Ok(())
        }

        fn advise(&mut self, path: u32, backup: bool) -> Result<(), Refusal> {
            self.done.push(format!("{path} {backup}"));
            Ok(())
        }

        fn update_keys(&mut self) -> Result<(), Refusal> {
            self.done.push("keys".to_owned());
            if self.done.ends_with(&["keys".to_owned(), "keys".to_owned()]) {
                return Ok(());
            }
            Err(Refusal::Later("too early".to_owned()))
        }

        fn get(&mut self, bytes: u64) -> Result<(), Refusal> {
            if bytes == 0 {
                return Err(Refusal::Never("nothing".to_owned()));
            }
            self.log.on_received(bytes);
            self.log.on_done(Ok(()));
            Ok(())
        }
    }

    fn done(script: &str) -> Result<Vec<String>, String> {
        let mut willing = Willing::default();
        let log = willing.log.clone();
        run(&Step::read_all(script).unwrap(), &mut willing, &log).map_err(|failure| failure.to_string())?;
        Ok(willing.done)
    }

    #[test]
    fn steps_are_done_in_their_order() {
        let script = "open 1; get 10; after 10; finish; backup 1; available 1; abandon 1; closed 1; keys";
        let wanted = ["open 1", "1 true", "1 false", "abandon 1", "keys", "keys"];
        assert_eq!(done(script).unwrap(), wanted);
        assert_eq!(done("cycle 2 1;").unwrap(), ["open 1", "abandon 1", "open 1", "abandon 2"]);
    }

    #[test]
    fn a_step_that_fails_is_named() {
        assert!(done("keys; get 0").unwrap_err().contains("Get(0): nothing"));
    }

    #[test]
    fn what_is_no_step_is_refused() {
        for text in ["dance", "open", "open one", "cycle 1", "keys 1", "get -1"] {
            assert!(Step::read_all(text).unwrap_err().contains(text), "{text}");
        }
    }
}
