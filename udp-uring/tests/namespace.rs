//! Both engines in a network namespace of their own, where the loopback device can be slow or have a small MTU.
//!
//! Each test starts this program again inside `unshare --net` for one body. Where namespaces, `ip` or `tc` are missing
//! it says so and passes.

mod common;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use braid_udp_uring::{Config, Fate, IoKind, Send, SocketConfig, UdpSocket, Wait, now};

use common::{PATIENCE_NS, address, engine, fate, plain, send, to};

/// Names the body that the inner program runs.
const INSIDE: &str = "BRAID_UDP_INSIDE";
/// What the inner program says when it is done; a shell that failed before it never does.
const DONE: &str = "the body ran to its end";

both!(
    a_full_send_buffer_keeps_the_order,
    a_socket_that_is_full_does_not_hold_up_another,
    datagrams_above_the_mtu_are_too_big,
    a_destination_without_a_route_is_unreachable,
    dropping_with_blocked_sends_is_sound,
);

/// Runs `body` in a namespace whose loopback device was prepared by `setup`.
fn inside(kind: IoKind, name: &str, setup: &str, body: fn(IoKind)) {
    if std::env::var_os(INSIDE).is_some() {
        stay_on_one_core();
        body(kind);
        println!("{DONE}");
        return;
    }
    let test = format!("{kind}::{name}");
    let program = std::env::current_exe().unwrap();
    let script = format!("{setup} && exec \"$0\" --exact \"$1\" --nocapture");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c", &script])
        .arg(&program)
        .arg(&test)
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

/// The loopback device has a queue per core, so with a slow device on several cores the kernel itself reorders.
fn stay_on_one_core() {
    // SAFETY: a zeroed set is an empty one; the calls touch only `set`.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu() as usize, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set), 0);
    }
}

const UP: &str = "ip link set lo up";
/// Slow enough that what we send waits in the queue of the device, and counts against the socket's send buffer.
const SLOW: &str = "ip link set lo up && tc qdisc add dev lo root tbf rate 100mbit burst 16kb limit 64mb";
const SMALL: &str = "ip link set lo up mtu 1400";

fn small_send_buffer(text: &str) -> UdpSocket {
    let config = SocketConfig { send_buffer_bytes: 8192, ..SocketConfig::new(address(text)) };
    UdpSocket::bind(&config).unwrap()
}

fn a_full_send_buffer_keeps_the_order(kind: IoKind) {
    inside(kind, "a_full_send_buffer_keeps_the_order", SLOW, |kind| {
        const TOTAL: u64 = 100_000;
        let (mut receiver, there) = plain(kind, "127.0.0.1:0");
        let received = Arc::new(AtomicU64::new(0));
        let sender = thread::spawn({
            let received = Arc::clone(&received);
            move || {
                let (mut udp, _) =
                    engine(&Config { kind, ..Config::default() }, small_send_buffer("127.0.0.1:0"));
                let mut next = 0_u64;
                let deadline = now() + PATIENCE_NS;
                while received.load(Ordering::Acquire) < TOTAL {
                    assert!(now() < deadline, "{:?}", udp.stats());
                    while next < TOTAL && next - received.load(Ordering::Acquire) < 2000 {
                        if udp.send_buffer().is_none() {
                            break;
                        }
                        let count = (1 + next % 9).min(TOTAL - next);
                        let payload: Vec<u8> = (next..next + count)
                            .flat_map(|number| [number.to_be_bytes(); 20].concat())
                            .collect();
                        send(&mut udp, to(there, 160), &payload);
                        next += count;
                    }
                    udp.submit_and_wait(Wait::Until(now() + 1_000_000)).unwrap();
                    assert_eq!(udp.next_fate(), None);
                }
                udp.stats()
            }
        });
        let mut expected = 0;
        let deadline = now() + PATIENCE_NS;
        while expected < TOTAL {
            assert!(now() < deadline, "{expected} datagrams came: {:?}", receiver.stats());
            receiver.submit_and_wait(Wait::Until(deadline)).unwrap();
            while let Some(buffer) = receiver.receive() {
                for datagram in buffer.bytes.chunks(buffer.segment_size) {
                    let number = u64::from_be_bytes(datagram[..8].try_into().unwrap());
                    assert_eq!(number, expected, "datagrams changed places");
                    expected += 1;
                }
            }
            received.store(expected, Ordering::Release);
        }
        let stats = sender.join().unwrap();
        assert!(stats.send_blocked > 10, "the send buffer was full often: {stats:?}");
        assert_eq!((stats.datagrams_sent, stats.send_errors), (TOTAL, 0));
    });
}

