//! The control thread with real clients, on tokio-uring and on plain sockets.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant as Clock;

use braid_quic::PacketProtection;

use super::*;
use crate::crew::Crew;
use crate::perf::Perf;

/// A runtime where there is none.
fn barred() -> io::Result<tokio_uring::Runtime> {
    Err(io::ErrorKind::PermissionDenied.into())
}

/// Runs `story` against a control thread of each kind.
fn on_both(story: fn(SocketAddr)) {
    for runtime in [uring::runtime, barred] {
        let nobody = Crew::<Perf>::start("nobody", Vec::new(), None).unwrap();
        let listener = Control::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let control =
            Control::start_on(runtime, listener, Observer::new(nobody.handle(), PacketProtection::AwsLc))
                .unwrap();
        story(control.address());
        let stopping = Clock::now();
        control.stop();
        assert!(stopping.elapsed() < CLIENT_TIMEOUT, "stopping waits for no client");
    }
}

fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn statistics_are_served_as_json() {
    on_both(|address| {
        let answer = ask(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        let stats: crate::ServerStats = serde_json::from_str(body).unwrap();
        assert_eq!((stats.schema, stats.workers.len()), (1, 0));
        assert!(stats.memory_resident_bytes.is_some());
    });
}

#[test]
fn bad_requests_are_answered_and_do_no_harm() {
    on_both(|address| {
        for (request, status) in [
            (&b"GET /other HTTP/1.1\r\n\r\n"[..], "404"),
            (b"DELETE / HTTP/1.1\r\n\r\n", "405"),
            (b"\x16\x03\x01", "400"),
            (b"a".repeat(100_000).as_slice(), "431"),
        ] {
            let answer = ask(address, request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        }
        assert!(ask(address, b"GET / HTTP/1.1\r\n\r\n").contains("200 OK"));
    });
}

#[test]
fn a_request_in_pieces_is_put_together() {
    on_both(|address| {
        let mut stream = TcpStream::connect(address).unwrap();
        for piece in b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".chunks(5) {
            stream.write_all(piece).unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("200 OK"));
    });
}

#[test]
fn silent_clients_up_to_the_bound_are_dropped_in_time_and_more_are_turned_away() {
    on_both(|address| {
        let start = Clock::now();
        let mut silent: Vec<_> = (0..CLIENTS_MAX).map(|_| TcpStream::connect(address).unwrap()).collect();
        let mut one_more = TcpStream::connect(address).unwrap();
        assert_eq!(one_more.read(&mut [0]).unwrap_or(0), 0);
        assert!(start.elapsed() < CLIENT_TIMEOUT, "turned away at once");
        for client in &mut silent {
            assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
        }
        assert!(start.elapsed() >= CLIENT_TIMEOUT);
        assert!(ask(address, b"GET / HTTP/1.1\r\n\r\n").contains("200 OK"));
    });
}

#[test]
fn a_busy_address_is_said() {
    let taken = Control::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = taken.local_addr().unwrap();
    assert!(matches!(Control::bind(address), Err(StartError::Busy(busy)) if busy == address));
}
