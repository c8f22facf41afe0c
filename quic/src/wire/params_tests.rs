//! Transport parameters: round trips, and each limit from both sides.

use super::*;
use crate::wire::varint::VARINT_MAX;
use proptest::prelude::*;

fn encoded(parameters: &TransportParameters) -> Vec<u8> {
    let mut bytes = Vec::new();
    parameters.encode(&mut bytes, None);
    bytes
}

fn one(id: u64, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, id, value);
    bytes
}

fn one_number(id: u64, value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_number(&mut bytes, id, value);
    bytes
}

fn decode(bytes: &[u8]) -> Result<TransportParameters, TransportError> {
    TransportParameters::decode(bytes, Role::Server, MultipathCodePoints::Both)
}

#[track_caller]
fn refused(bytes: &[u8]) {
    let error = decode(bytes).expect_err("must be refused");
    assert_eq!(error.code, TransportErrorCode::TRANSPORT_PARAMETER_ERROR);
    assert_eq!(error.frame_type, 0);
}

#[test]
fn nothing_declared_means_the_defaults_of_rfc_9000() {
    let parameters = decode(&[]).unwrap();
    assert_eq!(parameters, TransportParameters::default());
    assert_eq!((parameters.max_udp_payload_size, parameters.active_connection_id_limit), (65_527, 2));
    assert_eq!((parameters.ack_delay_exponent, parameters.max_ack_delay_ms), (3, 25));
    assert!(encoded(&parameters).is_empty());
}

#[test]
fn each_number_has_its_place() {
    // Every plain number, with its own identifier as part of the value; byte-exact identifiers by RFC 9000 §18.2.
    let values =
        [0x01, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x20].map(|id| one_number(id, 1000 + id)).concat();
    let parameters = decode(&values).unwrap();
    assert_eq!(parameters.max_idle_timeout_ms, 1001);
    assert_eq!(parameters.initial_max_data, 1004);
    assert_eq!(parameters.initial_max_stream_data_bidi_local, 1005);
    assert_eq!(parameters.initial_max_stream_data_bidi_remote, 1006);
    assert_eq!(parameters.initial_max_stream_data_uni, 1007);
    assert_eq!(parameters.initial_max_streams_bidi, 1008);
    assert_eq!(parameters.initial_max_streams_uni, 1009);
    assert_eq!(parameters.max_datagram_frame_size, 1032);
    assert_eq!(encoded(&parameters), values);
}

#[test]
fn each_limit_holds_from_both_sides() {
    let limits = [
        (0x03, 1200, 1199),
        (0x08, 1 << 60, (1 << 60) + 1),
        (0x09, 1 << 60, (1 << 60) + 1),
        (0x0a, 20, 21),
        (0x0b, (1 << 14) - 1, 1 << 14),
        (0x0e, 2, 1),
        (0x3e, (1 << 32) - 1, 1 << 32),
        (0x3e, 0, VARINT_MAX),
    ];
    for (id, good, bad) in limits {
        assert!(decode(&one_number(id, good)).is_ok(), "{id:#x} = {good}");
        refused(&one_number(id, bad));
    }
}

/// MP-004, MP-005, MP-006
#[test]
fn the_multipath_parameter_is_read_and_written_as_in_the_draft() {
    assert_eq!(decode(&[0x3e, 1, 1]).unwrap().initial_max_path_id, Some(1));
    assert_eq!(decode(&[0x3e, 2, 0x40, 1]).unwrap().initial_max_path_id, Some(1), "longer than needed");
    let zero = TransportParameters { initial_max_path_id: Some(0), ..TransportParameters::default() };
    assert_eq!(encoded(&zero), [0x3e, 1, 0], "zero is not absence");
}

#[test]
fn the_shortest_delay_of_acknowledgements_is_read_and_written_as_in_the_draft() {
    let one_ms = [0xc0, 0, 0, 0, 0xff, 0x04, 0xde, 0x1b, 2, 0x43, 0xe8];
    let parameters = decode(&one_ms).unwrap();
    assert_eq!(parameters.min_ack_delay_us, Some(1000));
    assert_eq!(encoded(&parameters), one_ms);
    let zero = TransportParameters { min_ack_delay_us: Some(0), ..TransportParameters::default() };
    assert_eq!(decode(&encoded(&zero)).unwrap(), zero, "zero is not absence");
    let other = one_number(0x0f73_9bbc_1b66_6d0d, 1);
    assert!(decode(&[&one_ms[..], &other].concat()).is_ok(), "two with long numbers");
    refused(&[one_ms, one_ms].concat());
    refused(&one(0xff04_de1b, &[]));
}

