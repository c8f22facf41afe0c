//! What the system says of this process: CPU time of a thread, memory, datagrams dropped.
//!
//! Owns the parsing of a few files under `/proc`. Called on request and by no worker while it works; what the system
//! does not tell is `None`.

use std::path::{Path, PathBuf};

/// Where the system tells about the calling thread.
pub(crate) fn this_thread() -> Option<PathBuf> {
    Some(Path::new("/proc").join(std::fs::read_link("/proc/thread-self").ok()?))
}

/// CPU seconds that the thread described in `thread` has used.
pub(crate) fn cpu_seconds(thread: &Path) -> Option<f64> {
    run_time(&read(thread.join("schedstat"))?)
}

/// Seconds that the thread described in `thread` could have run and had no core.
pub(crate) fn cpu_wait_seconds(thread: &Path) -> Option<f64> {
    wait_time(&read(thread.join("schedstat"))?)
}

/// Bytes of memory that this process occupies.
pub(crate) fn resident_bytes() -> Option<u64> {
    resident(&read("/proc/self/status")?)
}

/// UDP datagrams dropped in this network namespace because a receive buffer was full.
pub(crate) fn receive_buffer_errors() -> Option<u64> {
    let v4 = udp_errors(&read("/proc/net/snmp")?)?;
    let v6 = read("/proc/net/snmp6").and_then(|text| udp6_errors(&text)).unwrap_or(0);
    Some(v4 + v6)
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The first number of `schedstat` is the time on a CPU in nanoseconds.
fn run_time(schedstat: &str) -> Option<f64> {
    Some(schedstat.split_whitespace().next()?.parse::<u64>().ok()? as f64 / 1e9)
}

/// The second number is the time on a run queue in nanoseconds.
fn wait_time(schedstat: &str) -> Option<f64> {
    Some(schedstat.split_whitespace().nth(1)?.parse::<u64>().ok()? as f64 / 1e9)
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// `snmp` has a line of names and a line of numbers for each protocol.
fn udp_errors(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let position = lines.next()?.split_whitespace().position(|name| name == "RcvbufErrors")?;
    lines.next()?.split_whitespace().nth(position)?.parse().ok()
}

/// `snmp6` has a line for each number.
fn udp6_errors(snmp6: &str) -> Option<u64> {
    snmp6.lines().find_map(|line| line.strip_prefix("Udp6RcvbufErrors"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_read_as_they_are_written() {
        assert_eq!(run_time("357591000 2500000 3\n"), Some(0.357_591));
        assert_eq!(wait_time("357591000 2500000 3\n"), Some(0.0025));
        assert_eq!(resident("VmPeak:\t  9 kB\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        let snmp = "Ip: Forwarding\nIp: 1\nUdp: InDatagrams NoPorts RcvbufErrors\nUdp: 41 0 7\nUdpLite: a\n";
        assert_eq!(udp_errors(snmp), Some(7));
        assert_eq!(udp6_errors("Udp6InErrors \t1\nUdp6RcvbufErrors                \t12\n"), Some(12));
    }

    #[test]
    fn files_of_another_shape_tell_nothing() {
        for text in ["", "Udp: ", "VmRSS:", "Udp: RcvbufErrors\n", "Udp6RcvbufErrors x"] {
            assert_eq!((run_time(text), wait_time(text), resident(text)), (None, None, None));
            assert_eq!((udp_errors(text), udp6_errors(text)), (None, None));
        }
    }

    #[test]
    fn this_thread_uses_time_and_memory() {
        let thread = this_thread().unwrap();
        assert!(cpu_seconds(&thread).is_some_and(|seconds| seconds >= 0.0));
        assert!(cpu_wait_seconds(&thread).is_some_and(|seconds| seconds >= 0.0));
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000));
    }
}
