//! Frames as qlog knows them (draft-ietf-quic-qlog-quic-events, "QUIC Frames").
//!
//! Owns their names and members; those of the multipath extension, which no draft names yet, are called like their
//! types in draft-ietf-quic-multipath-21 §4. Leaves out data, tokens and reset tokens: a log tells no secrets.

use super::json::Object;
use crate::error::TransportErrorCode;
use crate::id::Direction;
use crate::log::record::Payload;
use crate::wire::frame::{Frame, Frames};
use crate::wire::frame_ack::Ack;

/// Frames of one packet that are shown; a peer can send a thousand PINGs in one.
pub(super) const FRAMES_MAX: usize = 128;

/// Ranges of one acknowledgement that are shown.
pub(super) const RANGES_MAX: usize = 64;

/// The member `frames` of a packet, and how many of them are not shown, if any.
pub(super) fn put_frames(data: &mut Object<'_>, payload: Payload<'_>) {
    let mut frames = Frames::with_code_points(payload.bytes, payload.code_points);
    data.list("frames", |list| {
        for _ in 0..FRAMES_MAX {
            let before = frames.remaining();
            let Some(item) = frames.next() else { return };
            match item {
                Ok((_, frame)) => {
                    let bytes = before - frames.remaining();
                    list.object(|object| put_frame(object, &frame, bytes, payload.ack_delay_exponent));
                }
                Err(error) => list.object(|object| {
                    object.text("frame_type", "unknown");
                    object.number("frame_type_bytes", error.frame_type);
                    object.object("raw", |raw| raw.number("length", before as u64));
                }),
            }
        }
    });
    let more = frames.flatten().count();
    if more > 0 {
        data.number("frames_omitted", more as u64);
    }
}

/// The members of one frame that takes `bytes` in its packet.
fn put_frame(object: &mut Object<'_>, frame: &Frame<'_>, bytes: usize, ack_delay_exponent: u8) {
    object.text("frame_type", name(frame));
    match *frame {
        Frame::Padding => object.object("raw", |raw| raw.number("payload_length", bytes as u64)),
        Frame::Ping | Frame::HandshakeDone | Frame::ImmediateAck => {}
        Frame::Ack(ref ack) => put_ack(object, ack, ack_delay_exponent),
        Frame::AckFrequency(ref asked) => {
            object.number("sequence_number", asked.sequence);
            object.number("ack_eliciting_threshold", asked.threshold);
            object.number("requested_max_ack_delay", asked.delay_us);
            object.number("reordering_threshold", asked.reordering);
        }
        Frame::ResetStream { id, code, final_size } => {
            object.number("stream_id", id.as_u64());
            put_application_error(object, code);
            object.number("final_size", final_size);
        }
        Frame::StopSending { id, code } => {
            object.number("stream_id", id.as_u64());
            put_application_error(object, code);
        }
        Frame::Crypto { offset, data } => {
            object.number("offset", offset);
            object.object("raw", |raw| raw.number("length", data.len() as u64));
        }
        Frame::NewToken { token } => object.object("token", |object| {
            object.object("raw", |raw| raw.number("length", token.len() as u64));
        }),
        Frame::Stream { id, offset, fin, data } => {
            object.number("stream_id", id.as_u64());
            object.number("offset", offset);
            if fin {
                object.flag("fin", true);
            }
            object.object("raw", |raw| raw.number("length", data.len() as u64));
        }
        Frame::Datagram { data, .. } => object.object("raw", |raw| raw.number("length", data.len() as u64)),
        Frame::MaxData(max) => object.number("maximum", max),
        Frame::MaxStreamData { id, max } => {
            object.number("stream_id", id.as_u64());
            object.number("maximum", max);
        }
        Frame::MaxStreams { direction, max } => {
            object.text("stream_type", stream_type(direction));
            object.number("maximum", max);
        }
        Frame::DataBlocked(limit) => object.number("limit", limit),
        Frame::StreamDataBlocked { id, limit } => {
            object.number("stream_id", id.as_u64());
            object.number("limit", limit);
        }
        Frame::StreamsBlocked { direction, limit } => {
            object.text("stream_type", stream_type(direction));
            object.number("limit", limit);
        }
        Frame::PathChallenge(data) | Frame::PathResponse(data) => object.hex("data", &data),
        Frame::ConnectionClose { application, code, frame_type, reason } => {
            object.text("error_space", if application { "application" } else { "transport" });
            if application {
                put_application_error(object, code);
            } else {
                put_transport_error(object, "error", TransportErrorCode(code));
                object.number("trigger_frame_type", frame_type);
            }
            put_reason(object, reason);
        }
        _ => put_path_frame(object, frame),
    }
}

