//! Tests of all streams together: which frame may come when, turns, credit, events, and what is left in the end.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::base::time::Instant;
use crate::error::{TransportError, TransportErrorCode};
use crate::wire::cursor::Writer;
use crate::wire::frame::{Frame, Frames};
use crate::wire::receipt::{Receipt, Receipts};

const RTT: Duration = Duration::from_millis(10);
const BIDI: Direction = Direction::Bidirectional;
const UNI: Direction = Direction::Unidirectional;

pub(super) fn config() -> TransportConfig {
    TransportConfig {
        stream_window: 10_000,
        stream_window_max: 10_000,
        connection_window: 20_000,
        connection_window_max: 20_000,
        send_buffer: 100_000,
        max_streams_bidirectional: 8,
        max_streams_unidirectional: 8,
        ..TransportConfig::default()
    }
}

pub(super) const LIMITS: PeerLimits = PeerLimits {
    max_data: 20_000,
    stream_data_bidi_local: 10_000,
    stream_data_bidi_remote: 10_000,
    stream_data_uni: 10_000,
    max_streams_bidi: 8,
    max_streams_uni: 8,
};

/// A server whose peer allows what `LIMITS` says.
fn server() -> Streams {
    let mut streams = Streams::new(Role::Server, &config(), 1);
    streams.on_peer_params(&LIMITS);
    streams
}

fn theirs(direction: Direction, index: u64) -> StreamId {
    StreamId::new(Role::Client, direction, index)
}

fn ours(direction: Direction, index: u64) -> StreamId {
    StreamId::new(Role::Server, direction, index)
}

fn code<T: fmt::Debug>(result: Result<T, TransportError>) -> TransportErrorCode {
    result.unwrap_err().code
}

/// One packet of `room` bytes: what was written, and the receipts.
fn packet(streams: &mut Streams, room: usize, fresh: bool) -> (Vec<u8>, Vec<Receipt>) {
    let (mut buffer, mut receipts) = (vec![0; room], Receipts::default());
    let mut writer = Writer::new(&mut buffer);
    streams.write_control(&mut writer, &mut receipts);
    streams.write_data(&mut writer, &mut receipts, fresh);
    streams.audit().unwrap();
    (writer.written().to_vec(), receipts.as_slice().to_vec())
}

fn frames(packet: &[u8]) -> Vec<Frame<'_>> {
    Frames::new(packet).filter(|_| !packet.is_empty()).map(|frame| frame.unwrap().1).collect()
}

fn written(streams: &mut Streams, id: StreamId, len: usize) -> u64 {
    streams.write(id, [Bytes::from(vec![7; len])]).unwrap()
}

fn events(streams: &mut Streams) -> Vec<Event> {
    std::iter::from_fn(|| streams.next_event()).collect()
}

fn acked(streams: &mut Streams, receipts: &[Receipt]) {
    for receipt in receipts {
        streams.on_acked(receipt);
    }
    streams.audit().unwrap();
}

fn lost(streams: &mut Streams, receipts: &[Receipt]) {
    for receipt in receipts {
        streams.on_lost(receipt);
    }
    streams.audit().unwrap();
}

#[test]
fn frames_for_our_streams_that_we_never_opened_are_state_errors() {
    let mut streams = server();
    let id = ours(BIDI, 0);
    let error = TransportErrorCode::STREAM_STATE_ERROR;
    assert_eq!(code(streams.on_stream(id, 0, b"", false)), error);
    assert_eq!(code(streams.on_reset_stream(id, 0, 0)), error);
    assert_eq!(code(streams.on_stop_sending(id, 0)), error);
    assert_eq!(code(streams.on_max_stream_data(id, 0)), error);
    assert_eq!(code(streams.on_stream_data_blocked(id)), error);
}

