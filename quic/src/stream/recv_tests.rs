//! Tests of the receiving half: final sizes, windows, and every way a half can end.

use super::*;

const RTT: Duration = Duration::from_millis(10);

struct Peer {
    half: RecvHalf,
    connection: Window,
    blocks: Blocks,
}

impl Peer {
    fn new(window: u64, connection: u64) -> Self {
        Self {
            half: RecvHalf::new(Window::new(window, window)),
            connection: Window::new(connection, connection),
            blocks: Blocks::new(),
        }
    }

    fn sends(&mut self, offset: u64, data: &[u8], fin: bool) -> Result<u64, TransportErrorCode> {
        self.half
            .on_stream(offset, data, fin, &mut self.connection, &mut self.blocks)
            .map_err(|error| error.code)
    }

    fn resets(&mut self, code: u64, size: u64) -> Result<(), TransportErrorCode> {
        self.half
            .on_reset_stream(code, size, &mut self.connection, &mut self.blocks)
            .map_err(|error| error.code)
    }

    fn is_stopped(&mut self, code: u64) {
        self.half.stop(code, &mut self.connection, &mut self.blocks);
    }

    fn consumed(&mut self, count: u64) -> u64 {
        self.half.consume(count, Instant::ZERO, RTT, &mut self.connection, &mut self.blocks)
    }

    /// How much of the connection's window was given back.
    fn returned(&self) -> u64 {
        self.connection.target() - Peer::new(1000, 1000).connection.target()
    }
}

const SIZE: TransportErrorCode = TransportErrorCode::FINAL_SIZE_ERROR;
const FLOW: TransportErrorCode = TransportErrorCode::FLOW_CONTROL_ERROR;

#[test]
fn a_final_size_cannot_change_or_be_passed() {
    let mut peer = Peer::new(1000, 1000);
    peer.sends(0, b"hello", false).unwrap();
    assert_eq!(peer.sends(0, b"hell", true), Err(SIZE), "below what was received");
    peer.sends(5, b"x", true).unwrap();
    assert_eq!(peer.sends(0, b"hello", true), Err(SIZE));
    assert_eq!(peer.sends(5, b"xy", false), Err(SIZE));
    assert_eq!(peer.resets(0, 7), Err(SIZE));
    assert_eq!(peer.sends(6, b"", true), Ok(0));
    assert_eq!(peer.sends(0, b"hello", false), Ok(0));
}

#[test]
fn a_reset_cannot_shrink_the_stream_and_later_frames_obey_its_size() {
    let mut peer = Peer::new(1000, 1000);
    peer.sends(0, b"hello", false).unwrap();
    assert_eq!(peer.resets(1, 4), Err(SIZE));
    assert_eq!(peer.resets(1, 10), Ok(()));
    assert_eq!(peer.resets(1, 11), Err(SIZE));
    assert_eq!(peer.sends(5, b"late", false), Ok(0));
    assert_eq!(peer.sends(10, b"x", false), Err(SIZE));
}

#[test]
fn the_size_is_kept_even_after_the_half_is_over() {
    let mut peer = Peer::new(1000, 1000);
    peer.sends(0, b"hello", true).unwrap();
    peer.consumed(5);
    assert!(peer.half.is_closed());
    assert_eq!(peer.sends(5, b"x", false), Err(SIZE));
    assert_eq!(peer.sends(0, b"hello", true), Ok(0));
}

#[test]
fn both_windows_are_watched_for_bytes_and_for_resets() {
    assert_eq!(Peer::new(4, 1000).sends(0, b"hello", false), Err(FLOW));
    assert_eq!(Peer::new(1000, 4).sends(0, b"hello", false), Err(FLOW));
    assert_eq!(Peer::new(4, 1000).resets(0, 5), Err(FLOW));
    assert_eq!(Peer::new(1000, 4).resets(0, 5), Err(FLOW));
    assert_eq!(Peer::new(4, 4).sends(4, b"", false), Ok(0));
    assert_eq!(Peer::new(5, 5).sends(0, b"hello", false), Ok(5));
}

#[test]
fn a_gap_counts_against_the_window_once() {
    let mut peer = Peer::new(10, 10);
    assert_eq!(peer.sends(9, b"j", false), Ok(1));
    assert_eq!(peer.sends(0, b"abcdefghi", false), Ok(9));
    assert_eq!(peer.sends(9, b"jk", false), Err(FLOW));
}

#[test]
fn offsets_beyond_the_wire_are_malformed() {
    let mut peer = Peer::new(u64::MAX, u64::MAX);
    let code = TransportErrorCode::FRAME_ENCODING_ERROR;
    assert_eq!(peer.sends(VARINT_MAX, b"x", false), Err(code));
    assert_eq!(peer.sends(VARINT_MAX, b"", true), Ok(0));
}

