//! Transport parameters (RFC 9000 §18; RFC 9221 §3; draft-ietf-quic-multipath-21 §2.1;
//! draft-ietf-quic-ack-frequency).
//!
//! Owns their coding, their defaults, and every limit that one parameter alone can break. Whether connection IDs match
//! the handshake (RFC 9000 §7.3) and whether multipath may be used (MP-009, MP-010) is for the connection.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use super::cid_bytes::Cid;
use super::cursor::{Reader, Sink};
use super::frame::STREAMS_MAX;
use super::packet::{DATAGRAM_LEN_MIN, UDP_PAYLOAD_MAX};
use super::varint::varint_len;
use crate::config::MultipathCodePoints;
use crate::error::{TransportError, TransportErrorCode};
use crate::id::Role;

/// Larger exponents are invalid (RFC 9000 §18.2).
pub(crate) const ACK_DELAY_EXPONENT_MAX: u64 = 20;

/// Delays of this many milliseconds or more are invalid (RFC 9000 §18.2).
pub(crate) const ACK_DELAY_MS_BOUND: u64 = 1 << 14;

/// The `max_ack_delay` of who declares none (RFC 9000 §18.2).
pub(crate) const ACK_DELAY_MS_DEFAULT: u64 = 25;

/// Every endpoint keeps at least this many connection IDs of its peer (RFC 9000 §18.2).
pub(crate) const ACTIVE_CIDS_MIN: u64 = 2;

mod ids {
    pub(super) const ORIGINAL_DESTINATION_CONNECTION_ID: u64 = 0x00;
    pub(super) const MAX_IDLE_TIMEOUT: u64 = 0x01;
    pub(super) const STATELESS_RESET_TOKEN: u64 = 0x02;
    pub(super) const MAX_UDP_PAYLOAD_SIZE: u64 = 0x03;
    pub(super) const INITIAL_MAX_DATA: u64 = 0x04;
    pub(super) const INITIAL_MAX_STREAM_DATA_BIDI_LOCAL: u64 = 0x05;
    pub(super) const INITIAL_MAX_STREAM_DATA_BIDI_REMOTE: u64 = 0x06;
    pub(super) const INITIAL_MAX_STREAM_DATA_UNI: u64 = 0x07;
    pub(super) const INITIAL_MAX_STREAMS_BIDI: u64 = 0x08;
    pub(super) const INITIAL_MAX_STREAMS_UNI: u64 = 0x09;
    pub(super) const ACK_DELAY_EXPONENT: u64 = 0x0a;
    pub(super) const MAX_ACK_DELAY: u64 = 0x0b;
    pub(super) const DISABLE_ACTIVE_MIGRATION: u64 = 0x0c;
    pub(super) const PREFERRED_ADDRESS: u64 = 0x0d;
    pub(super) const ACTIVE_CONNECTION_ID_LIMIT: u64 = 0x0e;
    pub(super) const INITIAL_SOURCE_CONNECTION_ID: u64 = 0x0f;
    pub(super) const RETRY_SOURCE_CONNECTION_ID: u64 = 0x10;
    pub(super) const MAX_DATAGRAM_FRAME_SIZE: u64 = 0x20;
    pub(super) const INITIAL_MAX_PATH_ID: u64 = 0x3e;
    /// The number for experiments: the draft has no permanent one yet.
    pub(super) const MIN_ACK_DELAY: u64 = 0xff04_de1b;
    /// In draft-ietf-quic-multipath-13 to -18.
    pub(super) const INITIAL_MAX_PATH_ID_DRAFT_13: u64 = 0x0f73_9bbc_1b66_6d0d;
}

