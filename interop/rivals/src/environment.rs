//! What a race depends on: commit, CPU, kernel, limits, load, and the versions of the stacks.
//!
//! Owns the reading; what cannot be read is left out.

use std::fmt::Write as _;
use std::fs::read_to_string;
use std::path::Path;
use std::process::Command;

/// Whose versions matter.
const CRATES: [&str; 16] = [
    "quinn",
    "quinn-proto",
    "quinn-udp",
    "noq",
    "noq-proto",
    "s2n-quic",
    "s2n-tls",
    "quiche",
    "boring",
    "msquic",
    "rustls",
    "ring",
    "aws-lc-rs",
    "aws-lc-sys",
    "tokio",
    "bytes",
];

/// Everything, a line each; `root` is the checkout.
pub(crate) fn describe(root: &Path) -> String {
    let mut text = String::new();
    let mut say = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let _ = writeln!(text, "{name}: {value}");
        }
    };
    say(
        "commit",
        output("git", &["-C", &root.display().to_string(), "describe", "--always", "--dirty", "--abbrev=12"]),
    );
    say("rustc", output("rustc", &["--version"]));
    say("kernel", output("uname", &["-srvm"]));
    let cpus = read_to_string("/proc/cpuinfo").unwrap_or_default();
    say("cpu", field(&cpus, "model name"));
    say("cores", Some(cpus.lines().filter(|line| line.starts_with("processor")).count().to_string()));
    let flags = field(&cpus, "flags").unwrap_or_default();
    let wanted = ["aes", "avx2", "vaes", "vpclmulqdq", "avx512f"];
    say(
        "crypto",
        Some(
            wanted
                .into_iter()
                .filter(|wanted| flags.split(' ').any(|flag| flag == *wanted))
                .collect::<Vec<_>>()
                .join(" "),
        ),
    );
    for limit in ["rmem_max", "wmem_max"] {
        say(
            limit,
            read_to_string(format!("/proc/sys/net/core/{limit}")).ok().map(|text| text.trim().to_owned()),
        );
    }
    say("load before", read_to_string("/proc/loadavg").ok().map(|text| text.trim().to_owned()));
    let lock = read_to_string(root.join("interop/Cargo.lock")).unwrap_or_default();
    for name in CRATES {
        say(name, Some(versions(&lock, name).join(", ")));
    }
    text
}

fn output(program: &str, words: &[&str]) -> Option<String> {
    let output = Command::new(program).args(words).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.split(':').next().is_some_and(|word| word.trim() == name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The versions of a crate in a lock file.
fn versions(lock: &str, name: &str) -> Vec<String> {
    let wanted = format!("name = \"{name}\"");
    let mut lines = lock.lines();
    let mut versions = Vec::new();
    while let Some(line) = lines.next() {
        if line == wanted
            && let Some(version) = lines.next().and_then(|line| line.strip_prefix("version = "))
        {
            versions.push(version.trim_matches('"').to_owned());
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let lock = "[[package]]\nname = \"quinn\"\nversion = \"0.11.12\"\n\n[[package]]\nname = \"quinn-udp\"\n\
                    version = \"0.5.16\"\n\n[[package]]\nname = \"quinn-udp\"\nversion = \"0.6.3\"\n";
        assert_eq!(versions(lock, "quinn"), ["0.11.12"]);
        assert_eq!(versions(lock, "quinn-udp"), ["0.5.16", "0.6.3"]);
        assert!(versions(lock, "noq").is_empty());
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu aes\n";
        assert_eq!(field(text, "model name").as_deref(), Some("AMD EPYC"));
        assert_eq!(field(text, "model"), None);
    }
}
