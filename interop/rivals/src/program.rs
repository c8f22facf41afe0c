//! A program that runs: pinned to a core, in a namespace if need be, spoken to line by line, its CPU time and memory
//! read, and gone when its owner is.
//!
//! Owns the child and the reading of `/proc`. Knows no workload.

use std::fs::read_to_string;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Ticks per second in `/proc/stat`: `USER_HZ`, which Linux promises to programs.
const TICKS_PER_SECOND: f64 = 100.0;
/// A program that is done ends within this time.
const END_LIMIT: Duration = Duration::from_secs(10);
/// How often to look whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Why a run came to nothing; people read it.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A child.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    complaints: Receiver<String>,
}

/// Where a program runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The core it is pinned to.
    pub(crate) core: usize,
    /// The network namespace, if not this one.
    pub(crate) namespace: Option<&'a str>,
}

impl Program {
    /// Starts it.
    pub(crate) fn start(path: &Path, words: &[String], place: Place<'_>) -> Result<Self, Failure> {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let core = place.core.to_string();
        // Each of these replaces itself by the next, so that the child is the program in the end.
        let mut line = Vec::new();
        if let Some(namespace) = place.namespace {
            line.extend(["ip", "netns", "exec", namespace]);
        }
        line.extend(["taskset", "--cpu-list", &core]);
        let mut command = Command::new(line[0]);
        command.args(&line[1..]);
        command.arg(path).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        let (input, lines) = (child.stdin.take(), lines_of(child.stdout.take()));
        let complaints = lines_of(child.stderr.take());
        Ok(Self { name, child, input, lines, complaints })
    }

    /// The next line of its output.
    pub(crate) fn line(&mut self, limit: Duration) -> Result<String, Failure> {
        self.lines.recv_timeout(limit).map_err(|_| self.story("did not say what it should"))
    }

    /// The rest of the next line that begins with `start`.
    pub(crate) fn line_after(&mut self, start: &str, limit: Duration) -> Result<String, Failure> {
        let until = Instant::now() + limit;
        loop {
            let line = self.line(until.saturating_duration_since(Instant::now()))?;
            if let Some(rest) = line.strip_prefix(start) {
                return Ok(rest.to_owned());
            }
        }
    }

    /// All lines until it ends.
    pub(crate) fn rest(&mut self, limit: Duration) -> String {
        let until = Instant::now() + limit;
        let mut text = String::new();
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// Writes a line to it.
    pub(crate) fn say(&mut self, line: &str) -> Result<(), Failure> {
        let input = self.input.as_mut().ok_or("its input is closed")?;
        writeln!(input, "{line}").and_then(|()| input.flush()).map_err(|error| self.story(&error.to_string()))
    }

    /// Ends its input and waits for its end.
    pub(crate) fn finish(&mut self) -> Option<ExitStatus> {
        self.input = None;
        let until = Instant::now() + END_LIMIT;
        while Instant::now() < until {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            thread::sleep(LOOK_EVERY);
        }
        None
    }

    /// CPU seconds of all its threads so far.
    pub(crate) fn cpu_s(&self) -> f64 {
        let tasks =
            std::fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let texts = tasks.filter_map(|task| read_to_string(task.path().join("schedstat")).ok());
        texts.filter_map(|text| seconds_of_schedstat(&text)).sum()
    }

    /// What it has in memory.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = read_to_string(format!("/proc/{}/status", self.child.id()));
        status.ok().and_then(|text| resident_of_status(&text)).unwrap_or_default()
    }

    /// A failure that tells what the program said about it.
    pub(crate) fn story(&mut self, what: &str) -> Failure {
        let status = self.finish();
        // The last words of a program that has ended may still be under way.
        let wait = if status.is_some() { END_LIMIT } else { Duration::ZERO };
        let said =
            std::iter::from_fn(|| self.complaints.recv_timeout(wait).ok()).collect::<Vec<_>>().join(" / ");
        let ended = status.map_or_else(|| "still running".to_owned(), |status| status.to_string());
        format!("{}: {what} ({ended}; it said: {said})", self.name).into()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (told, lines) = channel();
    if let Some(pipe) = pipe {
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if told.send(line).is_err() {
                    break;
                }
            }
        });
    }
    lines
}

/// CPU seconds that the whole machine has spent, on all cores.
pub(crate) fn machine_cpu_s() -> f64 {
    read_to_string("/proc/stat").ok().and_then(|text| busy_of_stat(&text)).unwrap_or_default()
}

/// The first number: nanoseconds on a CPU.
fn seconds_of_schedstat(text: &str) -> Option<f64> {
    Some(text.split_whitespace().next()?.parse::<u64>().ok()? as f64 / 1e9)
}

/// `VmRSS`, which is in KiB.
fn resident_of_status(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// User, nice, system, interrupts and what the hypervisor took, of the first line; not idle and waiting.
fn busy_of_stat(text: &str) -> Option<f64> {
    let numbers = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let numbers = numbers.map(str::parse::<u64>).collect::<Result<Vec<_>, _>>().ok()?;
    let [user, nice, system, _idle, _waiting, interrupts, soft, stolen, ..] = numbers[..] else {
        return None;
    };
    Some((user + nice + system + interrupts + soft + stolen) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place<'_> = Place { core: 0, namespace: None };

    fn shell(script: &str) -> Program {
        Program::start(Path::new("/bin/sh"), &["-c".to_owned(), script.to_owned()], HERE).unwrap()
    }

    #[test]
    fn a_program_is_spoken_to_line_by_line() {
        let mut program = shell("echo hello world; read line; echo heard $line");
        assert_eq!(program.line_after("hello ", Duration::from_secs(20)).unwrap(), "world");
        program.say("go").unwrap();
        assert_eq!(program.line(Duration::from_secs(20)).unwrap(), "heard go");
        assert!(program.finish().unwrap().success());
    }

    #[test]
    fn a_failure_is_told_with_its_words() {
        let mut program = shell("echo no luck >&2; exit 3");
        let failure = program.line(Duration::from_secs(20)).unwrap_err().to_string();
        assert!(failure.contains("no luck") && failure.contains('3'), "{failure}");
    }

    #[test]
    fn work_costs_time_and_memory() {
        let mut program = shell("echo on; while :; do :; done");
        program.line(Duration::from_secs(20)).unwrap();
        let before = (program.cpu_s(), machine_cpu_s());
        while program.cpu_s() < before.0 + 0.05 || machine_cpu_s() <= before.1 {
            thread::yield_now();
        }
        assert!(program.resident_bytes() > 100_000);
    }

    #[test]
    fn numbers_of_proc_are_read() {
        assert_eq!(seconds_of_schedstat("1500000000 42 7\n"), Some(1.5));
        assert_eq!(seconds_of_schedstat(""), None);
        assert_eq!(resident_of_status("Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t1\n"), Some(2 << 20));
        assert_eq!(resident_of_status("Name:\tx\n"), None);
        assert_eq!(busy_of_stat("cpu  100 20 30 9000 400 5 6 7 0 0\ncpu0 1 1 1 1\n"), Some(1.68));
        assert_eq!(busy_of_stat("cpu  1 2 3\n"), None);
        assert_eq!(busy_of_stat("cpu0 1 2 3 4 5 6 7 8\n"), None);
    }
}