/// MP-012
#[test]
fn the_multipath_parameter_of_older_drafts_comes_before_the_final_one() {
    let both = TransportParameters {
        initial_max_path_id: Some(1),
        initial_max_path_id_draft_13: Some(2),
        ..TransportParameters::default()
    };
    let bytes = encoded(&both);
    assert_eq!(bytes, [0xcf, 0x73, 0x9b, 0xbc, 0x1b, 0x66, 0x6d, 0x0d, 1, 2, 0x3e, 1, 1]);
    let read = |known| {
        let read = TransportParameters::decode(&bytes, Role::Client, known).unwrap();
        (read.initial_max_path_id, read.initial_max_path_id_draft_13)
    };
    assert_eq!(read(MultipathCodePoints::Both), (Some(1), Some(2)));
    assert_eq!(read(MultipathCodePoints::Final), (Some(1), None));
    assert_eq!(read(MultipathCodePoints::Draft13), (None, Some(2)));
}

#[test]
fn the_rules_of_the_multipath_parameter_hold_for_all_code_points_that_are_known() {
    let id = 0x0f73_9bbc_1b66_6d0d;
    let twice = [one_number(id, 1), one_number(id, 1)].concat();
    for wrong in [one_number(id, 1 << 32), one(id, &[]), one(id, &[1, 0]), twice] {
        refused(&wrong);
        let unknown = TransportParameters::decode(&wrong, Role::Server, MultipathCodePoints::Final);
        assert_eq!(unknown, Ok(TransportParameters::default()), "what is unknown has no rules");
    }
    assert_eq!(
        decode(&one_number(id, u32::MAX.into())).unwrap().initial_max_path_id_draft_13,
        Some(u32::MAX)
    );
}

/// MP-012
#[test]
fn a_number_is_one_number_and_nothing_else() {
    for id in [0x01, 0x0b, 0x3e] {
        refused(&one(id, &[]));
        refused(&one(id, &[1, 0]));
        refused(&one(id, &[0x40]));
    }
    refused(&[0x01]);
    refused(&[0x01, 2, 0]);
    refused(&[0x40]);
    refused(&[0x21, 0xff]);
}

/// MP-012
#[test]
fn a_parameter_given_twice_is_refused() {
    for twice in [one_number(0x01, 5), one(0x0c, &[]), one(0x0f, &[1]), one_number(0x3e, 3)] {
        assert!(decode(&twice).is_ok());
        refused(&[twice.clone(), one_number(0x04, 1), twice].concat());
    }
}

#[test]
fn unknown_parameters_are_ignored() {
    let bytes =
        [one(0x1b, &[1, 2, 3]), one_number(0x04, 9), one(VARINT_MAX, &[]), one(0x3f, &[0]), one(0x44, &[])];
    let parameters = decode(&bytes.concat()).unwrap();
    assert_eq!(parameters, TransportParameters { initial_max_data: 9, ..TransportParameters::default() });
}

#[test]
fn a_reserved_parameter_is_sent_and_ignored() {
    for n in [0, 1, 12_345, u64::MAX] {
        let mut bytes = Vec::new();
        TransportParameters::default().encode(&mut bytes, Some((n, &[1, 2])));
        let id = Reader::new(&bytes).varint().unwrap();
        assert_eq!((id - 27) % 31, 0);
        assert_eq!(decode(&bytes), Ok(TransportParameters::default()));
    }
    assert!(reserved_id(u64::MAX) <= VARINT_MAX);
}

#[test]
fn a_client_may_not_send_what_only_servers_know() {
    let address = PreferredAddress { v4: None, v6: None, cid: Cid::new(&[1]).unwrap(), reset_token: [0; 16] };
    let mut preferred = Vec::new();
    address.encode(&mut preferred);
    for bytes in [one(0x00, &[1]), one(0x02, &[0; 16]), preferred, one(0x10, &[1])] {
        assert!(decode(&bytes).is_ok());
        let error =
            TransportParameters::decode(&bytes, Role::Client, MultipathCodePoints::Final).unwrap_err();
        assert_eq!(error.code, TransportErrorCode::TRANSPORT_PARAMETER_ERROR);
    }
    let source = one(0x0f, &[1]);
    assert!(TransportParameters::decode(&source, Role::Client, MultipathCodePoints::Final).is_ok());
}