#[test]
fn frames_for_the_half_that_a_stream_lacks_are_state_errors() {
    let mut streams = server();
    let sent = streams.open(UNI).unwrap();
    let error = TransportErrorCode::STREAM_STATE_ERROR;
    assert_eq!(code(streams.on_stream(sent, 0, b"", false)), error);
    assert_eq!(code(streams.on_reset_stream(sent, 0, 0)), error);
    assert_eq!(code(streams.on_stream_data_blocked(sent)), error);
    let received = theirs(UNI, 0);
    assert_eq!(code(streams.on_stop_sending(received, 0)), error);
    assert_eq!(code(streams.on_max_stream_data(received, 0)), error);
    assert!(!streams.has_event(), "and none of them opened the stream");
}

#[test]
fn the_first_stream_beyond_the_limit_is_an_error_whatever_the_frame() {
    let error = TransportErrorCode::STREAM_LIMIT_ERROR;
    assert_eq!(code(server().on_stream(theirs(BIDI, 8), 0, b"", false)), error);
    assert_eq!(code(server().on_stop_sending(theirs(BIDI, 8), 0)), error);
    assert_eq!(code(server().on_max_stream_data(theirs(BIDI, 8), 0)), error);
    assert_eq!(code(server().on_reset_stream(theirs(UNI, 1 << 59), 0, 0)), error);
    server().on_stream(theirs(BIDI, 7), 0, b"", false).unwrap();
}

#[test]
fn more_streams_than_can_be_numbered_are_malformed() {
    let error = TransportErrorCode::FRAME_ENCODING_ERROR;
    assert_eq!(code(server().on_max_streams(BIDI, (1 << 60) + 1)), error);
    assert_eq!(code(server().on_streams_blocked(UNI, (1 << 60) + 1)), error);
    server().on_max_streams(UNI, 1 << 60).unwrap();
    server().on_streams_blocked(BIDI, 1 << 60).unwrap();
}

#[test]
fn a_high_stream_opens_those_below_and_the_application_hears_of_each_in_order() {
    let mut streams = server();
    streams.on_stream(theirs(BIDI, 3), 0, b"hi", false).unwrap();
    assert_eq!(streams.slots.len(), 1, "the others take no memory");
    let opened = (0..4).map(|index| Event::StreamOpened(theirs(BIDI, index)));
    assert_eq!(events(&mut streams), opened.chain([Event::Readable(theirs(BIDI, 3))]).collect::<Vec<_>>());
    assert_eq!(written(&mut streams, theirs(BIDI, 1), 5), 5, "a silent stream can be used");
    assert_eq!(streams.read(theirs(BIDI, 2)), Ok(Slices::default()));
    streams.on_stream(theirs(BIDI, 0), 0, b"x", false).unwrap();
    assert_eq!((streams.slots.len(), events(&mut streams)), (4, vec![Event::Readable(theirs(BIDI, 0))]));
}

#[test]
fn a_stream_that_is_gone_ignores_every_late_frame_and_receipt() {
    let mut streams = server();
    let id = theirs(BIDI, 0);
    streams.on_stream(id, 0, b"ping", true).unwrap();
    written(&mut streams, id, 4);
    streams.finish(id).unwrap();
    let (_, receipts) = packet(&mut streams, 1200, true);
    assert_eq!(streams.consume(id, 4, Instant::ZERO, RTT), 4);
    acked(&mut streams, &receipts);
    assert_eq!(events(&mut streams), [Event::StreamOpened(id), Event::Finished(id)]);
    assert_eq!((streams.slots.len(), streams.by_id.len()), (0, 0));
    acked(&mut streams, &receipts);
    lost(&mut streams, &receipts);
    assert_eq!(streams.on_stream(id, 0, b"ping", true), Ok(0));
    assert_eq!(streams.on_stream(id, 9_000, b"wrong, but who knows", false), Ok(0));
    assert_eq!(streams.on_reset_stream(id, 0, 4), Ok(()));
    assert_eq!(streams.on_stop_sending(id, 0), Ok(()));
    assert_eq!(streams.on_max_stream_data(id, 1 << 40), Ok(()));
    assert_eq!(streams.on_stream_data_blocked(id), Ok(()));
    assert_eq!(streams.read(id), Err(ReadError::UnknownStream));
    assert_eq!(streams.write(id, []), Err(WriteError::UnknownStream));
    assert_eq!((streams.pending(), streams.has_event()), (Pending::default(), false));
}