/// The members of the frames about paths and connection IDs.
fn put_path_frame(object: &mut Object<'_>, frame: &Frame<'_>) {
    match *frame {
        Frame::NewConnectionId(ref new) => {
            if !new.plain {
                object.number("path_id", new.path);
            }
            object.number("sequence_number", new.sequence);
            object.number("retire_prior_to", new.retire_prior_to);
            object.number("connection_id_length", new.cid.len() as u64);
            object.hex("connection_id", &new.cid);
        }
        Frame::RetireConnectionId { path, plain, sequence } => {
            if !plain {
                object.number("path_id", path);
            }
            object.number("sequence_number", sequence);
        }
        Frame::PathAbandon { path, code } => {
            object.number("path_id", path);
            object.number("error_code", code);
        }
        Frame::PathStatus { path, sequence, .. } => {
            object.number("path_id", path);
            object.number("sequence_number", sequence);
        }
        Frame::MaxPathId(max) | Frame::PathsBlocked(max) => object.number("maximum", max),
        Frame::PathCidsBlocked { path, next_sequence } => {
            object.number("path_id", path);
            object.number("next_sequence_number", next_sequence);
        }
        _ => debug_assert!(false, "{frame:?} has no form in qlog"),
    }
}

fn put_ack(object: &mut Object<'_>, ack: &Ack<'_>, delay_exponent: u8) {
    if !ack.plain {
        object.number("path_id", ack.path);
    }
    let micros = ack.delay_raw.checked_shl(delay_exponent.into()).unwrap_or(u64::MAX);
    object.decimal("ack_delay", micros, 3);
    object.list("acked_ranges", |list| {
        for range in ack.ranges().take(RANGES_MAX) {
            list.list(|ends| {
                ends.number(*range.start());
                if range.start() < range.end() {
                    ends.number(*range.end());
                }
            });
        }
    });
    if let Some(ecn) = ack.ecn {
        object.number("ect1", ecn.ect1);
        object.number("ect0", ecn.ect0);
        object.number("ce", ecn.ce);
    }
}

fn name(frame: &Frame<'_>) -> &'static str {
    match frame {
        Frame::Padding => "padding",
        Frame::Ping => "ping",
        Frame::Ack(ack) if ack.plain => "ack",
        Frame::Ack(_) => "path_ack",
        Frame::ResetStream { .. } => "reset_stream",
        Frame::StopSending { .. } => "stop_sending",
        Frame::Crypto { .. } => "crypto",
        Frame::NewToken { .. } => "new_token",
        Frame::Stream { .. } => "stream",
        Frame::MaxData(_) => "max_data",
        Frame::MaxStreamData { .. } => "max_stream_data",
        Frame::MaxStreams { .. } => "max_streams",
        Frame::DataBlocked(_) => "data_blocked",
        Frame::StreamDataBlocked { .. } => "stream_data_blocked",
        Frame::StreamsBlocked { .. } => "streams_blocked",
        Frame::NewConnectionId(new) if new.plain => "new_connection_id",
        Frame::NewConnectionId(_) => "path_new_connection_id",
        Frame::RetireConnectionId { plain: true, .. } => "retire_connection_id",
        Frame::RetireConnectionId { .. } => "path_retire_connection_id",
        Frame::PathChallenge(_) => "path_challenge",
        Frame::PathResponse(_) => "path_response",
        Frame::ConnectionClose { .. } => "connection_close",
        Frame::HandshakeDone => "handshake_done",
        Frame::AckFrequency(_) => "ack_frequency",
        Frame::ImmediateAck => "immediate_ack",
        Frame::Datagram { .. } => "datagram",
        Frame::PathAbandon { .. } => "path_abandon",
        Frame::PathStatus { backup: true, .. } => "path_status_backup",
        Frame::PathStatus { .. } => "path_status_available",
        Frame::MaxPathId(_) => "max_path_id",
        Frame::PathsBlocked(_) => "paths_blocked",
        Frame::PathCidsBlocked { .. } => "path_cids_blocked",
    }
}

const fn stream_type(direction: Direction) -> &'static str {
    match direction {
        Direction::Bidirectional => "bidirectional",
        Direction::Unidirectional => "unidirectional",
    }
}

/// An application's codes have no names that we know.
fn put_application_error(object: &mut Object<'_>, code: u64) {
    object.text("error", "unknown");
    object.number("error_code", code);
}

/// The name of a transport error as qlog spells it, under `name`; the code too where there is none.
pub(super) fn put_transport_error(object: &mut Object<'_>, name: &str, code: TransportErrorCode) {
    match code.name() {
        Some(known) => object.display(name, known.to_ascii_lowercase()),
        None if code.0 & !0xff == 0x0100 => {
            object.display(name, format_args!("crypto_error_{:#05x}", code.0));
        }
        None => {
            object.text(name, "unknown");
            object.number("error_code", code.0);
        }
    }
}

