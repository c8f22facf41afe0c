//! What both ends declared in their transport parameters, as far as the corridor needs it.
//!
//! Owns our declaration and the checks that join the peer's to the handshake (RFC 9000 §7.3, §7.4; MP-001 to MP-017).
//! Limits on streams and paths go to their rooms at once and are not kept here.

use std::time::Duration;

use crate::config::{MultipathCodePoints, TransportConfig};
use crate::error::{TransportError, TransportErrorCode};
use crate::id::Role;
use crate::path::cids::ACTIVE_CID_LIMIT;
use crate::path::frequency::Frequency;
use crate::turn::Turn;
use crate::wire::cid_bytes::Cid;
use crate::wire::code_points::CodePoints;
use crate::wire::params::TransportParameters;

/// Our acknowledgement delays are in units of 2^3 us.
pub(super) const ACK_DELAY_EXPONENT: u8 = 3;

/// What holds for the connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed {
    /// The peer's parameters have been taken in.
    pub(super) known: bool,
    /// The peer's.
    pub(super) ack_delay_exponent: u8,
    /// Both ends offered multipath; in force once the handshake is complete.
    pub(super) multipath: Option<u32>,
    /// With these numbers for its frames.
    pub(super) code_points: CodePoints,
    /// The peer wants no path moved, and none opened, to the address of the handshake (RFC 9000 §18.2, MP-015).
    pub(super) migration_forbidden: bool,
}

impl Agreed {
    pub(super) fn unknown() -> Self {
        let defaults = TransportParameters::default();
        Self {
            known: false,
            ack_delay_exponent: defaults.ack_delay_exponent as u8,
            multipath: None,
            code_points: CodePoints::Final,
            migration_forbidden: false,
        }
    }

    /// The peer's delay field as a time (RFC 9000 §19.3).
    pub(super) fn ack_delay(&self, raw: u64) -> Duration {
        Duration::from_micros(
            raw.checked_shl(u32::from(self.ack_delay_exponent)).unwrap_or(u64::MAX).min(1 << 40),
        )
    }
}

/// Our transport parameters, encoded, with these code points if multipath is offered. A server names the client's first IDs: its own choice of destination, with the
/// reset token of our source, and its source (which must not be empty for multipath, MP-008).
pub(super) fn ours(
    config: &TransportConfig,
    code_points: MultipathCodePoints,
    role: Role,
    scid: Cid,
    server: Option<(Cid, [u8; 16], Cid)>,
    turn: &mut Turn<'_>,
) -> Vec<u8> {
    let peer_has_cid = server.is_none_or(|(_, _, peer)| !peer.is_empty());
    // The value 0 is legal, but a peer in the field takes it for a refusal and then trips over our frames.
    let multipath = config.max_paths > 1 && peer_has_cid;
    let max_path_id = multipath.then(|| config.max_paths - 1);
    let idle_ms = u64::try_from(config.idle_timeout.as_millis()).unwrap_or(0);
    let parameters = TransportParameters {
        original_destination_connection_id: server.map(|(original, ..)| original),
        max_idle_timeout_ms: idle_ms,
        stateless_reset_token: server.map(|(_, token, _)| token),
        initial_max_data: config.connection_window,
        initial_max_stream_data_bidi_local: config.stream_window,
        initial_max_stream_data_bidi_remote: config.stream_window,
        initial_max_stream_data_uni: config.stream_window,
        initial_max_streams_bidi: config.max_streams_bidirectional,
        initial_max_streams_uni: config.max_streams_unidirectional,
        ack_delay_exponent: u64::from(ACK_DELAY_EXPONENT),
        max_ack_delay_ms: config.max_ack_delay.as_millis() as u64,
        active_connection_id_limit: ACTIVE_CID_LIMIT,
        initial_source_connection_id: Some(scid),
        max_datagram_frame_size: u64::from(config.datagram_receive_max),
        min_ack_delay_us: Frequency::offer_us(config),
        initial_max_path_id: max_path_id.filter(|_| code_points.has_final()),
        initial_max_path_id_draft_13: max_path_id.filter(|_| code_points.has_draft_13()),
        ..TransportParameters::default()
    };
    debug_assert_eq!(role == Role::Server, server.is_some());
    let mut encoded = Vec::with_capacity(128);
    // A parameter that nobody knows keeps the extension point open (RFC 9000 §18.1).
    let reserved = 31 * turn.rng.below(1 << 16) + 27;
    let value: [u8; 4] = turn.rng.array();
    parameters.encode(&mut encoded, Some((reserved, &value)));
    #[cfg(test)]
    super::hook::tamper(role, &mut encoded);
    encoded
}

