//! All frames: every kind there and back, where each may stand, and whatever bytes a peer may send.

use super::cid_bytes::Cid;
use super::cursor::{Reader, Writer};
use super::frame::{
    Frame, Frames, STREAMS_MAX, crypto_header, crypto_header_len, stream_header, stream_header_len, types,
};
use super::frame_ack::{Ack, AckFrequency, EcnCounts, write_ack};
use super::frame_path::NewConnectionId;
use super::header::{LongHeader, invariant, offered_versions, stateless_reset_token};
use super::packet::PacketKind;
use super::params::TransportParameters;
use super::varint::{VARINT_MAX, varint_len};
use crate::base::ranges::RangeSet;
use crate::error::{TransportError, TransportErrorCode};
use crate::id::{Direction, PathId, Role, StreamId};
use proptest::prelude::*;

const EVERY_TYPE: [u64; 45] = [
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10,
    0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x30, 0x31,
    0x3e, 0x3f, 0xaf, 0x3e75, 0x3e76, 0x3e77, 0x3e78, 0x3e79, 0x3e7a, 0x3e7b, 0x3e7c,
];

fn bytes_of(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buffer = [0xee; 600];
    let mut writer = Writer::new(&mut buffer);
    fill(&mut writer);
    writer.written().to_vec()
}

fn written(frame: &Frame<'_>) -> Vec<u8> {
    let bytes = bytes_of(|writer| frame.write(writer));
    assert_eq!(bytes.len(), frame.len());
    bytes
}

fn first(payload: &[u8]) -> Result<(u64, Frame<'_>), TransportError> {
    Frames::new(payload).next().unwrap()
}

/// A small frame of each type, none of whose bytes can be missing.
fn sample(frame_type: u64) -> Vec<u8> {
    let body: &[u8] = match frame_type {
        types::NEW_CONNECTION_ID => &[1, 0, 1, 7, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9],
        types::PATH_NEW_CONNECTION_ID => &[0, 1, 0, 1, 7, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9],
        types::NEW_TOKEN | types::DATAGRAM_LEN => &[1, 7],
        types::PADDING | types::PING | types::HANDSHAKE_DONE | types::IMMEDIATE_ACK | types::DATAGRAM => &[],
        types::PATH_CHALLENGE | types::PATH_RESPONSE => &[1, 2, 3, 4, 5, 6, 7, 8],
        types::CRYPTO => &[0, 1, 7],
        types::ACK | types::ACK_FREQUENCY => &[9, 0, 0, 0],
        types::ACK_ECN => &[9, 0, 0, 0, 1, 2, 3],
        types::PATH_ACK => &[1, 9, 0, 0, 0],
        types::PATH_ACK_ECN => &[1, 9, 0, 0, 0, 1, 2, 3],
        types::CONNECTION_CLOSE => &[1, 2, 1, b'x'],
        types::APPLICATION_CLOSE => &[1, 1, b'x'],
        0x08 | 0x09 => &[4],
        0x0a | 0x0b => &[4, 1, 7],
        0x0c | 0x0d => &[4, 1],
        0x0e | 0x0f => &[4, 1, 1, 7],
        types::RESET_STREAM => &[4, 5, 6],
        types::STOP_SENDING | types::MAX_STREAM_DATA | types::STREAM_DATA_BLOCKED => &[4, 5],
        types::PATH_ABANDON..=types::PATH_RETIRE_CONNECTION_ID | types::PATH_CIDS_BLOCKED => &[1, 2],
        _ => &[5],
    };
    let mut bytes = bytes_of(|writer| writer.varint(frame_type));
    bytes.extend(body);
    bytes
}

/// MP-203, MP-205
#[test]
fn every_type_is_read_and_a_missing_byte_is_noticed() {
    for frame_type in EVERY_TYPE {
        let bytes = sample(frame_type);
        let (read_type, frame) = first(&bytes).unwrap();
        assert_eq!(read_type, frame_type);
        let own_len = varint_len(frame_type);
        for len in own_len..bytes.len() {
            let error = first(&bytes[..len]).expect_err("cut short");
            assert_eq!(error.code, TransportErrorCode::FRAME_ENCODING_ERROR, "{frame_type:#x} in {len}");
            assert_eq!(error.frame_type, frame_type);
        }
        let silent = [0x00, 0x02, 0x03, 0x1c, 0x1d, 0x3e, 0x3f].contains(&frame_type);
        assert_eq!(frame.is_ack_eliciting(), !silent, "{frame_type:#x}");
    }
}

