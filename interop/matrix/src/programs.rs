//! Where the programs are: built once by cargo, or named by the environment.
//!
//! Owns that cargo is asked once for each workspace. `BRAID_SERVER`, `BRAID_LOADGEN` and
//! `BRAID_RELAY` spare the build of ours.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

/// A program of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    BraidServer,
    BraidLoadgen,
    Relay,
    BraidPeerServer,
    BraidPeerClient,
    NoqServer,
    NoqClient,
    IrohServer,
    IrohClient,
    QuinnServer,
    QuinnClient,
}

/// Our programs, and the variables that name them where they exist already.
const OURS: [(&str, &str); 3] =
    [("server", "BRAID_SERVER"), ("loadgen", "BRAID_LOADGEN"), ("relay", "BRAID_RELAY")];

type Built = HashMap<String, PathBuf>;

impl Program {
    /// Where it is; builds it if need be.
    pub(crate) fn path(self) -> &'static Path {
        match self {
            Self::BraidServer => ours("server"),
            Self::BraidLoadgen => ours("loadgen"),
            Self::Relay => ours("relay"),
            Self::BraidPeerServer => peer("braid-perf-server"),
            Self::BraidPeerClient => peer("braid-perf-client"),
            Self::NoqServer => peer("noq-perf-server"),
            Self::NoqClient => peer("noq-perf-client"),
            Self::IrohServer => peer("iroh-perf-server"),
            Self::IrohClient => peer("iroh-perf-client"),
            Self::QuinnServer => peer("quinn-perf-server"),
            Self::QuinnClient => peer("quinn-perf-client"),
        }
    }
}

fn ours(name: &str) -> &'static Path {
    static BUILT: LazyLock<Built> = LazyLock::new(|| {
        let mut found = Built::new();
        let mut words = Vec::from(["--release"]);
        for (name, variable) in OURS {
            match std::env::var_os(variable) {
                Some(path) => drop(found.insert(name.to_owned(), path.into())),
                None => words.extend(["--bin", name]),
            }
        }
        if found.len() < OURS.len() {
            found.extend(build(&root().join("../Cargo.toml"), &words));
        }
        found
    });
    BUILT.get(name).unwrap_or_else(|| panic!("cargo built no {name}"))
}

fn peer(name: &str) -> &'static Path {
    static PEERS: LazyLock<Built> = LazyLock::new(|| {
        // The whole workspace, as `cargo test` builds it: a part of it could need its dependencies built differently.
        let mut words = Vec::from(["--workspace", "--bins"]);
        if !cfg!(debug_assertions) {
            words.push("--release");
        }
        build(&root().join("Cargo.toml"), &words)
    });
    PEERS.get(name).unwrap_or_else(|| panic!("cargo built no {name}"))
}

/// The folder `interop`.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Builds, and asks cargo where it put the programs.
fn build(manifest: &Path, words: &[&str]) -> Built {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--message-format", "json-render-diagnostics", "--manifest-path"]);
    command.arg(manifest).args(words).stderr(Stdio::inherit());
    // They tell about the test's own package; build scripts that look at them would run again, and again without them.
    let about_us = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(about_us)) {
        command.env_remove(name);
    }
    let output = command.output().unwrap_or_else(|error| panic!("cannot run cargo: {error}"));
    assert!(output.status.success(), "cargo cannot build {} {}", manifest.display(), words.join(" "));
    String::from_utf8_lossy(&output.stdout).lines().filter_map(executable).collect()
}

/// The program that one message of cargo tells about.
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let path = message.get("executable")?.as_str()?;
    let name = message.get("target")?.get("name")?.as_str()?;
    Some((name.to_owned(), path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_read_from_the_messages_of_cargo() {
        let message = r#"{"reason":"compiler-artifact","target":{"name":"server"},"executable":"/t/server"}"#;
        assert_eq!(executable(message), Some(("server".to_owned(), PathBuf::from("/t/server"))));
        let library = r#"{"reason":"compiler-artifact","target":{"name":"quic"},"executable":null}"#;
        assert_eq!(executable(library), None);
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(executable("warning: no JSON"), None);
    }
}
