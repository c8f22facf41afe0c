//! The datagram room at its bounds: what it takes, refuses, drops, and tells of each.

use super::*;
use crate::error::TransportErrorCode;
use crate::wire::frame::Frames;
use crate::wire::receipt::ReceiptKind;

/// Frames that a packet holds in these tests, and the datagram that fills it.
const ROOM: usize = 1000;
const MAX: usize = ROOM - 1;

const ANY: DatagramOptions = DatagramOptions { on_path: None, lifetime: None, report: true };

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn bound(path: u32) -> DatagramOptions {
    DatagramOptions { on_path: Some(PathId(path)), ..ANY }
}

fn brief(ms: u64) -> DatagramOptions {
    DatagramOptions { lifetime: Some(Duration::from_millis(ms)), ..ANY }
}

/// Both ends take datagrams of every size; 10,000 bytes are kept each way.
fn room() -> Datagrams {
    let config = TransportConfig {
        datagram_receive_max: u16::MAX,
        datagram_receive_buffer: 10_000,
        datagram_send_buffer: 10_000,
        ..TransportConfig::default()
    };
    let mut datagrams = Datagrams::new(&config);
    datagrams.on_peer_limit(65_535);
    datagrams
}

fn send(
    datagrams: &mut Datagrams,
    len: usize,
    options: DatagramOptions,
) -> Result<DatagramId, SendDatagramError> {
    let max = datagrams.max_in(65_000);
    datagrams.send(Bytes::from(vec![len as u8; len]), options, max, at(0))
}

/// A packet on `path` with `room` bytes for frames: the lengths of its datagrams, and their receipts.
fn packet(
    datagrams: &mut Datagrams,
    path: u32,
    room: usize,
    bound_only: bool,
    ms: u64,
) -> (Vec<usize>, Vec<Receipt>) {
    let (mut buffer, mut receipts) = (vec![0; room], Receipts::default());
    let mut w = Writer::new(&mut buffer);
    datagrams.write(&mut w, &mut receipts, PathId(path), room, bound_only, at(ms));
    if w.written().is_empty() {
        return (Vec::new(), Vec::new());
    }
    let frames = Frames::new(w.written()).map(|frame| frame.unwrap().1);
    let lens = frames.filter_map(|frame| match frame {
        Frame::Datagram { data, .. } => Some(data.len()),
        Frame::Padding => None,
        other => panic!("{other:?}"),
    });
    let lens = lens.collect();
    datagrams.audit().unwrap();
    (lens, receipts.as_slice().to_vec())
}

fn results(datagrams: &mut Datagrams) -> Vec<(u64, DatagramResult)> {
    std::iter::from_fn(|| datagrams.take_result()).map(|(id, result)| (id.0, result)).collect()
}

fn arrive(datagrams: &mut Datagrams, data: &[u8]) -> Result<(), TransportError> {
    datagrams.on_datagram(&Frame::Datagram { sized: true, data }, data)
}