/// A peer's words, if there are any: as text where they are text.
pub(super) fn put_reason(object: &mut Object<'_>, reason: &[u8]) {
    match std::str::from_utf8(reason) {
        Ok("") => {}
        Ok(text) => object.text("reason", text),
        Err(_) => object.hex("reason_bytes", reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ranges::RangeSet;
    use crate::id::{Role, StreamId};
    use crate::wire::code_points::CodePoints;
    use crate::wire::cursor::Writer;
    use crate::wire::frame_ack::write_ack;

    fn shown(payload: &[u8]) -> String {
        shown_with(payload, CodePoints::Final)
    }

    fn shown_with(payload: &[u8], code_points: CodePoints) -> String {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        put_frames(&mut object, Payload::new(payload, 3, code_points));
        object.end();
        String::from_utf8(out).unwrap()
    }

    fn one(frame: &Frame<'_>) -> String {
        let mut buffer = [0; 200];
        let mut w = Writer::new(&mut buffer);
        frame.write(&mut w);
        shown(w.written())
    }

    #[test]
    fn frames_have_the_members_of_the_draft() {
        let id = StreamId::new(Role::Client, Direction::Bidirectional, 1);
        let stream = Frame::Stream { id, offset: 9, fin: true, data: b"12345" };
        assert_eq!(
            one(&stream),
            r#"{"frames":[{"frame_type":"stream","stream_id":4,"offset":9,"fin":true,"raw":{"length":5}}]}"#
        );
        let close = Frame::ConnectionClose { application: false, code: 0x10a, frame_type: 6, reason: b"no" };
        assert_eq!(
            one(&close),
            r#"{"frames":[{"frame_type":"connection_close","error_space":"transport","error":"crypto_error_0x10a","trigger_frame_type":6,"reason":"no"}]}"#
        );
        let reset = Frame::ResetStream { id, code: 7, final_size: 100 };
        assert_eq!(
            one(&reset),
            r#"{"frames":[{"frame_type":"reset_stream","stream_id":4,"error":"unknown","error_code":7,"final_size":100}]}"#
        );
    }

    #[test]
    fn a_datagram_has_its_length_whether_or_not_it_says_so_itself() {
        for sized in [false, true] {
            assert_eq!(
                one(&Frame::Datagram { sized, data: b"1234567" }),
                r#"{"frames":[{"frame_type":"datagram","raw":{"length":7}}]}"#
            );
        }
    }

    #[test]
    fn frames_with_the_numbers_of_older_drafts_have_the_same_names() {
        let mut buffer = [0; 30];
        let mut w = Writer::with_code_points(&mut buffer, CodePoints::Draft13);
        Frame::MaxPathId(5).write(&mut w);
        let expected = r#"{"frames":[{"frame_type":"max_path_id","maximum":5}]}"#;
        assert_eq!(shown_with(w.written(), CodePoints::Draft13), expected);
        assert!(shown(w.written()).contains("unknown"), "other numbers than agreed");
    }

    #[test]
    fn a_run_of_padding_is_one_frame_with_its_length() {
        let frames = [0x01, 0, 0, 0, 0x1e];
        assert_eq!(
            shown(&frames),
            r#"{"frames":[{"frame_type":"ping"},{"frame_type":"padding","raw":{"payload_length":3}},{"frame_type":"handshake_done"}]}"#
        );
    }

    #[test]
    fn acknowledgements_have_ranges_and_a_delay_in_milliseconds() {
        let mut set = RangeSet::new();
        set.insert(1..4);
        set.insert(7..8);
        let mut buffer = [0; 100];
        let mut w = Writer::new(&mut buffer);
        assert!(write_ack(&mut w, Some(crate::id::PathId(2)), &set, 125, None, 100));
        assert_eq!(
            shown(w.written()),
            r#"{"frames":[{"frame_type":"path_ack","path_id":2,"ack_delay":1,"acked_ranges":[[7],[1,3]]}]}"#
        );
    }

    #[test]
    fn a_malformed_frame_is_shown_as_unknown_and_ends_the_list() {
        assert_eq!(
            shown(&[0x01, 0x10]),
            r#"{"frames":[{"frame_type":"ping"},{"frame_type":"unknown","frame_type_bytes":16,"raw":{"length":1}}]}"#
        );
    }

    #[test]
    fn no_more_frames_than_the_limit_are_shown() {
        let all = shown(&[1; FRAMES_MAX]);
        assert_eq!(all.matches("ping").count(), FRAMES_MAX);
        assert!(!all.contains("omitted"));
        let cut = shown(&[1; FRAMES_MAX + 3]);
        assert_eq!(cut.matches("ping").count(), FRAMES_MAX);
        assert!(cut.ends_with(r#""frames_omitted":3}"#), "{cut}");
    }

    #[test]
    fn no_more_ranges_than_the_limit_are_shown() {
        let mut set = RangeSet::new();
        for at in 0..RANGES_MAX as u64 + 5 {
            set.insert(3 * at..3 * at + 1);
        }
        let mut buffer = [0; 1000];
        let mut w = Writer::new(&mut buffer);
        assert!(write_ack(&mut w, None, &set, 0, None, 1000));
        let text = shown(w.written());
        assert_eq!(text.matches('[').count(), 2 + RANGES_MAX, "{text}");
    }
}
