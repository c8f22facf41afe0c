//! Interfaces that are added, lose their carrier and go, in a network namespace of the test's own.
//!
//! The test starts this program again inside `unshare --net`. Where namespaces or `ip` are missing it says so and passes.

mod common;

use std::process::Command;

use braid_udp_uring::{InterfaceAddress, InterfaceChange, Interfaces, Scope, now};
use common::PATIENCE_NS;

const INSIDE: &str = "BRAID_INTERFACES_INSIDE";
const DONE: &str = "the body ran to its end";

#[test]
fn addresses_come_and_go_with_their_interfaces() {
    const NAME: &str = "addresses_come_and_go_with_their_interfaces";
    if std::env::var_os(INSIDE).is_some() {
        body();
        println!("{DONE}");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c"])
        .arg("ip link set lo up && ip link add near type veth peer name far && exec \"$0\" --exact \"$1\" --nocapture")
        .arg(&program)
        .arg(NAME)
        .env(INSIDE, "yes")
        .output();
    let Ok(output) = output else {
        return eprintln!("skipped: there is no unshare(1) here");
    };
    let (told, complaints) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !told.contains("running 1 test") {
        return eprintln!("skipped: no such namespace here: {complaints}");
    }
    assert!(output.status.success() && told.contains(DONE), "{told}\n{complaints}");
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Collects until so many changes came; as `+10.9.0.1@near` and `-10.9.0.1@near`.
#[track_caller]
fn changes(interfaces: &mut Interfaces, count: usize) -> Vec<String> {
    let shown =
        |sign: char, address: &InterfaceAddress| format!("{sign}{}@{}", address.ip, address.interface);
    let deadline = now() + PATIENCE_NS;
    let mut all = Vec::new();
    while all.len() < count {
        assert!(now() < deadline, "{all:?} and no more");
        all.extend(interfaces.changes().unwrap().iter().map(|change| match change {
            InterfaceChange::Added(address) => shown('+', address),
            InterfaceChange::Removed(address) => shown('-', address),
        }));
        std::thread::yield_now();
    }
    all
}

fn body() {
    let mut interfaces = Interfaces::new(Scope::default()).unwrap();
    assert_eq!(interfaces.addresses(), [], "loopback does not count");
    let with_loopback = Interfaces::new(Scope { loopback: true, ..Scope::default() }).unwrap();
    assert_eq!(with_loopback.addresses()[0].ip.to_string(), "127.0.0.1");

    assert!(interfaces.has("near").unwrap(), "though it is down");
    assert!(!interfaces.has("nea").unwrap());

    ip("addr add 10.9.0.1/24 dev near");
    ip("link set near up");
    assert_eq!(interfaces.changes().unwrap(), [], "there is no carrier yet");
    ip("link set far up");
    assert_eq!(changes(&mut interfaces, 1), ["+10.9.0.1@near"]);

    ip("addr add 10.9.0.2/24 dev near");
    ip("addr add 2001:db8::1/64 dev near nodad");
    assert_eq!(changes(&mut interfaces, 2), ["+10.9.0.2@near", "+2001:db8::1@near"]);
    ip("addr del 10.9.0.2/24 dev near");
    assert_eq!(changes(&mut interfaces, 1), ["-10.9.0.2@near"]);

    ip("link set far down");
    assert_eq!(changes(&mut interfaces, 2), ["-10.9.0.1@near", "-2001:db8::1@near"]);
    ip("link set far up");
    assert_eq!(changes(&mut interfaces, 1)[0], "+10.9.0.1@near");
    for _ in 0..300 {
        ip("link set near down");
        ip("link set near up");
    }
    ip("link del near");
    let last = changes(&mut interfaces, 1);
    assert!(last.contains(&"-10.9.0.1@near".to_owned()), "{last:?}");
    assert_eq!(interfaces.addresses(), []);
}