fn a_socket_that_is_full_does_not_hold_up_another(kind: IoKind) {
    const CRAWLING: &str = "ip link set lo up && ip link add near type veth peer name far \
         && ip addr add 10.9.0.1/24 dev near && ip link set near up && ip link set far up \
         && ip neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev near \
         && tc qdisc add dev near root tbf rate 8kbit burst 2kb limit 64mb";
    inside(kind, "a_socket_that_is_full_does_not_hold_up_another", CRAWLING, |kind| {
        let (mut udp, _) = engine(&Config { kind, ..Config::default() }, small_send_buffer("10.9.0.1:0"));
        let second = udp.add_socket(common::socket("127.0.0.1:0")).unwrap();
        let (mut receiver, there) = plain(kind, "127.0.0.1:0");
        for _ in 0..40 {
            send(&mut udp, to(address("10.9.0.2:9"), 1000), &[0; 1000]);
        }
        for number in 0..10_u8 {
            send(&mut udp, Send { socket: second, ..to(there, 1000) }, &[number; 3000]);
            udp.submit_and_wait(Wait::Now).unwrap();
        }
        assert_eq!(common::collect(&mut receiver, 30).len(), 10);
        let stats = udp.stats();
        assert!(stats.send_blocked > 0 && stats.datagrams_sent < 70, "{stats:?}");
    });
}

fn datagrams_above_the_mtu_are_too_big(kind: IoKind) {
    inside(kind, "datagrams_above_the_mtu_are_too_big", SMALL, |kind| {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let (mut udp, _) = plain(kind, host);
            let (mut receiver, there) = plain(kind, host);
            send(&mut udp, Send { tag: 1, ..to(there, 1380) }, &[0; 1380]);
            assert_eq!(fate(&mut udp), (1, Fate::TooBig));
            send(&mut udp, Send { tag: 2, ..to(there, 1380) }, &[0; 13_800]);
            assert_eq!(fate(&mut udp), (2, Fate::TooBig));
            send(&mut udp, Send { tag: 3, ..to(there, 1300) }, &[3; 13_000]);
            udp.submit_and_wait(Wait::Now).unwrap();
            let kept = common::collect(&mut receiver, 10);
            assert_eq!(kept[0].segment_size, 1300);
            assert_eq!((udp.next_fate(), udp.stats().gso_fallbacks), (None, 0), "trains still work");
        }
    });
}

fn a_destination_without_a_route_is_unreachable(kind: IoKind) {
    inside(kind, "a_destination_without_a_route_is_unreachable", UP, |kind| {
        let (mut udp, _) = plain(kind, "[::]:0");
        for (tag, remote) in ["192.0.2.1:9", "[2001:db8::1]:9"].into_iter().enumerate() {
            let tag = tag as u64;
            send(&mut udp, Send { tag, ..to(address(remote), 100) }, &[0; 300]);
            assert_eq!(fate(&mut udp), (tag, Fate::Unreachable), "{remote}");
        }
        // What stands behind the failed one in the queue leaves all the same.
        let (mut receiver, there) = plain(kind, "127.0.0.1:0");
        for remote in [address("192.0.2.1:9"), there, address("[2001:db8::1]:9"), there] {
            send(&mut udp, to(remote, 100), &[7; 300]);
        }
        fate(&mut udp);
        udp.submit_and_wait(Wait::Now).unwrap();
        udp.submit_and_wait(Wait::Now).unwrap();
        assert_eq!(common::collect(&mut receiver, 6).len(), 2);
        assert_eq!(udp.stats().send_errors, 4);
    });
}

fn dropping_with_blocked_sends_is_sound(kind: IoKind) {
    const STOPPED: &str = "ip link set lo up && tc qdisc add dev lo root tbf rate 8kbit burst 2kb limit 64mb";
    inside(kind, "dropping_with_blocked_sends_is_sound", STOPPED, |kind| {
        for _ in 0..20 {
            let (mut udp, _) =
                engine(&Config { kind, ..Config::default() }, small_send_buffer("127.0.0.1:0"));
            for _ in 0..64 {
                send(&mut udp, to(address("127.0.0.1:9"), 1000), &[0; 1000]);
            }
            for _ in 0..5 {
                udp.submit_and_wait(Wait::Now).unwrap();
            }
            let stats = udp.stats();
            assert!(stats.send_blocked > 0 && stats.datagrams_sent < 64, "{stats:?}");
            let started = now();
            drop(udp);
            assert!(now() - started < 500_000_000, "a blocked send can be cancelled");
        }
    });
}