/// MP-200, MP-003
#[test]
fn frames_stand_only_in_the_packets_of_table_3() {
    for frame_type in EVERY_TYPE {
        let allowed = match frame_type {
            0x00 | 0x01 | 0x1c => "IH01",
            0x02 | 0x03 | 0x06 => "IH_1",
            0x07 | 0x19 | 0x1b | 0x1e => "___1",
            0x04..=0x1d | 0x30 | 0x31 => "__01",
            _ => "___1",
        };
        let bytes = sample(frame_type);
        let (_, frame) = first(&bytes).unwrap();
        let packets = [
            ('I', PacketKind::Initial),
            ('H', PacketKind::Handshake),
            ('0', PacketKind::ZeroRtt),
            ('1', PacketKind::OneRtt),
        ];
        for (letter, packet) in packets {
            assert_eq!(frame.allowed_in(packet), allowed.contains(letter), "{frame_type:#x} in {packet:?}");
        }
    }
}

#[test]
fn multipath_types_are_those_of_the_draft() {
    let is_multipath = |frame_type: &u64| first(&sample(*frame_type)).unwrap().1.is_multipath();
    let multipath: Vec<_> = EVERY_TYPE.into_iter().filter(is_multipath).collect();
    assert_eq!(multipath, [0x3e, 0x3f, 0x3e75, 0x3e76, 0x3e77, 0x3e78, 0x3e79, 0x3e7a, 0x3e7b, 0x3e7c]);
}

#[test]
fn unknown_types_are_malformed() {
    for frame_type in [0x20, 0x2f, 0x32, 0x3d, 0x40, 0x3e74, 0x3e7d, 0x1522_8c00, VARINT_MAX] {
        let bytes = bytes_of(|writer| writer.varint(frame_type));
        let error = first(&bytes).unwrap_err();
        assert_eq!((error.code, error.frame_type), (TransportErrorCode::FRAME_ENCODING_ERROR, frame_type));
    }
}

/// MP-203
#[test]
fn a_type_in_a_longer_encoding_is_a_violation() {
    for (frame_type, width) in [(0x01, 2), (0x3e, 2), (0x01, 8), (0x3e75, 4), (0x00, 4)] {
        let bytes = bytes_of(|writer| writer.varint_as(frame_type, width));
        let error = first(&bytes).unwrap_err();
        assert_eq!((error.code, error.frame_type), (TransportErrorCode::PROTOCOL_VIOLATION, frame_type));
    }
}

#[test]
fn a_packet_without_frames_is_a_violation() {
    let mut frames = Frames::new(&[]);
    assert_eq!(frames.next().unwrap().unwrap_err().code, TransportErrorCode::PROTOCOL_VIOLATION);
    assert_eq!(frames.next(), None);
}

#[test]
fn a_run_of_padding_is_one_frame() {
    let mut payload = vec![0; 900];
    payload.extend([0x01, 0, 0, 0x1e]);
    let seen: Vec<_> = Frames::new(&payload).map(|item| item.unwrap().1).collect();
    assert_eq!(seen, [Frame::Padding, Frame::Ping, Frame::Padding, Frame::HandshakeDone]);
}

#[test]
fn nothing_is_read_behind_an_error() {
    let mut frames = Frames::new(&[0x01, 0x20, 0x01, 0x01]);
    assert!(frames.next().unwrap().is_ok());
    assert!(frames.next().unwrap().is_err());
    assert_eq!(frames.next(), None);
}

