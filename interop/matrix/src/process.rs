//! One program that runs: its output is kept, waits are bounded, and it is gone when its owner is.
//!
//! Owns the child's handle and one thread for each of its two outputs. Knows no protocol.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often to look whether something has happened.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Older lines than this many are forgotten: a peer that traces says millions, and its last words matter.
const LINES_MAX: usize = 10_000;

/// A program that was started here.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdout: Output,
    stderr: Output,
    status: Option<ExitStatus>,
}

/// What a program said until now.
#[derive(Debug)]
struct Output {
    lines: Arc<Mutex<VecDeque<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts `program` with these words.
    #[track_caller]
    pub(crate) fn start(program: &Path, first: &[&str], more: &[&[&str]]) -> Self {
        let mut command = Command::new(program);
        command.args(first).args(more.concat()).stdin(Stdio::null());
        Self::spawn(program, command)
    }

    /// Starts `program`, which obeys its standard input.
    #[track_caller]
    pub(crate) fn start_to_talk(program: &Path, words: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::piped());
        Self::spawn(program, command)
    }

    #[track_caller]
    fn spawn(program: &Path, mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("cannot start {}: {error}", program.display()),
        };
        let stdout = Output::of(child.stdout.take());
        let stderr = Output::of(child.stderr.take());
        Self { child, stdout, stderr, status: None }
    }

    /// Writes a line to its standard input; whether it was heard, the answer tells.
    pub(crate) fn say(&mut self, line: &str) {
        if let Some(input) = &mut self.child.stdin {
            let _ = writeln!(input, "{line}");
        }
    }

    /// The rest of the first line of standard output that begins with `start`, once it is there.
    pub(crate) fn line_after(&mut self, start: &str, limit: Duration) -> Option<String> {
        self.line_number(1, start, limit)
    }

    /// The same of the `count`th such line.
    pub(crate) fn line_number(&mut self, count: usize, start: &str, limit: Duration) -> Option<String> {
        let until = Instant::now() + limit;
        loop {
            let ended = self.has_ended() || Instant::now() > until;
            if self.status.is_some() {
                self.join(); // its last words may still be under way
            }
            let lines = self.stdout.lines();
            let found =
                lines.iter().filter_map(|line| line.strip_prefix(start)).nth(count - 1).map(str::to_owned);
            if found.is_some() || ended {
                return found;
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits for a line of standard error that begins with `start`; says whether it came.
    pub(crate) fn note_after(&mut self, start: &str, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        loop {
            let ended = self.has_ended() || Instant::now() > until;
            if self.stderr.lines().iter().any(|line| line.starts_with(start)) {
                return true;
            }
            if ended {
                return false;
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits for the end; says whether it was a good one, or `None` if there was none in time.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<bool> {
        let until = Instant::now() + limit;
        while !self.has_ended() && Instant::now() < until {
            thread::sleep(LOOK_EVERY);
        }
        self.status.map(|status| status.success())
    }

    /// Standard output whole, and the lines of standard error, of a program that has ended.
    pub(crate) fn into_output(mut self) -> (String, Vec<String>) {
        self.kill();
        (self.stdout.lines().join("\n"), self.stderr.lines())
    }

    /// The lines of standard error until now.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.stderr.lines()
    }

    /// Ends it, and tells how it went.
    pub(crate) fn end(&mut self) -> String {
        let mut text = match (self.has_ended(), self.status) {
            (true, Some(status)) => format!("it ended with {status} and said:"),
            _ => "it was still running and said:".to_owned(),
        };
        self.kill();
        for (name, output) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            for line in output.lines() {
                let _ = write!(text, "\n  {name}: {line}");
            }
        }
        text
    }

    fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap_or(None);
        }
        self.status.is_some()
    }

    /// Ends it if it still runs, and waits until everything that it said is here.
    fn kill(&mut self) {
        if !self.has_ended() {
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
        self.join();
    }

    fn join(&mut self) {
        self.stdout.join();
        self.stderr.join();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Output {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&lines);
        let reader = pipe.map(|pipe| {
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.push_back(line);
                    if kept.len() > LINES_MAX {
                        kept.pop_front();
                    }
                }
            })
        });
        Self { lines, reader }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        Process::start(Path::new("/bin/sh"), &["-c", script], &[])
    }

    #[test]
    fn what_a_program_says_is_kept() {
        let mut process = shell("echo one; echo two >&2; echo three");
        assert_eq!(process.wait(Duration::from_secs(20)), Some(true));
        assert_eq!(process.into_output(), ("one\nthree".to_owned(), vec!["two".to_owned()]));
    }

    #[test]
    fn a_line_is_found_although_the_program_has_ended() {
        let mut process = shell("echo ready at noon");
        assert_eq!(process.line_after("ready at ", Duration::from_secs(20)).as_deref(), Some("noon"));
    }

    #[test]
    fn a_program_that_listens_answers_line_by_line() {
        let words = ["-c", "while read word; do echo heard $word; done"];
        let mut process = Process::start_to_talk(Path::new("/bin/sh"), &words);
        for (number, word) in ["one", "two"].into_iter().enumerate() {
            process.say(word);
            let answer = process.line_number(number + 1, "heard ", Duration::from_secs(20));
            assert_eq!(answer.as_deref(), Some(word));
        }
    }

    #[test]
    fn a_failure_is_told_with_its_words() {
        let mut process = shell("echo no luck >&2; exit 3");
        assert_eq!(process.wait(Duration::from_secs(20)), Some(false));
        let story = process.end();
        assert!(story.contains('3') && story.contains("stderr: no luck"), "{story}");
    }

    #[test]
    fn waits_are_bounded_and_the_program_ends_with_its_owner() {
        let mut process = shell("exec sleep 1000");
        assert_eq!(process.line_after("never", Duration::from_millis(30)), None);
        assert_eq!(process.wait(Duration::from_millis(30)), None);
        let id = process.child.id();
        assert!(Path::new(&format!("/proc/{id}")).exists());
        drop(process);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut process = shell(&format!("seq {}", LINES_MAX + 100));
        assert_eq!(process.wait(Duration::from_secs(20)), Some(true));
        let (text, _) = process.into_output();
        assert_eq!(text.lines().count(), LINES_MAX);
        assert_eq!((text.lines().next(), text.lines().last()), (Some("101"), Some("10100")));
    }
}