#[test]
fn closed_streams_of_the_peer_are_replaced_by_credit_and_only_once() {
    let mut streams = server();
    streams.on_stream(theirs(UNI, 0), 0, b"", true).unwrap();
    assert!(!streams.wants_control());
    assert!(streams.read(theirs(UNI, 0)).unwrap().fin);
    assert!(streams.wants_control());
    let (bytes, receipts) = packet(&mut streams, 1200, true);
    assert_eq!(frames(&bytes), [Frame::MaxStreams { direction: UNI, max: 9 }]);
    assert!(!streams.wants_control());
    streams.on_stream(theirs(UNI, 1), 0, b"", true).unwrap();
    streams.read(theirs(UNI, 1)).unwrap();
    lost(&mut streams, &receipts);
    let (bytes, later) = packet(&mut streams, 1200, true);
    assert_eq!(frames(&bytes), [Frame::MaxStreams { direction: UNI, max: 10 }], "the present value");
    lost(&mut streams, &receipts);
    assert!(!streams.wants_control(), "an old value was lost");
    acked(&mut streams, &later);
}

#[test]
fn streams_take_turns_packet_by_packet() {
    let mut streams = server();
    let ids: Vec<_> = (0..3).map(|_| streams.open(BIDI).unwrap()).collect();
    for &id in &ids {
        assert_eq!(written(&mut streams, id, 3_000), 3_000);
    }
    let mut turns = Vec::new();
    while streams.pending() != Pending::default() {
        let (_, receipts) = packet(&mut streams, 1000, true);
        turns.push(receipts[0].stream_low() as u64 >> 2);
    }
    assert_eq!(turns[..9], [0, 1, 2, 0, 1, 2, 0, 1, 2]);
}

#[test]
fn a_packet_is_filled_from_the_next_stream_when_one_runs_dry() {
    let mut streams = server();
    let (first, second) = (streams.open(BIDI).unwrap(), streams.open(UNI).unwrap());
    written(&mut streams, first, 100);
    written(&mut streams, second, 5_000);
    let (bytes, receipts) = packet(&mut streams, 1200, true);
    assert_eq!((receipts.len(), bytes.len()), (2, 1200));
    assert_eq!(receipts[0].len(), 100);
    let Frame::Stream { id, data, .. } = frames(&bytes)[1] else { panic!() };
    assert_eq!((id, data.len() as u64), (second, receipts[1].len()));
}

#[test]
fn repair_goes_before_fresh_bytes_and_alone_where_asked() {
    let mut streams = server();
    let id = streams.open(BIDI).unwrap();
    written(&mut streams, id, 2_000);
    let (_, first) = packet(&mut streams, 1000, true);
    lost(&mut streams, &first);
    let sent = first[0].len();
    assert_eq!(streams.pending(), Pending { repair_bytes: sent, fresh_bytes: 2_000 - sent });
    let (_, repair) = packet(&mut streams, 1200, false);
    assert_eq!((repair.len(), repair[0].offset(), repair[0].len()), (1, 0, sent));
    assert_eq!(streams.pending().repair_bytes, 0);
    assert_eq!(packet(&mut streams, 1200, false).1, []);
    lost(&mut streams, &repair);
    let (_, both) = packet(&mut streams, 1200, true);
    assert_eq!((both[0].offset(), both[1].offset()), (0, sent));
}

#[test]
fn overdue_bytes_are_offered_once_and_the_first_acknowledgement_takes_them_back() {
    let mut streams = server();
    let id = streams.open(BIDI).unwrap();
    written(&mut streams, id, 500);
    streams.finish(id).unwrap();
    let (_, original) = packet(&mut streams, 1200, true);
    streams.on_overdue(&original[0]);
    streams.on_overdue(&original[0]);
    assert_eq!(streams.pending().repair_bytes, 500);
    acked(&mut streams, &original);
    assert_eq!(streams.pending(), Pending::default());
    assert_eq!(streams.send_state(id), Some(SendState::Finished { unacknowledged: 0 }));
}

