//! One sender thread against one receiver thread over loopback: Gb/s and system calls per packet.
//!
//! Usage: `blast [uring|mmsg] [seconds] [segments per train] [segment bytes] [trains per turn] [receive buffers]`. The
//! sender is pinned to the second core and the receiver to the first, if there are two. The sender never waits, so
//! what the receiver cannot take is dropped and counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use braid_udp_uring::{Config, IoKind, Send, SocketConfig, SocketIndex, Stats, Udp, UdpSocket, Wait, now};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let kind: IoKind = arguments.next().map_or(IoKind::Auto, |text| text.parse().expect("uring or mmsg"));
    let mut number =
        |default: usize| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (seconds, segments, segment_size, trains) = (number(3), number(45), number(1452), number(4));
    let receive_buffers = number(256) as u16;
    let stop = Arc::new(AtomicBool::new(false));
    let socket = UdpSocket::bind(&SocketConfig::new("127.0.0.1:0".parse().unwrap())).unwrap();
    let target = socket.local_addr();
    let receiver = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || receive(&Config { kind, receive_buffers, ..Config::default() }, socket, &stop)
    });
    let sender = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || send(kind, target, segments, segment_size, trains, &stop)
    });
    let started = Instant::now();
    std::thread::sleep(Duration::from_secs(seconds as u64));
    stop.store(true, Ordering::Relaxed);
    let (sent, sender_cpu_s) = sender.join().unwrap();
    let (received, bytes, receiver_cpu_s) = receiver.join().unwrap();
    let elapsed_s = started.elapsed().as_secs_f64();
    println!("{:.2} Gb/s received of {:.2} sent", gigabits(bytes) / elapsed_s, {
        gigabits(sent.datagrams_sent * segment_size as u64) / elapsed_s
    });
    println!(
        "CPU: {:.2} Gb per sender second, {:.2} per receiver second",
        gigabits(sent.datagrams_sent * segment_size as u64) / sender_cpu_s,
        gigabits(bytes) / receiver_cpu_s
    );
    for (name, stats, packets) in
        [("sender", sent, sent.datagrams_sent), ("receiver", received, received.datagrams_received)]
    {
        println!(
            "{name}: {:.1} enters and {:.2} other system calls per 1,000 packets",
            stats.enters as f64 * 1000.0 / packets as f64,
            stats.other_syscalls as f64 * 1000.0 / packets as f64
        );
        println!("  {stats:?}");
    }
}

fn gigabits(bytes: u64) -> f64 {
    bytes as f64 * 8.0 / 1e9
}

fn send(
    kind: IoKind,
    remote: SocketAddr,
    segments: usize,
    segment_size: usize,
    trains: usize,
    stop: &AtomicBool,
) -> (Stats, f64) {
    pin(1);
    let mut udp = Udp::new(&Config { kind, ..Config::default() }).unwrap();
    udp.add_socket(UdpSocket::bind(&SocketConfig::new("127.0.0.1:0".parse().unwrap())).unwrap()).unwrap();
    let bytes = segments * segment_size;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..trains {
            if udp.send_buffer().is_none() {
                break;
            }
            udp.send(Send {
                socket: SocketIndex(0),
                bytes,
                segment_size,
                source: None,
                remote,
                ecn: 0,
                tag: 0,
            });
        }
        udp.submit_and_wait(Wait::Now).unwrap();
        assert_eq!(udp.next_fate(), None);
    }
    (udp.stats(), cpu_seconds())
}

fn receive(config: &Config, socket: UdpSocket, stop: &AtomicBool) -> (Stats, u64, f64) {
    pin(0);
    let mut udp = Udp::new(config).unwrap();
    udp.add_socket(socket).unwrap();
    let mut bytes = 0;
    while !stop.load(Ordering::Relaxed) {
        udp.submit_and_wait(Wait::Until(now() + 10_000_000)).unwrap();
        while let Some(received) = udp.receive() {
            bytes += received.bytes.len() as u64;
        }
    }
    (udp.stats(), bytes, cpu_seconds())
}

fn pin(core: usize) {
    // SAFETY: a zeroed set is an empty one; both calls touch only `set`, and a refusal leaves the thread where it is.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