#[test]
fn a_stream_frame_has_the_bytes_of_rfc_9000_section_19_8() {
    let id = StreamId::from_wire(4);
    let whole = Frame::Stream { id, offset: 0, fin: true, data: b"hi" };
    assert_eq!(written(&whole), [0x0b, 4, 2, b'h', b'i']);
    let later = Frame::Stream { id, offset: 300, fin: false, data: b"hi" };
    assert_eq!(written(&later), [0x0e, 4, 0x41, 0x2c, 2, b'h', b'i']);
    let to_the_end = [0x0c, 4, 0x41, 0x2c, b'h', b'i'];
    assert_eq!(first(&to_the_end), Ok((0x0c, later)));
    let header = bytes_of(|writer| stream_header(writer, id, 300, None, false));
    assert_eq!(header, to_the_end[..4]);
}

#[test]
fn a_datagram_frame_has_the_bytes_of_rfc_9221_section_4() {
    assert_eq!(written(&Frame::Datagram { sized: false, data: b"hi" }), [0x30, b'h', b'i']);
    assert_eq!(written(&Frame::Datagram { sized: true, data: b"hi" }), [0x31, 2, b'h', b'i']);
    assert_eq!(
        first(&[0x30]),
        Ok((0x30, Frame::Datagram { sized: false, data: b"" })),
        "empty ones are allowed"
    );
    let mut two = Frames::new(&[0x31, 1, b'a', 0x30, b'b', 0]);
    assert_eq!(two.next(), Some(Ok((0x31, Frame::Datagram { sized: true, data: b"a" }))));
    assert_eq!(two.next(), Some(Ok((0x30, Frame::Datagram { sized: false, data: b"b\0" }))));
    assert_eq!(two.next(), None);
}

#[test]
fn no_byte_of_a_stream_is_numbered_above_2_to_the_62() {
    for (last, data) in [(VARINT_MAX, &b""[..]), (VARINT_MAX - 1, b"x")] {
        let id = StreamId::from_wire(0);
        assert!(first(&written(&Frame::Stream { id, offset: last, fin: true, data })).is_ok());
        assert!(first(&written(&Frame::Crypto { offset: last, data })).is_ok());
        let beyond = [data, b"y"].concat();
        for frame in [
            Frame::Stream { id, offset: last, fin: true, data: &beyond },
            Frame::Crypto { offset: last, data: &beyond },
        ] {
            assert_eq!(first(&written(&frame)).unwrap_err().code, TransportErrorCode::FRAME_ENCODING_ERROR);
        }
    }
}

#[test]
fn more_streams_than_can_be_numbered_are_malformed() {
    for direction in [Direction::Bidirectional, Direction::Unidirectional] {
        let max = STREAMS_MAX;
        assert!(first(&written(&Frame::MaxStreams { direction, max })).is_ok());
        assert!(first(&written(&Frame::StreamsBlocked { direction, limit: max })).is_ok());
        let max = max + 1;
        for frame in [Frame::MaxStreams { direction, max }, Frame::StreamsBlocked { direction, limit: max }] {
            assert_eq!(first(&written(&frame)).unwrap_err().code, TransportErrorCode::FRAME_ENCODING_ERROR);
        }
    }
}

#[test]
fn an_empty_token_is_malformed() {
    assert_eq!(first(&[0x07, 0]).unwrap_err().code, TransportErrorCode::FRAME_ENCODING_ERROR);
}

fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![0..100u64, 0..100_000u64, 0..=VARINT_MAX]
}

fn ids() -> impl Strategy<Value = StreamId> {
    numbers().prop_map(StreamId::from_wire)
}

fn directions() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Bidirectional), Just(Direction::Unidirectional)]
}

fn new_connection_ids() -> impl Strategy<Value = NewConnectionId> {
    let cid = prop::collection::vec(any::<u8>(), 1..=20);
    let path = prop::option::of(numbers());
    (path, numbers(), numbers(), cid, any::<[u8; 16]>()).prop_map(|(path, one, other, cid, reset_token)| {
        NewConnectionId {
            path: path.unwrap_or(0),
            plain: path.is_none(),
            sequence: one.max(other),
            retire_prior_to: one.min(other),
            cid: Cid::new(&cid).unwrap(),
            reset_token,
        }
    })
}