/// What an endpoint declares in the handshake. An absent number has the value that its absence means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TransportParameters {
    /// Only from a server.
    pub(crate) original_destination_connection_id: Option<Cid>,
    /// 0 for none.
    pub(crate) max_idle_timeout_ms: u64,
    /// Only from a server.
    pub(crate) stateless_reset_token: Option<[u8; 16]>,
    pub(crate) max_udp_payload_size: u64,
    pub(crate) initial_max_data: u64,
    pub(crate) initial_max_stream_data_bidi_local: u64,
    pub(crate) initial_max_stream_data_bidi_remote: u64,
    pub(crate) initial_max_stream_data_uni: u64,
    pub(crate) initial_max_streams_bidi: u64,
    pub(crate) initial_max_streams_uni: u64,
    pub(crate) ack_delay_exponent: u64,
    pub(crate) max_ack_delay_ms: u64,
    pub(crate) disable_active_migration: bool,
    /// Only from a server.
    pub(crate) preferred_address: Option<PreferredAddress>,
    /// Counts per path where multipath is in use (MP-014).
    pub(crate) active_connection_id_limit: u64,
    pub(crate) initial_source_connection_id: Option<Cid>,
    /// Only from a server.
    pub(crate) retry_source_connection_id: Option<Cid>,
    /// The largest DATAGRAM frame that it takes, type and length included; 0 for none (RFC 9221 §3).
    pub(crate) max_datagram_frame_size: u64,
    /// The shortest time in microseconds that it can wait with an acknowledgement. `None`: it does not let the peer say how
    /// often it acknowledges.
    pub(crate) min_ack_delay_us: Option<u64>,
    /// `None`: no multipath (MP-001).
    pub(crate) initial_max_path_id: Option<u32>,
    /// `None`: no multipath with the code points of drafts 13 to 18.
    pub(crate) initial_max_path_id_draft_13: Option<u32>,
}

impl Default for TransportParameters {
    /// What an endpoint that declares nothing has declared.
    fn default() -> Self {
        Self {
            original_destination_connection_id: None,
            max_idle_timeout_ms: 0,
            stateless_reset_token: None,
            max_udp_payload_size: UDP_PAYLOAD_MAX,
            initial_max_data: 0,
            initial_max_stream_data_bidi_local: 0,
            initial_max_stream_data_bidi_remote: 0,
            initial_max_stream_data_uni: 0,
            initial_max_streams_bidi: 0,
            initial_max_streams_uni: 0,
            ack_delay_exponent: 3,
            max_ack_delay_ms: ACK_DELAY_MS_DEFAULT,
            disable_active_migration: false,
            preferred_address: None,
            active_connection_id_limit: ACTIVE_CIDS_MIN,
            initial_source_connection_id: None,
            retry_source_connection_id: None,
            max_datagram_frame_size: 0,
            min_ack_delay_us: None,
            initial_max_path_id: None,
            initial_max_path_id_draft_13: None,
        }
    }
}

/// Where a server would rather be reached, with connection ID number 1 of path 0 (RFC 9000 §9.6; MP-016).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PreferredAddress {
    pub(crate) v4: Option<SocketAddrV4>,
    pub(crate) v6: Option<SocketAddrV6>,
    pub(crate) cid: Cid,
    pub(crate) reset_token: [u8; 16],
}

