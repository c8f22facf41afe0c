//! Tests of the sending half: how frames are cut, and every way a half can end.

use super::*;
use crate::id::{Direction, Role};

const BUFFER: u64 = 1 << 20;

fn id() -> StreamId {
    StreamId::new(Role::Client, Direction::Bidirectional, 0)
}

fn half(limit: u64, written: &'static [u8]) -> SendHalf {
    let mut half = SendHalf::new(limit);
    assert_eq!(half.write([Bytes::from_static(written)], BUFFER), Ok(written.len() as u64));
    half
}

/// Sends what is fresh into a packet of `room` bytes; returns the receipt.
fn fresh(half: &mut SendHalf, room: usize) -> Option<Receipt> {
    let (mut packet, mut receipts) = ([0; 2000], Receipts::default());
    half.write_fresh(id(), u64::MAX, &mut Writer::new(&mut packet[..room]), &mut receipts)?;
    receipts.iter().next().copied()
}

fn repair(half: &mut SendHalf) -> Option<Receipt> {
    let (mut packet, mut receipts) = ([0; 2000], Receipts::default());
    half.write_repair(id(), &mut Writer::new(&mut packet), &mut receipts)?;
    receipts.iter().next().copied()
}

fn acked(half: &mut SendHalf, receipt: Receipt) {
    half.on_acked(receipt.offset(), receipt.len(), receipt.fin());
}

fn lost(half: &mut SendHalf, receipt: Receipt) {
    half.on_lost(receipt.offset(), receipt.len(), receipt.fin());
}

#[test]
fn a_frame_without_length_fills_the_packet_exactly() {
    // Type and stream number are 2 bytes at offset 0, an offset up to 63 is one more.
    assert_eq!(cut(id(), 0, 1000, 100), Some(Cut { len: 98, to_the_end: true }));
    assert_eq!(cut(id(), 0, 98, 100), Some(Cut { len: 98, to_the_end: true }));
    assert_eq!(cut(id(), 20, 1000, 100), Some(Cut { len: 97, to_the_end: true }));
}

#[test]
fn a_frame_with_length_leaves_the_rest_of_the_packet() {
    assert_eq!(cut(id(), 0, 40, 100), Some(Cut { len: 40, to_the_end: false }));
    assert_eq!(
        cut(id(), 0, 97, 100),
        Some(Cut { len: 96, to_the_end: false }),
        "a length of 97 takes 2 bytes"
    );
}

#[test]
fn a_sliver_of_a_long_piece_waits_for_the_next_packet() {
    assert_eq!(cut(id(), 0, 1000, FRAGMENT_MIN_BYTES + 1), None);
    assert!(cut(id(), 0, 1000, FRAGMENT_MIN_BYTES + 2).is_some());
    assert_eq!(cut(id(), 0, 3, 6), Some(Cut { len: 3, to_the_end: false }), "but a short piece may go");
    assert_eq!(cut(id(), 0, 1, 2), None);
    assert_eq!(cut(id(), 0, 1, 1), None);
}

#[test]
fn a_lone_fin_fits_into_its_header() {
    assert_eq!(cut(id(), 0, 0, 2), Some(Cut { len: 0, to_the_end: true }));
    assert_eq!(cut(id(), 0, 0, 3), Some(Cut { len: 0, to_the_end: false }));
    assert_eq!(cut(id(), 0, 0, 1), None);
}

#[test]
fn the_fin_rides_on_the_last_byte() {
    let mut half = half(100, b"hello");
    half.finish().unwrap();
    assert_eq!(half.load(), Load { fresh_bytes: 5, ..Load::default() });
    let receipt = fresh(&mut half, 100).unwrap();
    assert_eq!((receipt.len(), receipt.fin()), (5, true));
    assert_eq!(half.load(), Load::default());
    acked(&mut half, receipt);
    assert!(half.is_closed() && half.finish_news());
}

#[test]
fn an_empty_stream_is_a_lone_fin() {
    let mut half = SendHalf::new(0);
    half.finish().unwrap();
    assert!(half.load().fin_only);
    let receipt = fresh(&mut half, 100).unwrap();
    assert_eq!((receipt.offset(), receipt.len(), receipt.fin()), (0, 0, true));
    assert!(!half.load().fin_only && !half.is_closed());
    lost(&mut half, receipt);
    assert_eq!(half.load().repair_bytes, 1);
    let receipt = repair(&mut half).unwrap();
    assert!(receipt.fin());
    acked(&mut half, receipt);
    assert!(half.is_closed());
}