/// Every frame without ranges or data.
fn small_frames() -> impl Strategy<Value = Frame<'static>> {
    let n = numbers;
    let streams = prop_oneof![
        (ids(), n(), n()).prop_map(|(id, code, final_size)| Frame::ResetStream { id, code, final_size }),
        (ids(), n()).prop_map(|(id, code)| Frame::StopSending { id, code }),
        n().prop_map(Frame::MaxData),
        (ids(), n()).prop_map(|(id, max)| Frame::MaxStreamData { id, max }),
        (directions(), 0..=STREAMS_MAX).prop_map(|(direction, max)| Frame::MaxStreams { direction, max }),
        n().prop_map(Frame::DataBlocked),
        (ids(), n()).prop_map(|(id, limit)| Frame::StreamDataBlocked { id, limit }),
        (directions(), 0..=STREAMS_MAX)
            .prop_map(|(direction, limit)| Frame::StreamsBlocked { direction, limit }),
    ];
    let paths = prop_oneof![
        new_connection_ids().prop_map(Frame::NewConnectionId),
        n().prop_map(|sequence| Frame::RetireConnectionId { path: 0, plain: true, sequence }),
        (n(), n()).prop_map(|(path, sequence)| Frame::RetireConnectionId { path, plain: false, sequence }),
        (n(), n()).prop_map(|(path, code)| Frame::PathAbandon { path, code }),
        (n(), n(), any::<bool>()).prop_map(|(path, sequence, backup)| Frame::PathStatus {
            path,
            sequence,
            backup
        }),
        n().prop_map(Frame::MaxPathId),
        n().prop_map(Frame::PathsBlocked),
        (n(), n()).prop_map(|(path, next_sequence)| Frame::PathCidsBlocked { path, next_sequence }),
    ];
    let others = prop_oneof![
        Just(Frame::Padding),
        Just(Frame::Ping),
        Just(Frame::HandshakeDone),
        Just(Frame::ImmediateAck),
        (n(), n(), n(), n()).prop_map(|(sequence, threshold, delay_us, reordering)| {
            Frame::AckFrequency(AckFrequency { sequence, threshold, delay_us, reordering })
        }),
        any::<[u8; 8]>().prop_map(Frame::PathChallenge),
        any::<[u8; 8]>().prop_map(Frame::PathResponse),
    ];
    prop_oneof![8 => streams, 8 => paths, 5 => others]
}

fn is_padding(frame: &Frame<'_>) -> bool {
    *frame == Frame::Padding
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_small_frame_comes_back(frame in small_frames()) {
        let bytes = written(&frame);
        let mut frames = Frames::new(&bytes);
        let (frame_type, read) = frames.next().unwrap().unwrap();
        prop_assert!(EVERY_TYPE.contains(&frame_type));
        prop_assert_eq!(read, frame);
        prop_assert_eq!(frames.next(), None);
    }
}

