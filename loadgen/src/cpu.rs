//! CPU time of the thread that asks, in seconds, and how long it waited for a core.
//!
//! Owns the reading of `/proc/thread-self`: nanoseconds from `schedstat`, or clock ticks from `stat` where the kernel
//! keeps no scheduler statistics. Says nothing where there is neither.

use std::fs::read_to_string;

/// Ticks per second in `/proc/*/stat`: `USER_HZ`, which Linux promises to programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds that this thread has used, user and system.
pub(crate) fn thread_seconds() -> Option<f64> {
    let precise = read_to_string("/proc/thread-self/schedstat").ok().and_then(|text| from_schedstat(&text));
    precise.or_else(|| read_to_string("/proc/thread-self/stat").ok().and_then(|text| from_stat(&text)))
}

/// Seconds in which this thread could have run and had no core.
pub(crate) fn thread_wait_seconds() -> Option<f64> {
    waited(&read_to_string("/proc/thread-self/schedstat").ok()?)
}

/// The second number: nanoseconds on a run queue. A kernel that does not count says zero for all.
fn waited(text: &str) -> Option<f64> {
    from_schedstat(text)?;
    Some(text.split_whitespace().nth(1)?.parse::<u64>().ok()? as f64 / 1e9)
}

/// The first number: nanoseconds on a CPU.
fn from_schedstat(text: &str) -> Option<f64> {
    let nanos = text.split_whitespace().next()?.parse::<u64>().ok()?;
    (nanos > 0).then_some(nanos as f64 / 1e9)
}

/// Fields 14 and 15; counted behind the command, which may hold blanks and parentheses.
fn from_stat(text: &str) -> Option<f64> {
    let fields = text.rsplit_once(')')?.1.split_whitespace();
    let ticks = fields.skip(11).take(2).map(str::parse::<u64>).collect::<Result<Vec<_>, _>>().ok()?;
    (ticks.len() == 2).then(|| ticks.iter().sum::<u64>() as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheduler_statistics_are_nanoseconds() {
        assert_eq!(from_schedstat("1500000000 42 7\n"), Some(1.5));
        assert_eq!(from_schedstat("0 0 0\n"), None, "a kernel that does not count says zero");
        assert_eq!(from_schedstat(""), None);
        assert_eq!((waited("1500000000 250000000 7\n"), waited("0 0 0\n")), (Some(0.25), None));
    }

    #[test]
    fn a_command_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let text = "77 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 100 0 0\n";
        assert_eq!(from_stat(text), Some(3.0));
        assert_eq!(from_stat("77 (x) S 1 2 3"), None);
        assert_eq!(from_stat("nothing"), None);
    }

    #[test]
    fn work_takes_time() {
        let before = thread_seconds().expect("Linux tells");
        let mut sum = 0_u64;
        while thread_seconds().expect("Linux still tells") - before < 0.001 {
            sum = (0..100_000_u64).fold(sum, |sum, n| std::hint::black_box(sum ^ n));
        }
    }
}