#[test]
fn a_fin_that_comes_after_the_bytes_were_acknowledged_still_has_to_arrive() {
    let mut half = half(100, b"hello");
    let bytes = fresh(&mut half, 100).unwrap();
    acked(&mut half, bytes);
    half.finish().unwrap();
    assert!(half.load().fin_only && !half.is_closed());
    let fin = fresh(&mut half, 100).unwrap();
    assert_eq!((fin.offset(), fin.len(), fin.fin()), (5, 0, true));
    acked(&mut half, fin);
    acked(&mut half, fin);
    assert!(half.is_closed());
}

#[test]
fn an_acknowledged_fin_is_not_repaired_when_another_copy_is_lost() {
    let mut half = half(100, b"hello");
    half.finish().unwrap();
    let first = fresh(&mut half, 100).unwrap();
    lost(&mut half, first);
    let second = repair(&mut half).unwrap();
    assert_eq!((second.len(), second.fin()), (5, true));
    acked(&mut half, first);
    lost(&mut half, second);
    assert_eq!(half.load(), Load::default());
    assert!(half.is_closed());
}

#[test]
fn fresh_bytes_end_at_the_peers_limit_and_the_fin_waits() {
    let mut half = half(3, b"hello");
    half.finish().unwrap();
    assert_eq!(half.load().fresh_bytes, 3);
    let receipt = fresh(&mut half, 100).unwrap();
    assert_eq!((receipt.len(), receipt.fin()), (3, false));
    assert!(half.blocked_due());
    half.on_blocked_written();
    assert!(!half.blocked_due());
    half.on_limit(5);
    let receipt = fresh(&mut half, 100).unwrap();
    assert_eq!((receipt.offset(), receipt.len(), receipt.fin()), (3, 2, true));
}

#[test]
fn a_reset_names_what_was_sent_and_never_changes() {
    let mut half = half(100, &[1; 50]);
    let receipt = fresh(&mut half, 22).unwrap();
    let sent = receipt.len();
    assert_eq!(sent, 20);
    half.reset(7);
    half.reset(8);
    half.on_stop_sending(9);
    assert_eq!(half.reset_due(), Some((7, sent)));
    half.on_reset_written();
    assert_eq!(half.reset_due(), None);
    half.on_reset_lost();
    assert_eq!(half.reset_due(), Some((7, sent)));
    acked(&mut half, receipt);
    lost(&mut half, receipt);
    assert_eq!(half.load(), Load::default());
    half.on_reset_acked();
    half.on_reset_lost();
    assert_eq!(half.reset_due(), None);
    assert!(half.is_closed() && half.finish_news() && half.stop_news().is_none());
    assert_eq!(half.write([Bytes::from_static(b"x")], BUFFER), Err(WriteError::Reset));
}

#[test]
fn a_stopped_half_answers_with_the_peers_code_and_tells_it() {
    let mut half = half(100, b"hello");
    half.on_stop_sending(9);
    assert_eq!((half.reset_due(), half.stop_news()), (Some((9, 0)), Some(9)));
    assert_eq!(half.write([Bytes::from_static(b"x")], BUFFER), Err(WriteError::Stopped(9)));
    assert_eq!(half.finish(), Err(WriteError::Stopped(9)));
    half.on_stop_told();
    assert_eq!(half.stop_news(), None);
}

#[test]
fn a_half_that_is_over_cannot_be_reset_or_stopped() {
    let mut half = half(100, b"hello");
    half.finish().unwrap();
    let receipt = fresh(&mut half, 100).unwrap();
    acked(&mut half, receipt);
    half.reset(1);
    half.on_stop_sending(2);
    assert_eq!((half.reset_due(), half.stop_news()), (None, None));
}

#[test]
fn a_write_is_cut_at_the_buffer_and_told_when_a_quarter_is_free() {
    let mut half = SendHalf::new(1000);
    let chunks = [Bytes::from_static(&[1; 60]), Bytes::new(), Bytes::from_static(&[2; 60])];
    assert_eq!(half.write(chunks, 100), Ok(100));
    assert!(!half.room_news(100));
    assert_eq!(half.write([Bytes::from_static(b"x")], 100), Ok(0));
    fresh(&mut half, 300).unwrap();
    half.on_acked(0, 24, false);
    assert!(!half.room_news(100));
    half.on_acked(24, 1, false);
    assert!(half.room_news(100));
    half.on_room_told();
    assert!(!half.room_news(100));
    assert_eq!(half.write([Bytes::from_static(&[3; 25])], 100), Ok(25));
    half.on_acked(25, 75, false);
    assert!(!half.room_news(100), "a write that was taken whole waits for nothing");
}

#[test]
fn finished_halves_take_no_more() {
    let mut half = half(100, b"hello");
    half.finish().unwrap();
    assert_eq!(half.write([Bytes::from_static(b"x")], BUFFER), Err(WriteError::Finished));
    assert_eq!(half.finish(), Err(WriteError::Finished));
    assert_eq!(half.state(), SendState::Finished { unacknowledged: 5 });
}