/// MP-296
#[test]
fn a_late_acknowledgement_after_repair_counts_once() {
    let mut streams = server();
    let id = streams.open(UNI).unwrap();
    written(&mut streams, id, 500);
    let (_, original) = packet(&mut streams, 1200, true);
    streams.on_overdue(&original[0]);
    let (_, copy) = packet(&mut streams, 1200, false);
    assert_eq!(copy[0].len(), 500);
    acked(&mut streams, &copy);
    acked(&mut streams, &original);
    lost(&mut streams, &original);
    assert_eq!(streams.pending(), Pending::default());
    assert_eq!(streams.send_state(id), Some(SendState::Open { unacknowledged: 0 }));
    streams.finish(id).unwrap();
    let (_, fin) = packet(&mut streams, 1200, true);
    acked(&mut streams, &fin);
    assert_eq!(events(&mut streams), [Event::Finished(id)]);
}

#[test]
fn the_connections_credit_bounds_all_streams_and_a_lone_fin_needs_none() {
    let mut streams = server();
    let ids: Vec<_> = (0..3).map(|_| streams.open(UNI).unwrap()).collect();
    for &id in &ids {
        assert_eq!(written(&mut streams, id, 20_000), 20_000);
    }
    assert_eq!(streams.pending().fresh_bytes, 20_000);
    let mut sent = 0;
    while streams.pending().fresh_bytes > 0 {
        sent += packet(&mut streams, 1200, true).1.iter().map(Receipt::len).sum::<u64>();
    }
    assert_eq!(sent, 20_000);
    let empty = streams.open(BIDI).unwrap();
    streams.finish(empty).unwrap();
    assert_eq!(streams.pending().fresh_bytes, 1);
    let (_, receipts) = packet(&mut streams, 1200, true);
    assert!(receipts.iter().any(|receipt| receipt.fin() && receipt.len() == 0));
}

#[test]
fn being_blocked_is_said_once_per_limit_and_again_if_lost() {
    let mut streams = server();
    let id = streams.open(UNI).unwrap();
    let other = streams.open(UNI).unwrap();
    for id in [id, other] {
        assert_eq!(written(&mut streams, id, 15_000), 15_000);
    }
    while streams.pending().fresh_bytes > 0 {
        packet(&mut streams, 5_000, true);
    }
    let third = streams.open(UNI).unwrap();
    written(&mut streams, third, 1);
    let (_, last) = packet(&mut streams, 1200, true);
    assert!(!streams.wants_control(), "all was said: {last:?}");
    let receipt = Receipt::data_blocked();
    lost(&mut streams, &[receipt, Receipt::stream_data_blocked(id)]);
    let (bytes, _) = packet(&mut streams, 1200, true);
    let expected = [Frame::DataBlocked(20_000), Frame::StreamDataBlocked { id, limit: 10_000 }];
    assert_eq!(frames(&bytes), expected);
    streams.on_max_data(30_000);
    streams.on_max_stream_data(id, 11_000).unwrap();
    lost(&mut streams, &[receipt, Receipt::stream_data_blocked(id)]);
    assert!(!streams.wants_control(), "no longer blocked");
}

#[test]
fn a_refused_stream_is_reported_and_announced_when_it_can_be_opened() {
    let mut streams = Streams::new(Role::Client, &config(), 1);
    assert_eq!(streams.open(BIDI), None);
    streams.on_peer_params(&LIMITS);
    assert_eq!(events(&mut streams), [Event::StreamsAvailable]);
    (0..8).for_each(|_| assert!(streams.open(BIDI).is_some()));
    assert_eq!(streams.open(BIDI), None);
    let (bytes, _) = packet(&mut streams, 1200, true);
    assert_eq!(frames(&bytes), [Frame::StreamsBlocked { direction: BIDI, limit: 8 }]);
    streams.on_max_streams(BIDI, 9).unwrap();
    assert_eq!(events(&mut streams), [Event::StreamsAvailable]);
    assert_eq!(streams.open(BIDI), Some(StreamId::new(Role::Client, BIDI, 8)));
}