#[test]
fn a_reset_gives_back_all_that_will_never_be_read() {
    let mut peer = Peer::new(1000, 1000);
    peer.sends(0, &[0; 300], false).unwrap();
    peer.consumed(100);
    assert_eq!(peer.returned(), 100);
    peer.resets(7, 400).unwrap();
    assert_eq!((peer.returned(), peer.half.blocks_used()), (400, 0));
    assert!(peer.half.has_news() && !peer.half.is_closed());
    assert!(matches!(peer.half.read(), Found::Reset { code: 7 }));
    assert!(peer.half.is_closed());
    assert!(matches!(peer.half.read(), Found::Nothing));
}

#[test]
fn a_reset_after_everything_arrived_is_not_needed() {
    let mut peer = Peer::new(1000, 1000);
    peer.sends(0, b"hello", true).unwrap();
    peer.resets(7, 5).unwrap();
    assert!(matches!(peer.half.read(), Found::Bytes { end: true }));
    assert_eq!(peer.half.slices().0, b"hello");
}

#[test]
fn a_stopped_half_gives_credit_back_as_bytes_come_and_waits_for_their_end() {
    let mut peer = Peer::new(1000, 1000);
    peer.sends(0, &[0; 300], false).unwrap();
    peer.is_stopped(9);
    assert_eq!((peer.returned(), peer.half.stop_due()), (300, Some(9)));
    peer.half.on_stop_written();
    peer.half.on_stop_acked();
    assert_eq!(
        peer.sends(500, &[0; 100], false),
        Ok(100),
        "what came, although the highest offset grew by more"
    );
    assert_eq!((peer.returned(), peer.half.blocks_used()), (600, 0));
    assert!(!peer.half.limit_due() && !peer.half.has_news() && !peer.half.is_closed());
    peer.half.on_stop_lost();
    assert_eq!(peer.half.stop_due(), Some(9));
    peer.resets(9, 700).unwrap();
    assert_eq!((peer.returned(), peer.half.stop_due()), (700, None));
    assert!(peer.half.is_closed(), "the application gave it up and need not hear of the reset");
}

#[test]
fn a_fin_ends_a_stopped_half_too() {
    let mut peer = Peer::new(1000, 1000);
    peer.is_stopped(9);
    peer.sends(300, b"hello", true).unwrap();
    assert_eq!(peer.returned(), 305);
    assert!(peer.half.is_closed());
}

#[test]
fn stopping_with_the_size_known_lasts_until_the_peer_has_heard_of_it() {
    let mut peer = Peer::new(1000, 1000);
    peer.sends(300, b"hello", true).unwrap();
    peer.is_stopped(9);
    assert_eq!((peer.returned(), peer.half.stop_due()), (305, Some(9)));
    peer.sends(0, b"late", false).unwrap();
    assert!(!peer.half.is_closed());
    peer.half.on_stop_acked();
    assert!(peer.half.is_closed());
}

#[test]
fn stopping_what_has_arrived_or_was_reset_asks_nothing_of_the_peer() {
    let mut peer = Peer::new(1000, 1000);
    peer.sends(0, b"hello", true).unwrap();
    peer.is_stopped(9);
    assert_eq!((peer.half.stop_due(), peer.half.is_closed(), peer.returned()), (None, true, 5));
    let mut peer = Peer::new(1000, 1000);
    peer.resets(1, 0).unwrap();
    peer.is_stopped(9);
    assert_eq!((peer.half.stop_due(), peer.half.is_closed(), peer.half.has_news()), (None, true, false));
}

#[test]
fn the_end_is_news_also_without_bytes() {
    let mut peer = Peer::new(1000, 1000);
    peer.sends(0, b"", true).unwrap();
    assert!(peer.half.has_news());
    assert!(matches!(peer.half.read(), Found::End));
    assert!(peer.half.is_closed());
}

#[test]
fn news_is_told_once_until_the_application_reads() {
    let mut peer = Peer::new(1000, 1000);
    peer.sends(5, b"later", false).unwrap();
    assert!(!peer.half.has_news(), "behind a gap");
    peer.sends(0, b"hello", false).unwrap();
    assert!(peer.half.has_news());
    peer.half.on_told();
    peer.sends(10, b"more", false).unwrap();
    assert!(!peer.half.has_news());
    peer.half.read();
    assert!(!peer.half.has_news());
    peer.sends(14, b"x", false).unwrap();
    assert!(peer.half.has_news());
}

#[test]
fn the_end_is_shown_only_with_the_last_slices() {
    let mut peer = Peer::new(1 << 20, 1 << 20);
    peer.sends(0, &vec![7; 50_000], true).unwrap();
    assert!(matches!(peer.half.read(), Found::Bytes { end: false }));
    assert_eq!(peer.consumed(32_768), 32_768);
    assert!(matches!(peer.half.read(), Found::Bytes { end: true }));
    assert_eq!(peer.consumed(u64::MAX), 17_232);
    assert!(peer.half.is_closed() && !peer.half.has_news());
    assert_eq!(peer.consumed(1), 0);
}

#[test]
fn no_limit_is_announced_once_the_size_is_known() {
    let mut peer = Peer::new(100, 1000);
    peer.sends(0, &[0; 60], false).unwrap();
    peer.consumed(60);
    assert!(peer.half.limit_due());
    peer.sends(60, b"x", true).unwrap();
    assert!(!peer.half.limit_due());
}