/// The newest code points that both ends offer, with the peer's limit on path IDs. What is not among our own was not
/// decoded.
pub(super) fn common(theirs: &TransportParameters) -> Option<(CodePoints, u32)> {
    let newest = theirs.initial_max_path_id.map(|limit| (CodePoints::Final, limit));
    newest.or(theirs.initial_max_path_id_draft_13.map(|limit| (CodePoints::Draft13, limit)))
}

/// Does a client that declares `params` know only the code points of drafts 13 to 18?
pub(super) fn is_draft_13(params: &[u8]) -> bool {
    let theirs = TransportParameters::decode(params, Role::Client, MultipathCodePoints::Both);
    theirs.is_ok_and(|theirs| common(&theirs).is_some_and(|(points, _)| points == CodePoints::Draft13))
}

/// Do the peer's parameters belong to this handshake? (RFC 9000 §7.3)
pub(super) fn check(
    theirs: &TransportParameters,
    role: Role,
    original: Cid,
    peer: Cid,
    multipath: bool,
) -> Result<(), TransportError> {
    let wrong = |reason| Err(TransportError::new(TransportErrorCode::TRANSPORT_PARAMETER_ERROR, reason));
    if theirs.initial_source_connection_id != Some(peer) {
        return wrong("initial_source_connection_id does not match");
    }
    if role == Role::Client {
        if theirs.original_destination_connection_id != Some(original) {
            return wrong("original_destination_connection_id does not match");
        }
        if theirs.retry_source_connection_id.is_some() {
            return wrong("retry_source_connection_id without a Retry");
        }
    }
    if multipath && common(theirs).is_some() && peer.is_empty() {
        return Err(TransportError::protocol_violation("multipath with an empty connection ID"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::base::time::Instant;
    use crate::cid::CidTable;
    use crate::config::Shard;

    fn cid(byte: u8) -> Cid {
        Cid::new(&[byte; 8]).unwrap()
    }

    fn theirs() -> TransportParameters {
        TransportParameters {
            initial_source_connection_id: Some(cid(2)),
            original_destination_connection_id: Some(cid(1)),
            ..TransportParameters::default()
        }
    }

    #[test]
    fn ids_must_match_the_handshake() {
        assert_eq!(check(&theirs(), Role::Client, cid(1), cid(2), true), Ok(()));
        assert!(check(&theirs(), Role::Client, cid(3), cid(2), true).is_err());
        assert!(check(&theirs(), Role::Client, cid(1), cid(3), true).is_err());
        let retried = TransportParameters { retry_source_connection_id: Some(cid(9)), ..theirs() };
        assert!(check(&retried, Role::Client, cid(1), cid(2), true).is_err());
    }

    /// MP-008
    #[test]
    fn a_server_offers_nothing_to_a_client_without_a_connection_id() {
        let mut cids = CidTable::new(Shard::default(), [1; 16], [2; 32], 3);
        let mut rng = Rng::new([4; 32]);
        for (peer, offered) in [(Cid::EMPTY, None), (cid(9), Some(7))] {
            let mut turn = Turn { now: Instant::ZERO, slot: 0, cids: &mut cids, rng: &mut rng };
            let server = Some((cid(1), [0; 16], peer));
            let points = MultipathCodePoints::default();
            let encoded = ours(&TransportConfig::default(), points, Role::Server, cid(2), server, &mut turn);
            let declared = TransportParameters::decode(&encoded, Role::Server, points).unwrap();
            assert_eq!(declared.initial_max_path_id, offered);
        }
    }

    #[test]
    fn multipath_needs_connection_ids() {
        // MP-009
        let empty = TransportParameters {
            initial_source_connection_id: Some(Cid::EMPTY),
            initial_max_path_id: Some(3),
            ..TransportParameters::default()
        };
        let error = check(&empty, Role::Server, cid(1), Cid::EMPTY, true).unwrap_err();
        assert_eq!(error.code, TransportErrorCode::PROTOCOL_VIOLATION);
        assert_eq!(check(&empty, Role::Server, cid(1), Cid::EMPTY, false), Ok(()), "unknown to us");
    }

    /// MP-212
    #[test]
    fn absurd_delays_do_not_overflow() {
        let agreed = Agreed { ack_delay_exponent: 20, ..Agreed::unknown() };
        assert_eq!(agreed.ack_delay(u64::MAX), Duration::from_micros(1 << 40));
        assert_eq!(agreed.ack_delay(1), Duration::from_micros(1 << 20));
    }
}