#[test]
fn connection_ids_and_tokens_have_their_sizes() {
    assert_eq!(decode(&one(0x0f, &[])).unwrap().initial_source_connection_id, Some(Cid::EMPTY));
    assert!(decode(&one(0x00, &[7; 20])).is_ok());
    refused(&one(0x00, &[7; 21]));
    refused(&one(0x02, &[7; 15]));
    refused(&one(0x02, &[7; 17]));
    refused(&one(0x0c, &[0]));
}

/// The value of a `preferred_address` with an IPv4 address and a connection ID of `cid_len` bytes.
fn preferred(cid_len: u8) -> Vec<u8> {
    let mut value = vec![192, 0, 2, 1, 0x11, 0x51];
    value.extend([0; 18]);
    value.push(cid_len);
    value.extend((0..cid_len).chain([0xaa; 16]));
    value
}

#[test]
fn a_preferred_address_is_read_field_by_field() {
    let parameters = decode(&one(0x0d, &preferred(4))).unwrap();
    let address = parameters.preferred_address.unwrap();
    assert_eq!(address.v4, Some(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 0x1151)));
    assert_eq!((address.v6, address.reset_token), (None, [0xaa; 16]));
    assert_eq!(&*address.cid, [0, 1, 2, 3]);
    assert_eq!(encoded(&parameters), one(0x0d, &preferred(4)));
}

#[test]
fn a_preferred_address_needs_a_connection_id_and_all_its_bytes() {
    assert!(decode(&one(0x0d, &preferred(20))).is_ok());
    refused(&one(0x0d, &preferred(0)));
    refused(&one(0x0d, &preferred(21)));
    let whole = preferred(4);
    (0..whole.len()).for_each(|len| refused(&one(0x0d, &whole[..len])));
    refused(&one(0x0d, &[whole, vec![0]].concat()));
}

fn cids() -> impl Strategy<Value = Option<Cid>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..=20).prop_map(|bytes| Cid::new(&bytes).unwrap()))
}

fn addresses() -> impl Strategy<Value = PreferredAddress> {
    let v4 = prop::option::of((any::<[u8; 4]>(), 1..u16::MAX));
    let v6 = prop::option::of((any::<[u8; 16]>(), 1..u16::MAX));
    let cid = prop::collection::vec(any::<u8>(), 1..=20);
    (v4, v6, cid, any::<[u8; 16]>()).prop_map(|(v4, v6, cid, reset_token)| PreferredAddress {
        v4: v4.map(|(ip, port)| SocketAddrV4::new(ip.into(), port)),
        v6: v6.map(|(ip, port)| SocketAddrV6::new(ip.into(), port, 0, 0)),
        cid: Cid::new(&cid).unwrap(),
        reset_token,
    })
}

fn parameters() -> impl Strategy<Value = TransportParameters> {
    let numbers = (
        prop::collection::vec(0..=VARINT_MAX, 6),
        prop::collection::vec(0..=STREAMS_MAX, 2),
        (1200..=VARINT_MAX, 0..=20u64, 0..1u64 << 14, 2..=VARINT_MAX),
    );
    let others = (
        (cids(), cids(), cids()),
        prop::option::of(any::<[u8; 16]>()),
        prop::option::of(addresses()),
        any::<bool>(),
        (prop::option::of(any::<u32>()), prop::option::of(any::<u32>())),
        prop::option::of(0..=VARINT_MAX),
    );
    (numbers, others).prop_map(
        |((plain, streams, limited), (cids, token, address, fixed, (paths, old_paths), min_ack_delay_us))| {
            TransportParameters {
                original_destination_connection_id: cids.0,
                max_idle_timeout_ms: plain[0],
                stateless_reset_token: token,
                max_udp_payload_size: limited.0,
                initial_max_data: plain[1],
                initial_max_stream_data_bidi_local: plain[2],
                initial_max_stream_data_bidi_remote: plain[3],
                initial_max_stream_data_uni: plain[4],
                initial_max_streams_bidi: streams[0],
                initial_max_streams_uni: streams[1],
                ack_delay_exponent: limited.1,
                max_ack_delay_ms: limited.2,
                disable_active_migration: fixed,
                preferred_address: address,
                active_connection_id_limit: limited.3,
                initial_source_connection_id: cids.1,
                retry_source_connection_id: cids.2,
                max_datagram_frame_size: plain[5],
                min_ack_delay_us,
                initial_max_path_id: paths,
                initial_max_path_id_draft_13: old_paths,
            }
        },
    )
}

proptest! {
    #[test]
    fn all_parameters_come_back(parameters in parameters(), n in any::<u64>()) {
        let mut bytes = Vec::new();
        parameters.encode(&mut bytes, Some((n, b"ignored")));
        prop_assert_eq!(decode(&bytes), Ok(parameters));
    }
}