#[test]
fn stop_sending_is_answered_by_a_reset_with_the_same_code() {
    let mut streams = server();
    let id = theirs(BIDI, 0);
    streams.on_stop_sending(id, 42).unwrap();
    assert_eq!(events(&mut streams), [Event::StreamOpened(id), Event::Stopped { stream: id, code: 42 }]);
    let (bytes, receipts) = packet(&mut streams, 1200, true);
    assert_eq!(frames(&bytes), [Frame::ResetStream { id, code: 42, final_size: 0 }]);
    lost(&mut streams, &receipts);
    let (bytes, receipts) = packet(&mut streams, 1200, true);
    assert_eq!(frames(&bytes), [Frame::ResetStream { id, code: 42, final_size: 0 }]);
    acked(&mut streams, &receipts);
    assert_eq!(events(&mut streams), [Event::Finished(id)]);
    assert_eq!(streams.slots.len(), 1, "the peer's half is still open");
}

#[test]
fn a_stream_stopped_after_its_size_was_known_ends_when_the_peer_has_heard() {
    let mut streams = server();
    let id = theirs(UNI, 0);
    streams.on_stream(id, 100, b"the end", true).unwrap();
    streams.stop(id, 4);
    assert_eq!(events(&mut streams), [Event::StreamOpened(id)], "what nobody wants is no news");
    let (bytes, receipts) = packet(&mut streams, 1200, true);
    assert_eq!(frames(&bytes), [Frame::StopSending { id, code: 4 }]);
    lost(&mut streams, &receipts);
    let (_, receipts) = packet(&mut streams, 1200, true);
    assert_eq!(streams.slots.len(), 1);
    acked(&mut streams, &receipts);
    assert_eq!(streams.slots.len(), 0);
    assert_eq!(streams.on_stream(id, 0, &[1; 100], false), Ok(0));
}

#[test]
fn a_reset_after_bytes_were_queued_drops_them_and_frees_the_list() {
    let mut streams = server();
    let id = streams.open(UNI).unwrap();
    written(&mut streams, id, 5_000);
    let (_, sent) = packet(&mut streams, 1000, true);
    lost(&mut streams, &sent);
    streams.reset(id, 3);
    assert_eq!(streams.pending(), Pending::default());
    let (bytes, receipts) = packet(&mut streams, 1200, true);
    assert_eq!(frames(&bytes), [Frame::ResetStream { id, code: 3, final_size: sent[0].len() }]);
    lost(&mut streams, &sent);
    acked(&mut streams, &receipts);
    assert_eq!(events(&mut streams), [Event::Finished(id)]);
    assert_eq!(streams.slots.len(), 0);
}

#[test]
fn unread_bytes_of_reset_streams_come_back_to_the_connection() {
    let mut streams = server();
    for index in 0..4 {
        let id = theirs(UNI, index);
        streams.on_stream(id, 0, &[1; 1_000], false).unwrap();
        streams.on_reset_stream(id, 5, 5_000).unwrap();
    }
    let (bytes, _) = packet(&mut streams, 1200, true);
    assert_eq!(frames(&bytes), [Frame::MaxData(40_000)]);
    assert_eq!(streams.read(theirs(UNI, 2)), Err(ReadError::Reset(5)));
    assert_eq!(streams.read(theirs(UNI, 2)), Err(ReadError::UnknownStream));
    assert_eq!(streams.slots.len(), 3);
}