proptest! {
    #[test]
    fn many_frames_in_one_packet_come_back(frames in prop::collection::vec(small_frames(), 1..12)) {
        let payload: Vec<u8> = frames.iter().flat_map(written).collect();
        let mut expected = frames;
        expected.dedup_by(|next, previous| is_padding(next) && is_padding(previous));
        let read: Result<Vec<_>, _> = Frames::new(&payload).map(|item| item.map(|(_, frame)| frame)).collect();
        prop_assert_eq!(read, Ok(expected));
    }

    #[test]
    fn frames_with_data_come_back(
        id in ids(),
        offset in prop_oneof![Just(0), 0..VARINT_MAX - 500],
        data in prop::collection::vec(any::<u8>(), 1..200),
        (fin, application) in any::<(bool, bool)>(),
        (code, blamed) in (numbers(), numbers()),
    ) {
        let frame_type = if application { 0 } else { blamed };
        let frames = [
            Frame::Stream { id, offset, fin, data: &data },
            Frame::Stream { id, offset, fin, data: &[] },
            Frame::Crypto { offset, data: &data },
            Frame::NewToken { token: &data },
            Frame::Datagram { sized: false, data: &data },
            Frame::Datagram { sized: true, data: &data },
            Frame::ConnectionClose { application, code, frame_type, reason: &data },
            Frame::ConnectionClose { application, code, frame_type, reason: &[] },
        ];
        for frame in frames {
            let bytes = written(&frame);
            prop_assert_eq!(first(&bytes).map(|(_, read)| read), Ok(frame));
        }
        for len in [Some(data.len()), None] {
            let header = bytes_of(|writer| stream_header(writer, id, offset, len, fin));
            prop_assert_eq!(header.len(), stream_header_len(id, offset, len));
            let bytes = [&header[..], &data].concat();
            prop_assert_eq!(first(&bytes).unwrap().1, Frame::Stream { id, offset, fin, data: &data });
        }
        let header = bytes_of(|writer| crypto_header(writer, offset, data.len()));
        prop_assert_eq!(header.len(), crypto_header_len(offset, data.len()));
        prop_assert_eq!([&header[..], &data].concat(), written(&Frame::Crypto { offset, data: &data }));
    }

    #[test]
    fn a_decoded_acknowledgement_is_written_as_it_was_read(
        starts in prop::collection::btree_set(0..5_000u64, 1..40),
        path in prop::option::of(any::<u32>()),
        ecn in prop::option::of(0..1_000_000u64),
    ) {
        let mut received = RangeSet::new();
        for start in starts {
            received.insert(start..start + 3);
        }
        let ecn = ecn.map(|ce| EcnCounts { ce, ..EcnCounts::default() });
        let bytes = bytes_of(|writer| assert!(write_ack(writer, path.map(PathId), &received, 70, ecn, 600)));
        let (frame_type, frame) = first(&bytes).unwrap();
        prop_assert_eq!(frame.is_multipath(), path.is_some());
        prop_assert_eq!(frame_type >= 0x3e, path.is_some());
        prop_assert_eq!(written(&frame), bytes);
    }
}

/// The ranges of an acknowledgement go down and never touch, whatever the bytes were.
fn walk(ack: &Ack<'_>) {
    let mut below = u64::MAX;
    for range in ack.ranges() {
        assert!(range.start() <= range.end() && *range.end() < below);
        below = range.start().saturating_sub(1);
    }
}

fn decode_everything(bytes: &[u8]) {
    for (frame_type, frame) in Frames::new(bytes).flatten() {
        assert!(EVERY_TYPE.contains(&frame_type));
        assert!(frame.len() <= bytes.len() + 8, "{frame:?} grew");
        if let Frame::Ack(ack) = &frame {
            walk(ack);
        }
    }
    let _ = LongHeader::parse(bytes);
    let _ = invariant(bytes, 12);
    let _ = offered_versions(bytes).map(Iterator::count);
    let _ = stateless_reset_token(bytes);
    for role in [Role::Client, Role::Server] {
        let _ = TransportParameters::decode(bytes, role, crate::config::MultipathCodePoints::Both);
        let _ = super::client_hello::declared(bytes);
    }
    let _ = Reader::new(bytes).prefixed();
}

/// A small generator (xorshift), so that hundreds of thousands of cases take no time.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn random_bytes_never_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut buffer = [0; 64];
    for _ in 0..300_000 {
        for chunk in buffer.chunks_mut(8) {
            chunk.copy_from_slice(&random(&mut state).to_le_bytes());
        }
        let len = random(&mut state) as usize % (buffer.len() + 1);
        decode_everything(&buffer[..len]);
    }
}

#[test]
fn frames_with_a_few_bytes_changed_never_panic() {
    let mut state = 0x2545_f491_4f6c_dd1d;
    let samples = EVERY_TYPE.map(sample);
    let mut payload = Vec::new();
    for _ in 0..200_000 {
        payload.clear();
        for _ in 0..3 {
            payload.extend(&samples[random(&mut state) as usize % samples.len()]);
        }
        for _ in 0..random(&mut state) % 4 {
            let at = random(&mut state) as usize % payload.len();
            payload[at] = random(&mut state) as u8;
        }
        decode_everything(&payload);
    }
}