#[test]
fn datagrams_leave_in_order_and_several_share_a_packet() {
    let mut datagrams = room();
    for len in [300, 0, 400, 500, 20] {
        send(&mut datagrams, len, ANY).unwrap();
    }
    let (lens, receipts) = packet(&mut datagrams, 0, ROOM, false, 1);
    assert_eq!(lens, [300, 0, 400]);
    assert!(receipts.iter().all(|receipt| receipt.kind() == ReceiptKind::Datagram && receipt.report()));
    assert_eq!(receipts.iter().map(Receipt::value).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(packet(&mut datagrams, 0, ROOM, false, 1).0, [500, 20]);
    assert!(datagrams.is_idle());
    assert_eq!(datagrams.stats().sent, 5);
}

#[test]
fn a_datagram_that_fills_the_packet_has_no_length_and_is_its_last_frame() {
    for spare in 0..5 {
        let mut datagrams = room();
        datagrams.on_peer_limit(u64::MAX >> 2);
        send(&mut datagrams, MAX, ANY).unwrap();
        let mut buffer = vec![0; ROOM + spare];
        let (mut receipts, mut w) = (Receipts::default(), Writer::new(&mut buffer));
        datagrams.write(&mut w, &mut receipts, PathId(0), ROOM, false, at(1));
        let sized = spare >= 2;
        if !sized {
            assert_eq!(w.remaining(), 0, "whatever follows would belong to it");
        }
        let last = Frames::new(w.written()).last().unwrap().unwrap();
        assert_eq!(last.0, if sized { 0x31 } else { 0x30 }, "{spare} bytes to spare");
        assert!(matches!(last.1, Frame::Datagram { data, .. } if data == [MAX as u8; MAX]));
    }
}

#[test]
fn the_peers_limit_counts_type_and_length() {
    let largest = |limit| {
        let mut datagrams = room();
        datagrams.on_peer_limit(limit);
        datagrams.max_in(70_000)
    };
    assert_eq!(
        [0, 1, 2, 3, 65, 66, 67].map(largest),
        [0, 0, 1, 2, 64, 64, 65].map(|n: usize| n.checked_sub(1))
    );
    assert_eq!([16_386, 16_387, 16_388, 16_389].map(largest), [16_383, 16_383, 16_383, 16_384].map(Some));
    assert_eq!([65_535, 65_540, 65_541, 1 << 61].map(largest), [65_530, 65_535, 65_535, 65_535].map(Some));
    for limit in 2..300 {
        let len = largest(limit).unwrap();
        let bytes = |len: usize| Frame::Datagram { sized: true, data: &vec![0; len] }.len() as u64;
        assert!(bytes(len) <= limit && bytes(len + 1) > limit, "{limit}");
    }
}

#[test]
fn what_is_too_large_or_not_taken_is_said() {
    let mut datagrams = room();
    let max = datagrams.max_in(ROOM);
    let mut give = |len: usize, max| datagrams.send(Bytes::from(vec![0; len]), ANY, max, at(0));
    assert_eq!(give(MAX + 1, max), Err(SendDatagramError::TooLarge { max: MAX }));
    assert_eq!(give(MAX, max), Ok(DatagramId(0)));
    datagrams.on_peer_limit(0);
    let max = datagrams.max_in(ROOM);
    assert_eq!(datagrams.send(Bytes::new(), ANY, max, at(0)), Err(SendDatagramError::Unsupported));
}

#[test]
fn the_queue_is_bounded_in_bytes_and_says_when_there_is_room_again() {
    let mut datagrams = room();
    for _ in 0..10 {
        send(&mut datagrams, 1000, ANY).unwrap();
    }
    assert_eq!(send(&mut datagrams, 1, ANY), Err(SendDatagramError::Full));
    assert!(send(&mut datagrams, 0, ANY).is_ok(), "it needs no room");
    for _ in 0..2 {
        packet(&mut datagrams, 0, 1010, false, 1);
        assert_eq!(datagrams.next_event(), None, "a quarter must be free");
    }
    packet(&mut datagrams, 0, 1010, false, 1);
    assert!(datagrams.has_event());
    assert_eq!(datagrams.next_event(), Some(Event::DatagramsUnblocked));
    assert!(!datagrams.has_event() && datagrams.next_event().is_none(), "said once");
    assert!(send(&mut datagrams, 1, ANY).is_ok());
}

#[test]
fn one_datagram_is_taken_however_small_the_queue_is() {
    let config = TransportConfig { datagram_send_buffer: 10, ..TransportConfig::default() };
    let mut datagrams = Datagrams::new(&config);
    datagrams.on_peer_limit(65_535);
    assert!(send(&mut datagrams, 500, ANY).is_ok());
    assert_eq!(send(&mut datagrams, 1, ANY), Err(SendDatagramError::Full));
    packet(&mut datagrams, 0, ROOM, false, 1);
    assert_eq!(datagrams.next_event(), Some(Event::DatagramsUnblocked));
}

#[test]
fn the_queue_is_bounded_in_datagrams() {
    let mut datagrams = room();
    for _ in 0..DATAGRAMS_WAITING_MAX {
        send(&mut datagrams, 0, ANY).unwrap();
    }
    assert_eq!(send(&mut datagrams, 0, ANY), Err(SendDatagramError::Full));
    datagrams.audit().unwrap();
}

#[test]
fn what_is_not_read_is_bounded_in_bytes_and_the_oldest_goes() {
    let mut datagrams = room();
    for n in 0..12_u8 {
        arrive(&mut datagrams, &[n; 1000]).unwrap();
        datagrams.audit().unwrap();
    }
    assert_eq!((datagrams.stats().received, datagrams.stats().dropped_unread), (12, 2));
    let firsts = std::iter::from_fn(|| datagrams.read()).map(|bytes| bytes[0]);
    assert_eq!(firsts.collect::<Vec<_>>(), (2..12).collect::<Vec<_>>());
    arrive(&mut datagrams, &vec![7; 20_000]).unwrap();
    assert_eq!(datagrams.read().map(|bytes| bytes.len()), Some(20_000), "one is kept however large it is");
}

#[test]
fn what_is_not_read_is_bounded_in_datagrams() {
    let mut datagrams = room();
    for _ in 0..=DATAGRAMS_UNREAD_MAX {
        arrive(&mut datagrams, &[]).unwrap();
    }
    datagrams.audit().unwrap();
    assert_eq!(datagrams.stats().dropped_unread, 1);
}

#[test]
fn arrivals_are_told_once_until_all_are_read() {
    let mut datagrams = room();
    arrive(&mut datagrams, b"a").unwrap();
    assert_eq!(datagrams.next_event(), Some(Event::DatagramReceived));
    arrive(&mut datagrams, b"b").unwrap();
    assert_eq!(datagrams.next_event(), None);
    assert_eq!(datagrams.read().as_deref(), Some(&b"a"[..]));
    assert_eq!(datagrams.read().as_deref(), Some(&b"b"[..]));
    assert_eq!(datagrams.read(), None);
    assert!(!datagrams.has_event());
    arrive(&mut datagrams, b"c").unwrap();
    assert_eq!(datagrams.next_event(), Some(Event::DatagramReceived));
}

#[test]
fn who_was_not_invited_to_send_datagrams_breaks_the_protocol() {
    // RFC 9221 §3
    let code = |result: Result<(), TransportError>| result.map_err(|error| error.code);
    let mut datagrams = Datagrams::new(&TransportConfig::default());
    assert_eq!(code(arrive(&mut datagrams, b"")), Err(TransportErrorCode::PROTOCOL_VIOLATION));
    let config = TransportConfig { datagram_receive_max: 100, ..TransportConfig::default() };
    let mut datagrams = Datagrams::new(&config);
    assert_eq!(code(arrive(&mut datagrams, &[0; 97])), Ok(()));
    assert_eq!(code(arrive(&mut datagrams, &[0; 98])), Err(TransportErrorCode::PROTOCOL_VIOLATION));
    let bare = [0; 99];
    let frame = Frame::Datagram { sized: false, data: &bare };
    assert_eq!(code(datagrams.on_datagram(&frame, &bare)), Ok(()), "without a length there is room for more");
}

#[test]
fn each_fate_is_told_once_and_only_to_who_asked() {
    let mut datagrams = room();
    send(&mut datagrams, 1, ANY).unwrap();
    send(&mut datagrams, 2, DatagramOptions { report: false, ..ANY }).unwrap();
    send(&mut datagrams, 3, ANY).unwrap();
    let (_, receipts) = packet(&mut datagrams, 0, ROOM, false, 1);
    datagrams.on_acked(&receipts[0]);
    datagrams.on_lost(&receipts[1]);
    datagrams.on_lost(&receipts[2]);
    assert_eq!(datagrams.next_event(), Some(Event::DatagramsSettled));
    assert_eq!(datagrams.next_event(), None);
    assert_eq!(results(&mut datagrams), [(0, DatagramResult::Acked), (2, DatagramResult::Lost)]);
    assert_eq!((datagrams.stats().sent, datagrams.stats().lost), (3, 2));
}

#[test]
fn results_that_nobody_fetches_are_bounded_and_the_oldest_goes() {
    let mut datagrams = room();
    for id in 0..=DATAGRAM_RESULTS_MAX as u64 {
        datagrams.on_acked(&Receipt::datagram(id, 0, true));
    }
    datagrams.audit().unwrap();
    assert_eq!(datagrams.stats().dropped_results, 1);
    assert_eq!(datagrams.take_result(), Some((DatagramId(1), DatagramResult::Acked)));
}

#[test]
fn one_that_is_too_old_never_leaves() {
    let mut datagrams = room();
    send(&mut datagrams, 1, brief(10)).unwrap();
    send(&mut datagrams, 2, ANY).unwrap();
    send(&mut datagrams, 3, brief(30)).unwrap();
    assert_eq!(datagrams.deadline(), Some(at(10)));
    assert_eq!(packet(&mut datagrams, 0, 3, false, 10).0, [2], "though nobody looked for old ones yet");
    let open = |_| Outlook::Open;
    datagrams.prune(at(10), open);
    assert_eq!(results(&mut datagrams), [(0, DatagramResult::Expired)]);
    assert_eq!(datagrams.deadline(), Some(at(30)));
    datagrams.prune(at(29), open);
    assert_eq!(results(&mut datagrams), []);
    datagrams.prune(at(31), open);
    assert_eq!(results(&mut datagrams), [(2, DatagramResult::Expired)]);
    assert_eq!((datagrams.deadline(), datagrams.stats().dropped_unsent), (None, 2));
    datagrams.audit().unwrap();
}

#[test]
fn old_ones_are_looked_for_once_a_millisecond_at_most() {
    let mut datagrams = room();
    send(&mut datagrams, 1, brief(10)).unwrap();
    datagrams.prune(at(10), |_| Outlook::Open);
    datagrams.send(Bytes::new(), brief(0), Some(MAX), at(10)).unwrap();
    assert_eq!(datagrams.deadline(), Some(at(11)));
    assert_eq!(packet(&mut datagrams, 0, ROOM, false, 10).0, [0; 0]);
}

#[test]
fn a_large_one_waits_for_its_path_and_holds_up_nobody() {
    // MP-299
    let mut datagrams = room();
    send(&mut datagrams, 2000, ANY).unwrap();
    send(&mut datagrams, 10, ANY).unwrap();
    assert!(datagrams.has_for(PathId(0), ROOM, false, at(1)));
    assert_eq!(packet(&mut datagrams, 0, ROOM, false, 1).0, [10]);
    assert!(!datagrams.has_for(PathId(0), ROOM, false, at(1)));
    assert!(datagrams.has_for(PathId(1), 3000, false, at(1)));
    assert_eq!(packet(&mut datagrams, 1, 3000, false, 1).0, [2000]);
}

#[test]
fn a_large_one_is_dropped_when_only_smaller_paths_are_left() {
    // MP-299
    let mut datagrams = room();
    send(&mut datagrams, MAX + 1, ANY).unwrap();
    send(&mut datagrams, MAX, ANY).unwrap();
    datagrams.prune(at(1), |_| Outlook::Open);
    datagrams.prune(at(1), |_| Outlook::UpTo(ROOM + 1));
    assert_eq!(results(&mut datagrams), []);
    datagrams.prune(at(1), |_| Outlook::UpTo(ROOM));
    assert_eq!(results(&mut datagrams), [(0, DatagramResult::TooLarge)]);
    assert_eq!(packet(&mut datagrams, 0, ROOM, false, 1).0, [MAX]);
}

#[test]
fn many_large_ones_hold_up_others_only_beyond_the_look_ahead() {
    let look_ahead = crate::stream::lanes::LOOK_AHEAD;
    let mut datagrams = room();
    for _ in 0..look_ahead - 1 {
        send(&mut datagrams, 60, ANY).unwrap();
    }
    send(&mut datagrams, 10, ANY).unwrap();
    send(&mut datagrams, 11, ANY).unwrap();
    assert_eq!(packet(&mut datagrams, 0, 50, false, 1).0, [10, 11], "the first made room for the second");
    send(&mut datagrams, 60, ANY).unwrap();
    send(&mut datagrams, 12, ANY).unwrap();
    assert_eq!(packet(&mut datagrams, 0, 50, false, 1).0, [0; 0]);
    assert_eq!(packet(&mut datagrams, 1, 100, false, 1).0, [60]);
    assert_eq!(packet(&mut datagrams, 0, 50, false, 1).0, [12]);
}

#[test]
fn bound_ones_leave_on_their_path_in_the_order_of_all() {
    let mut datagrams = room();
    for (len, options) in [(1, bound(1)), (2, ANY), (3, bound(2)), (4, bound(1))] {
        send(&mut datagrams, len, options).unwrap();
    }
    assert_eq!(datagrams.bound_paths().collect::<Vec<_>>(), [PathId(1), PathId(2)]);
    assert_eq!(datagrams.unbound_load(), 2);
    assert_eq!(packet(&mut datagrams, 2, ROOM, true, 1).0, [3]);
    assert_eq!(packet(&mut datagrams, 1, ROOM, false, 1).0, [1, 2, 4]);
    assert!(datagrams.is_idle());
}

#[test]
fn bound_ones_go_with_their_path() {
    let mut datagrams = room();
    for options in [bound(1), ANY, bound(2)] {
        send(&mut datagrams, 5, options).unwrap();
    }
    let gone = |bound_to| if bound_to == Some(PathId(1)) { Outlook::Gone } else { Outlook::UpTo(ROOM) };
    datagrams.prune(at(1), gone);
    assert_eq!(results(&mut datagrams), [(0, DatagramResult::PathGone)]);
    assert_eq!(datagrams.bound_paths().collect::<Vec<_>>(), [PathId(2)]);
    datagrams.audit().unwrap();
}

#[test]
fn one_that_does_not_fit_behind_acknowledgements_goes_first_next_time() {
    let mut datagrams = room();
    send(&mut datagrams, MAX, ANY).unwrap();
    let mut buffer = [0; ROOM];
    let (mut receipts, mut w) = (Receipts::default(), Writer::new(&mut buffer));
    Frame::Ping.write(&mut w);
    receipts.push(Receipt::ack(PathId(0), 1));
    assert_ne!(datagrams.place(), Place::First);
    datagrams.write(&mut w, &mut receipts, PathId(0), ROOM, false, at(1));
    assert_eq!((w.len(), datagrams.is_idle()), (1, false));
    assert_eq!(datagrams.place(), Place::First);
    assert_ne!(datagrams.place(), Place::First);
}

#[test]
fn streams_go_first_in_one_packet_of_four() {
    let mut datagrams = room();
    let places: Vec<_> = (0..8).map(|_| datagrams.place()).collect();
    let behind = places.iter().filter(|&&place| place == Place::AfterStreams).count();
    assert_eq!(behind, 2, "{places:?}");
    assert_eq!((places[3], places[7]), (Place::AfterStreams, Place::AfterStreams));
}

#[test]
fn a_quiet_room_gives_its_memory_back_and_a_busy_one_keeps_it() {
    let mut datagrams = room();
    for round in 0..3 {
        for _ in 0..100 {
            send(&mut datagrams, 10, ANY).unwrap();
        }
        while !datagrams.is_idle() {
            packet(&mut datagrams, 0, ROOM, false, round);
        }
    }
    assert!(datagrams.has_spare());
    send(&mut datagrams, 10, ANY).unwrap();
    assert!(!datagrams.has_spare(), "in use");
    packet(&mut datagrams, 0, ROOM, false, 9);
    datagrams.trim();
    assert!(!datagrams.has_spare());
    datagrams.audit().unwrap();
}