#[test]
fn limits_follow_what_was_consumed_and_loss_repeats_the_present_value() {
    let mut streams = server();
    let id = theirs(BIDI, 0);
    streams.on_stream(id, 0, &[1; 10_000], false).unwrap();
    assert_eq!(streams.consume(id, 6_000, Instant::ZERO, RTT), 6_000);
    let (bytes, receipts) = packet(&mut streams, 1200, true);
    assert_eq!(frames(&bytes), [Frame::MaxStreamData { id, max: 16_000 }]);
    assert_eq!(streams.consume(id, 9_000, Instant::ZERO, RTT), 4_000);
    assert_eq!(packet(&mut streams, 1200, true).1.len(), 1, "only the connection's limit is due");
    lost(&mut streams, &receipts);
    let (bytes, _) = packet(&mut streams, 1200, true);
    assert_eq!(frames(&bytes), [Frame::MaxStreamData { id, max: 20_000 }]);
}

#[test]
fn control_frames_that_do_not_fit_wait_in_order() {
    let mut streams = server();
    let ids: Vec<_> = (0..5).map(|_| streams.open(BIDI).unwrap()).collect();
    for &id in &ids {
        streams.stop(id, 1);
    }
    let mut stopped = Vec::new();
    while streams.wants_control() {
        let (bytes, _) = packet(&mut streams, 7, true);
        assert!(!bytes.is_empty());
        stopped.extend(frames(&bytes).iter().map(|frame| match frame {
            Frame::StopSending { id, code: 1 } => *id,
            _ => panic!("{frame:?}"),
        }));
    }
    assert_eq!(stopped, ids);
}

#[test]
fn a_cut_write_tells_when_there_is_room() {
    let mut streams = server();
    streams.on_max_data(1 << 30);
    let id = streams.open(UNI).unwrap();
    streams.on_max_stream_data(id, 1 << 30).unwrap();
    assert_eq!(written(&mut streams, id, 150_000), 100_000);
    assert_eq!(written(&mut streams, id, 1), 0);
    assert!(!streams.has_event());
    let (_, receipts) = packet(&mut streams, 30_000, true);
    acked(&mut streams, &receipts);
    assert_eq!(events(&mut streams), [Event::Writable(id)]);
    assert!(!streams.has_event());
}

#[test]
fn events_do_not_pile_up_while_nobody_asks() {
    let mut streams = server();
    let id = theirs(BIDI, 0);
    for offset in 0..1000 {
        streams.on_stream(id, offset, b"x", false).unwrap();
    }
    assert_eq!(events(&mut streams), [Event::StreamOpened(id), Event::Readable(id)]);
    streams.on_stream(id, 1000, b"x", false).unwrap();
    assert_eq!(events(&mut streams), [], "not read yet");
    assert_eq!(streams.read(id).unwrap().len(), 1001);
    streams.on_stream(id, 1001, b"x", true).unwrap();
    assert_eq!(events(&mut streams), [Event::Readable(id)]);
}

#[test]
fn scattered_bytes_on_all_streams_cost_no_more_than_window_and_a_block_each() {
    let mut streams = Streams::new(
        Role::Server,
        &TransportConfig { stream_window: 1 << 20, connection_window: 1 << 20, ..config() },
        1,
    );
    for index in 0..8 {
        for offset in (0..128 << 10).step_by(1000) {
            streams.on_stream(theirs(UNI, index), offset + 1, b"x", false).unwrap();
        }
    }
    let used: usize =
        streams.slots.iter().filter_map(|(_, stream)| stream.recv.as_ref()).map(RecvHalf::blocks_used).sum();
    assert!(used <= (1 << 20) / assembler::BLOCK_BYTES + 8, "{used} blocks");
    assert_eq!(code(streams.on_stream(theirs(UNI, 0), 1 << 20, b"x", false)), {
        TransportErrorCode::FLOW_CONTROL_ERROR
    });
}

#[test]
fn limits_that_come_late_reach_streams_that_are_open_already() {
    let mut streams = Streams::new(Role::Server, &config(), 1);
    let id = theirs(BIDI, 0);
    streams.on_stream(id, 0, b"hi", false).unwrap();
    written(&mut streams, id, 100);
    assert_eq!(streams.pending(), Pending::default());
    streams.on_peer_params(&LIMITS);
    assert_eq!(streams.pending().fresh_bytes, 100);
    streams.audit().unwrap();
}
