//! The way out with a make-believe kernel: answers are literals, nothing is sent.

use super::*;
use crate::SocketConfig;

fn outbound(config: &Config) -> Outbound {
    let mut outbound = Outbound::new(config);
    let socket = UdpSocket::bind(&SocketConfig::new("127.0.0.1:0".parse().unwrap())).unwrap();
    outbound.add_socket(&socket);
    outbound
}

fn request(bytes: usize, tag: u64) -> Send {
    Send {
        socket: SocketIndex(0),
        bytes,
        segment_size: 1000,
        source: None,
        remote: "127.0.0.1:9".parse().unwrap(),
        ecn: 0,
        tag,
    }
}

fn queue(outbound: &mut Outbound, request: Send) {
    assert!(outbound.send_buffer().is_some());
    outbound.send(&request);
}

fn take(outbound: &mut Outbound) -> (Mood, Vec<Piece>) {
    let mut pieces = Vec::new();
    let (_, mood) = outbound.take_pieces(1000, &mut pieces).expect("something is queued");
    (mood, pieces)
}

#[test]
fn without_a_send_the_same_buffer_is_lent_again() {
    let mut outbound = outbound(&Config { send_buffers: 2, ..Config::default() });
    let first = outbound.send_buffer().unwrap().as_ptr();
    assert_eq!(outbound.send_buffer().unwrap().as_ptr(), first);
    assert_eq!(outbound.send_buffer().unwrap().len(), SEND_BUFFER_BYTES);
    queue(&mut outbound, request(10, 0));
    queue(&mut outbound, request(10, 0));
    assert!(outbound.send_buffer().is_none(), "both are in use");
    let (mood, pieces) = take(&mut outbound);
    outbound.on_answer(pieces[0], mood, Ok(()));
    assert!(outbound.send_buffer().is_some());
}

#[test]
fn a_refused_train_is_resent_as_datagrams_and_the_next_goes_so_at_once() {
    let mut outbound = outbound(&Config::default());
    queue(&mut outbound, request(2500, 7));
    let (mood, pieces) = take(&mut outbound);
    assert_eq!(pieces.len(), 1);
    outbound.on_answer(pieces[0], mood, Err(libc::EIO));
    assert_eq!(outbound.next_fate(), None);
    let (mood, pieces) = take(&mut outbound);
    assert_eq!(pieces.len(), 3);
    for piece in pieces {
        outbound.on_answer(piece, mood, Ok(()));
    }
    assert_eq!(outbound.next_fate(), Some((7, Fate::NoSegmentation)));
    queue(&mut outbound, request(2500, 8));
    assert_eq!(take(&mut outbound).1.len(), 3);
    assert_eq!(outbound.stats().datagrams_sent, 3);
}

#[test]
fn datagrams_that_are_too_big_do_not_put_segmentation_in_doubt() {
    let mut outbound = outbound(&Config::default());
    queue(&mut outbound, request(2500, 7));
    let (mood, pieces) = take(&mut outbound);
    outbound.on_answer(pieces[0], mood, Err(libc::EINVAL));
    let (mood, pieces) = take(&mut outbound);
    outbound.on_answer(pieces[0], mood, Err(libc::EMSGSIZE));
    outbound.on_answer(pieces[1], mood, Err(libc::ECANCELED));
    outbound.on_answer(pieces[2], mood, Err(libc::ECANCELED));
    assert_eq!(outbound.next_fate(), Some((7, Fate::TooBig)));
    queue(&mut outbound, request(2500, 8));
    assert_eq!(take(&mut outbound).1.len(), 1, "still a train");
}

#[test]
fn a_limit_below_the_train_cuts_it_without_a_word() {
    let mut outbound = outbound(&Config { gso_segments_max: 2, report_sent: true, ..Config::default() });
    queue(&mut outbound, request(5000, 1));
    let (mood, pieces) = take(&mut outbound);
    assert_eq!(pieces.len(), 3);
    for piece in pieces {
        outbound.on_answer(piece, mood, Ok(()));
    }
    assert_eq!(outbound.next_fate(), Some((1, Fate::Sent)));
    assert_eq!((outbound.stats().datagrams_sent, outbound.stats().trains_sent), (5, 1));
}

#[test]
fn requests_that_make_no_sense_fail_and_give_their_buffer_back() {
    let mut outbound = outbound(&Config { send_buffers: 1, ..Config::default() });
    let sane = request(100, 3);
    let bad = [
        Send { bytes: SEND_BUFFER_BYTES + 1, ..sane },
        Send { segment_size: 0, ..sane },
        Send { segment_size: 65_536, ..sane },
        Send { bytes: 65_001, ..sane },
        Send { socket: SocketIndex(1), ..sane },
    ];
    for request in bad {
        queue(&mut outbound, request);
        assert_eq!(outbound.next_fate(), Some((3, Fate::Other(libc::EINVAL))), "{request:?}");
    }
    queue(&mut outbound, Send { remote: "[::1]:9".parse().unwrap(), ..sane });
    assert_eq!(outbound.next_fate(), Some((3, Fate::Unreachable)));
    queue(&mut outbound, Send { bytes: 64_000, ..sane });
    assert_eq!(outbound.stats().send_errors, 6);
    assert_eq!(take(&mut outbound).1.len(), 1, "64 segments are a train");
}

#[test]
fn fates_nobody_fetches_are_forgotten_at_the_bound() {
    let mut outbound = outbound(&Config::default());
    for tag in 0..=FATES_MAX as u64 {
        queue(&mut outbound, Send { segment_size: 0, ..request(1, tag) });
    }
    assert_eq!(outbound.stats().fates_forgotten, 1);
    assert_eq!(outbound.next_fate(), Some((1, Fate::Other(libc::EINVAL))));
}

#[test]
fn error_numbers_become_fates() {
    let failed = Outcome::Failed;
    for (errno, segments, wanted) in [
        (libc::EAGAIN, 64, Outcome::Full),
        (libc::ECANCELED, 1, Outcome::Cancelled),
        (libc::EIO, 2, Outcome::Refused),
        (libc::EIO, 1, failed(Fate::Other(libc::EIO))),
        (libc::EINVAL, 64, Outcome::Refused),
        (libc::EINVAL, 1, failed(Fate::Other(libc::EINVAL))),
        (libc::EMSGSIZE, 64, failed(Fate::TooBig)),
        (libc::EHOSTUNREACH, 1, failed(Fate::Unreachable)),
        (libc::EADDRNOTAVAIL, 1, failed(Fate::Unreachable)),
        (libc::ENOBUFS, 3, failed(Fate::NoRoom)),
        (libc::EPERM, 1, failed(Fate::Other(libc::EPERM))),
    ] {
        assert_eq!(outcome_of(errno, segments), wanted, "errno {errno}");
    }
}
