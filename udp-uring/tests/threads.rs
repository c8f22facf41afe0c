//! Both engines with a second thread: wake-ups, and order at speed.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use braid_udp_uring::{Config, IoKind, Send, SocketConfig, Udp, UdpSocket, Wait, now};

use common::{PATIENCE_NS, address, engine, plain, send, to};

both!(
    no_wake_up_is_lost_when_each_waits_for_the_last,
    no_wake_up_is_lost_when_many_come_at_once,
    an_awake_thread_is_woken_without_a_system_call,
    a_hundred_thousand_datagrams_keep_their_order,
    both_directions_at_once_keep_their_order,
);

fn no_wake_up_is_lost_when_each_waits_for_the_last(kind: IoKind) {
    const ROUNDS: u64 = 10_000;
    let (mut udp, _) = plain(kind, "127.0.0.1:0");
    let (asked, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let waker = udp.waker();
    let caller = thread::spawn({
        let (asked, answered) = (Arc::clone(&asked), Arc::clone(&answered));
        move || {
            let deadline = now() + PATIENCE_NS * 2;
            for round in 1..=ROUNDS {
                asked.store(round, Ordering::Relaxed);
                waker.wake();
                while answered.load(Ordering::Relaxed) != round {
                    assert!(now() < deadline, "call {round} was never answered");
                    thread::yield_now();
                }
            }
        }
    });
    while answered.load(Ordering::Relaxed) < ROUNDS {
        let deadline = now() + PATIENCE_NS;
        udp.submit_and_wait(Wait::Until(deadline)).unwrap();
        assert!(now() < deadline, "slept through a call");
        answered.store(asked.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    caller.join().unwrap();
}

fn no_wake_up_is_lost_when_many_come_at_once(kind: IoKind) {
    const CALLS: u64 = 10_000;
    let (mut udp, _) = plain(kind, "127.0.0.1:0");
    let work = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (waker, work) = (udp.waker(), Arc::clone(&work));
            thread::spawn(move || {
                for _ in 0..CALLS / 4 {
                    work.fetch_add(1, Ordering::Relaxed);
                    waker.wake();
                }
            })
        })
        .collect();
    let mut done = 0;
    while done < CALLS {
        let deadline = now() + PATIENCE_NS;
        udp.submit_and_wait(Wait::Until(deadline)).unwrap();
        assert!(now() < deadline, "slept with {done} of {CALLS} done");
        done += work.swap(0, Ordering::Relaxed);
    }
    for caller in callers {
        caller.join().unwrap();
    }
    let stats = udp.stats();
    assert!(stats.wake_writes <= stats.enters, "at most one write per sleep: {stats:?}");
}

fn an_awake_thread_is_woken_without_a_system_call(kind: IoKind) {
    let (mut udp, _) = plain(kind, "127.0.0.1:0");
    let waker = udp.waker();
    (0..1000).for_each(|_| waker.wake());
    udp.submit_and_wait(Wait::Forever).unwrap();
    assert_eq!((udp.stats().wakes, udp.stats().wake_writes), (1, 0));
}

/// Datagrams that carry their number; the sender stays less than a receive buffer ahead of the receiver.
struct Stream {
    next: u64,
    total: u64,
    ahead_max: u64,
}

const DATAGRAM_BYTES: usize = 200;
const TRAIN: u64 = 7;

impl Stream {
    fn send(&mut self, udp: &mut Udp, remote: std::net::SocketAddr, received: &AtomicU64) {
        while self.next < self.total {
            let ahead = self.next - received.load(Ordering::Acquire);
            if ahead + TRAIN > self.ahead_max || udp.send_buffer().is_none() {
                return;
            }
            // Trains of different lengths, single datagrams among them.
            let count = (1 + self.next % TRAIN).min(self.total - self.next);
            let payload: Vec<u8> = (0..count)
                .flat_map(|at| [(self.next + at).to_be_bytes(); DATAGRAM_BYTES / 8].concat())
                .collect();
            send(udp, Send { tag: self.next, ..to(remote, DATAGRAM_BYTES) }, &payload);
            self.next += count;
        }
    }
}

/// Fetches, and checks that each datagram is the one after the last.
fn receive_in_order(udp: &mut Udp, expected: &mut u64) {
    while let Some(received) = udp.receive() {
        for datagram in received.bytes.chunks(received.segment_size) {
            let number = u64::from_be_bytes(datagram[..8].try_into().unwrap());
            assert_eq!(number, *expected, "datagrams changed places");
            *expected += 1;
        }
    }
}

fn a_hundred_thousand_datagrams_keep_their_order(kind: IoKind) {
    const TOTAL: u64 = 100_000;
    let tiny = SocketConfig { send_buffer_bytes: 2048, ..SocketConfig::new(address("127.0.0.1:0")) };
    let config = Config { kind, ..Config::default() };
    let (mut receiver, there) = plain(kind, "127.0.0.1:0");
    let received = Arc::new(AtomicU64::new(0));
    let sender = thread::spawn({
        let received = Arc::clone(&received);
        move || {
            let (mut udp, _) = engine(&config, UdpSocket::bind(&tiny).unwrap());
            let mut stream = Stream { next: 0, total: TOTAL, ahead_max: 500 };
            let deadline = now() + PATIENCE_NS;
            while received.load(Ordering::Acquire) < TOTAL {
                assert!(now() < deadline, "{:?}", udp.stats());
                stream.send(&mut udp, there, &received);
                udp.submit_and_wait(Wait::Until(now() + 100_000)).unwrap();
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
        receive_in_order(&mut receiver, &mut expected);
        received.store(expected, Ordering::Release);
    }
    let stats = sender.join().unwrap();
    assert_eq!(stats.datagrams_sent, TOTAL);
}

/// Completions of receives and of sends mix in every turn here.
fn both_directions_at_once_keep_their_order(kind: IoKind) {
    const TOTAL: u64 = 30_000;
    let (left, right) = (common::socket("127.0.0.1:0"), common::socket("127.0.0.1:0"));
    let (left_address, right_address) = (left.local_addr(), right.local_addr());
    let counts = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let run = move |side: usize, socket, remote, counts: Arc<[AtomicU64; 2]>| {
        let config = Config { kind, receive_buffers: 16, send_buffers: 8, ..Config::default() };
        let (mut udp, _) = engine(&config, socket);
        let mut stream = Stream { next: 0, total: TOTAL, ahead_max: 500 };
        let mut expected = 0;
        let deadline = now() + PATIENCE_NS;
        while expected < TOTAL || counts[1 - side].load(Ordering::Acquire) < TOTAL {
            assert!(now() < deadline, "{expected} came: {:?}", udp.stats());
            stream.send(&mut udp, remote, &counts[1 - side]);
            udp.submit_and_wait(Wait::Until(now() + 100_000)).unwrap();
            receive_in_order(&mut udp, &mut expected);
            counts[side].store(expected, Ordering::Release);
        }
    };
    let other = thread::spawn({
        let counts = Arc::clone(&counts);
        move || run(1, right, left_address, counts)
    });
    run(0, left, right_address, counts);
    other.join().unwrap();
}