impl TransportParameters {
    /// Reads what the end in the role `from` declared. Unknown parameters are ignored, and so are those of the multipath
    /// extension with code points that are not `known` here.
    pub(crate) fn decode(
        bytes: &[u8],
        from: Role,
        known: MultipathCodePoints,
    ) -> Result<Self, TransportError> {
        let mut parameters = Self::default();
        let mut seen = 0_u64;
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let id = reader.varint().ok_or(CUT_SHORT)?;
            let value = reader.prefixed().ok_or(CUT_SHORT)?;
            if parameters.take(id, Reader::new(value), from, known)? {
                let bit = 1_u64 << place(id);
                if seen & bit != 0 {
                    return Err(invalid("transport parameter given twice"));
                }
                seen |= bit;
            }
        }
        Ok(parameters)
    }

    /// Takes one parameter; `false` if it is unknown.
    fn take(
        &mut self,
        id: u64,
        value: Reader<'_>,
        from: Role,
        known: MultipathCodePoints,
    ) -> Result<bool, TransportError> {
        let server_only = matches!(
            id,
            ids::ORIGINAL_DESTINATION_CONNECTION_ID
                | ids::STATELESS_RESET_TOKEN
                | ids::PREFERRED_ADDRESS
                | ids::RETRY_SOURCE_CONNECTION_ID
        );
        if server_only && from == Role::Client {
            return Err(invalid("transport parameter that a client may not send"));
        }
        match id {
            ids::ORIGINAL_DESTINATION_CONNECTION_ID => {
                self.original_destination_connection_id = Some(cid(value.rest())?);
            }
            ids::STATELESS_RESET_TOKEN => self.stateless_reset_token = Some(token(value.rest())?),
            ids::DISABLE_ACTIVE_MIGRATION if value.is_empty() => self.disable_active_migration = true,
            ids::DISABLE_ACTIVE_MIGRATION => return Err(invalid("disable_active_migration with a value")),
            ids::PREFERRED_ADDRESS => self.preferred_address = Some(PreferredAddress::decode(value)?),
            ids::INITIAL_SOURCE_CONNECTION_ID => {
                self.initial_source_connection_id = Some(cid(value.rest())?);
            }
            ids::RETRY_SOURCE_CONNECTION_ID => self.retry_source_connection_id = Some(cid(value.rest())?),
            ids::MIN_ACK_DELAY => self.min_ack_delay_us = Some(number(value)?),
            ids::INITIAL_MAX_PATH_ID if known.has_final() => {
                self.initial_max_path_id = Some(path_id(value)?);
            }
            ids::INITIAL_MAX_PATH_ID_DRAFT_13 if known.has_draft_13() => {
                self.initial_max_path_id_draft_13 = Some(path_id(value)?);
            }
            _ => match self.number_mut(id) {
                Some(number_mut) => *number_mut = checked(id, number(value)?)?,
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    /// The field of a parameter that is a plain number.
    fn number_mut(&mut self, id: u64) -> Option<&mut u64> {
        Some(match id {
            ids::MAX_IDLE_TIMEOUT => &mut self.max_idle_timeout_ms,
            ids::MAX_UDP_PAYLOAD_SIZE => &mut self.max_udp_payload_size,
            ids::INITIAL_MAX_DATA => &mut self.initial_max_data,
            ids::INITIAL_MAX_STREAM_DATA_BIDI_LOCAL => &mut self.initial_max_stream_data_bidi_local,
            ids::INITIAL_MAX_STREAM_DATA_BIDI_REMOTE => &mut self.initial_max_stream_data_bidi_remote,
            ids::INITIAL_MAX_STREAM_DATA_UNI => &mut self.initial_max_stream_data_uni,
            ids::INITIAL_MAX_STREAMS_BIDI => &mut self.initial_max_streams_bidi,
            ids::INITIAL_MAX_STREAMS_UNI => &mut self.initial_max_streams_uni,
            ids::ACK_DELAY_EXPONENT => &mut self.ack_delay_exponent,
            ids::MAX_ACK_DELAY => &mut self.max_ack_delay_ms,
            ids::ACTIVE_CONNECTION_ID_LIMIT => &mut self.active_connection_id_limit,
            ids::MAX_DATAGRAM_FRAME_SIZE => &mut self.max_datagram_frame_size,
            _ => return None,
        })
    }

    /// Appends the parameters to `out`, leaving out numbers whose value absence means too. `reserved` is a number N
    /// and a value for one parameter of the form 31 * N + 27, which peers must ignore (RFC 9000 §18.1).
    pub(crate) fn encode(&self, out: &mut Vec<u8>, reserved: Option<(u64, &[u8])>) {
        let given = self.numbers();
        let absent = Self::default().numbers();
        for ((id, value), (_, default)) in given.into_iter().zip(absent) {
            if value != default {
                debug_assert!(checked(id, value).is_ok(), "parameter {id:#x} cannot be {value}");
                put_number(out, id, value);
            }
        }
        if self.disable_active_migration {
            put(out, ids::DISABLE_ACTIVE_MIGRATION, &[]);
        }
        if let Some(token) = &self.stateless_reset_token {
            put(out, ids::STATELESS_RESET_TOKEN, token);
        }
        let cids = [
            (ids::ORIGINAL_DESTINATION_CONNECTION_ID, self.original_destination_connection_id),
            (ids::INITIAL_SOURCE_CONNECTION_ID, self.initial_source_connection_id),
            (ids::RETRY_SOURCE_CONNECTION_ID, self.retry_source_connection_id),
        ];
        for (id, cid) in cids {
            if let Some(cid) = cid {
                put(out, id, &cid);
            }
        }
        if let Some(address) = &self.preferred_address {
            address.encode(out);
        }
        if let Some(delay) = self.min_ack_delay_us {
            put_number(out, ids::MIN_ACK_DELAY, delay);
        }
        if let Some((n, value)) = reserved {
            put(out, reserved_id(n), value);
        }
        if let Some(max) = self.initial_max_path_id_draft_13 {
            put_number(out, ids::INITIAL_MAX_PATH_ID_DRAFT_13, max.into());
        }
        // The last word: a peer in the field goes by the last one that it knows.
        if let Some(max) = self.initial_max_path_id {
            put_number(out, ids::INITIAL_MAX_PATH_ID, max.into());
        }
    }

    /// The parameters that are plain numbers.
    fn numbers(&self) -> [(u64, u64); 12] {
        [
            (ids::MAX_IDLE_TIMEOUT, self.max_idle_timeout_ms),
            (ids::MAX_UDP_PAYLOAD_SIZE, self.max_udp_payload_size),
            (ids::INITIAL_MAX_DATA, self.initial_max_data),
            (ids::INITIAL_MAX_STREAM_DATA_BIDI_LOCAL, self.initial_max_stream_data_bidi_local),
            (ids::INITIAL_MAX_STREAM_DATA_BIDI_REMOTE, self.initial_max_stream_data_bidi_remote),
            (ids::INITIAL_MAX_STREAM_DATA_UNI, self.initial_max_stream_data_uni),
            (ids::INITIAL_MAX_STREAMS_BIDI, self.initial_max_streams_bidi),
            (ids::INITIAL_MAX_STREAMS_UNI, self.initial_max_streams_uni),
            (ids::ACK_DELAY_EXPONENT, self.ack_delay_exponent),
            (ids::MAX_ACK_DELAY, self.max_ack_delay_ms),
            (ids::ACTIVE_CONNECTION_ID_LIMIT, self.active_connection_id_limit),
            (ids::MAX_DATAGRAM_FRAME_SIZE, self.max_datagram_frame_size),
        ]
    }
}

impl PreferredAddress {
    /// All zeros stand for no address of that family.
    fn decode(mut value: Reader<'_>) -> Result<Self, TransportError> {
        let v4 = SocketAddrV4::new(Ipv4Addr::from(field(value.array::<4>())?), field(value.u16())?);
        let v6 = SocketAddrV6::new(Ipv6Addr::from(field(value.array::<16>())?), field(value.u16())?, 0, 0);
        let cid_len = field(value.u8())?;
        let cid = cid(field(value.take(cid_len.into()))?)?;
        if cid.is_empty() {
            return Err(invalid("preferred_address without a connection ID"));
        }
        let reset_token = token(value.rest())?;
        let v4 = Some(v4).filter(|v4| !(v4.ip().is_unspecified() && v4.port() == 0));
        let v6 = Some(v6).filter(|v6| !(v6.ip().is_unspecified() && v6.port() == 0));
        Ok(Self { v4, v6, cid, reset_token })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let v4 = self.v4.unwrap_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
        let v6 = self.v6.unwrap_or(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0));
        out.varint(ids::PREFERRED_ADDRESS);
        out.varint((4 + 2 + 16 + 2 + 1 + self.cid.len() + 16) as u64);
        out.slice(&v4.ip().octets());
        out.slice(&v4.port().to_be_bytes());
        out.slice(&v6.ip().octets());
        out.slice(&v6.port().to_be_bytes());
        out.slice(&[self.cid.len() as u8]);
        out.slice(&self.cid);
        out.slice(&self.reset_token);
    }
}

const CUT_SHORT: TransportError = invalid("transport parameter is cut short");

const fn invalid(reason: &'static str) -> TransportError {
    TransportError::new(TransportErrorCode::TRANSPORT_PARAMETER_ERROR, reason)
}

/// May the parameter have this value? (RFC 9000 §4.6, §18.2)
fn checked(id: u64, value: u64) -> Result<u64, TransportError> {
    match id {
        ids::MAX_UDP_PAYLOAD_SIZE if value < DATAGRAM_LEN_MIN as u64 => {
            Err(invalid("max_udp_payload_size below 1200"))
        }
        ids::INITIAL_MAX_STREAMS_BIDI | ids::INITIAL_MAX_STREAMS_UNI if value > STREAMS_MAX => {
            Err(invalid("more than 2^60 streams"))
        }
        ids::ACK_DELAY_EXPONENT if value > ACK_DELAY_EXPONENT_MAX => {
            Err(invalid("ack_delay_exponent above 20"))
        }
        ids::MAX_ACK_DELAY if value >= ACK_DELAY_MS_BOUND => Err(invalid("max_ack_delay of 2^14 ms or more")),
        ids::ACTIVE_CONNECTION_ID_LIMIT if value < ACTIVE_CIDS_MIN => {
            Err(invalid("active_connection_id_limit below 2"))
        }
        _ => Ok(value),
    }
}

/// A number below 64 for each parameter that is known.
const fn place(id: u64) -> u32 {
    match id {
        ids::INITIAL_MAX_PATH_ID_DRAFT_13 => 63,
        ids::MIN_ACK_DELAY => 61,
        _ => {
            debug_assert!(id < 61 || id == ids::INITIAL_MAX_PATH_ID);
            id as u32
        }
    }
}

/// A value that is one variable-length integer and nothing else (MP-012).
fn number(mut value: Reader<'_>) -> Result<u64, TransportError> {
    let number = value.varint().filter(|_| value.is_empty());
    number.ok_or(invalid("transport parameter is not one number"))
}

/// The highest path ID (MP-006).
fn path_id(value: Reader<'_>) -> Result<u32, TransportError> {
    u32::try_from(number(value)?).map_err(|_| invalid("initial_max_path_id above 2^32-1"))
}

fn cid(bytes: &[u8]) -> Result<Cid, TransportError> {
    Cid::new(bytes).ok_or(invalid("connection ID of more than 20 bytes"))
}

fn token(bytes: &[u8]) -> Result<[u8; 16], TransportError> {
    bytes.try_into().map_err(|_| invalid("stateless reset token not of 16 bytes"))
}

fn field<T>(read: Option<T>) -> Result<T, TransportError> {
    read.ok_or(CUT_SHORT)
}

fn put(out: &mut Vec<u8>, id: u64, value: &[u8]) {
    out.varint(id);
    out.varint(value.len() as u64);
    out.slice(value);
}

fn put_number(out: &mut Vec<u8>, id: u64, value: u64) {
    out.varint(id);
    out.varint(varint_len(value) as u64);
    out.varint(value);
}

/// The identifier 31 * N + 27, with N cut so that it can be encoded.
const fn reserved_id(n: u64) -> u64 {
    31 * (n & ((1 << 57) - 1)) + 27
}

#[cfg(test)]
#[path = "params_tests.rs"]
mod tests;
