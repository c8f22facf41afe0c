//! Handshakes of two `Tls` objects in memory.

use std::sync::Arc;

use rustls::CipherSuite;
use rustls_pki_types::ServerName;

use super::Level;
use super::fixture::{
    Peer, client_config, client_tls, provider, server_config, server_tls, shake, ticket_tls,
};
use super::keyring::KeyRing;
use super::protect::LevelKeys;
use super::tls::{ClientTls, Params, ServerTls, Tls, TlsConfigError};
use crate::error::TransportErrorCode;

fn server_with(alpn: &[&[u8]]) -> ServerTls {
    ServerTls::new(Arc::new(server_config(provider(), alpn))).unwrap()
}

#[test]
fn a_handshake_gives_both_ends_keys_parameters_and_protocol() {
    let (mut client, mut server) =
        (Peer::client(&client_tls(), b"params c"), Peer::server(&server_tls(), b"params s"));
    assert!(client.tls.is_handshaking() && server.tls.is_handshaking());
    shake(&mut client, &mut server).unwrap();
    assert!(!client.tls.is_handshaking() && !server.tls.is_handshaking());
    assert_eq!(
        (client.tls.peer_params(), server.tls.peer_params()),
        (Some(&b"params s"[..]), Some(&b"params c"[..]))
    );
    assert_eq!((client.tls.alpn(), server.tls.alpn()), (Some(&b"perf"[..]), Some(&b"perf"[..])));
    assert_eq!((client.tls.server_name(), server.tls.server_name()), (None, Some("localhost")));
    assert_eq!(client.tls.peer_certificates().map(<[_]>::len), Some(1));
    assert!(server.tls.peer_certificates().is_none());
    assert!(client.handshake.is_some() && server.handshake.is_some());
    assert!(client.ring.unwrap().supports_paths() && server.ring.unwrap().supports_paths());
}

#[test]
fn each_level_carries_its_own_messages() {
    let (mut client, mut server) = (Peer::client(&client_tls(), b"c"), Peer::server(&server_tls(), b"s"));
    let hello = client.write();
    assert_eq!(hello.iter().map(|said| said.0).collect::<Vec<_>>(), [Level::Initial]);
    server.read(&hello).unwrap();
    let answer = server.write();
    assert_eq!(answer.iter().map(|said| said.0).collect::<Vec<_>>(), [Level::Initial, Level::Handshake]);
    assert_eq!((server.tls.write_level(), server.tls.read_level()), (Level::OneRtt, Level::Handshake));
    assert!(server.ring.is_some(), "a server may send 1-RTT packets before the client's last message");
    client.read(&answer[..1]).unwrap();
    assert!(client.write().is_empty() && client.handshake.is_some() && client.ring.is_none());
    client.read(&answer[1..]).unwrap();
    let finished = client.write();
    assert_eq!(finished.iter().map(|said| said.0).collect::<Vec<_>>(), [Level::Handshake]);
    server.read(&finished).unwrap();
    assert_eq!((server.tls.read_level(), client.tls.read_level()), (Level::OneRtt, Level::OneRtt));
}

#[test]
fn messages_may_be_cut_anywhere() {
    let (mut client, mut server) = (Peer::client(&client_tls(), b"c"), Peer::server(&server_tls(), b"s"));
    for (level, bytes) in client.write() {
        bytes.chunks(100).for_each(|chunk| server.tls.read(level, chunk).unwrap());
    }
    for (level, bytes) in server.write() {
        bytes.chunks(7).for_each(|chunk| client.tls.read(level, chunk).unwrap());
        let said = client.write();
        server.read(&said).unwrap();
    }
    assert!(!client.tls.is_handshaking() && !server.tls.is_handshaking());
}

#[test]
fn a_server_may_choose_its_parameters_when_it_has_read_the_clients() {
    for (said, answer) in [(&b"old"[..], &b"for the old"[..]), (b"new", b"for the new")] {
        for cut in [1, 50, 10_000] {
            let params = Params::ByClient {
                usual: b"for the new".to_vec(),
                other: b"for the old".to_vec(),
                wants_other: |params| params == b"old",
            };
            let mut client = Peer::client(&client_tls(), said);
            let mut server = Peer::server(&server_tls(), b"");
            server.tls = Tls::server(&server_tls(), params).unwrap();
            for (level, bytes) in client.write() {
                bytes.chunks(cut).for_each(|chunk| server.tls.read(level, chunk).unwrap());
            }
            shake(&mut client, &mut server).unwrap();
            assert_eq!((client.tls.peer_params(), server.tls.peer_params()), (Some(answer), Some(said)));
        }
    }
}

#[test]
fn what_is_no_client_hello_is_for_tls_to_judge() {
    for nonsense in [&[2, 0, 0, 0][..], &[1, 0, 0, 0], &[1, 0xff, 0xff, 0xff]] {
        let params = Params::ByClient { usual: Vec::new(), other: Vec::new(), wants_other: |_| true };
        let mut tls = Tls::server(&server_tls(), params).unwrap();
        let mut refused = tls.read(Level::Initial, nonsense).is_err();
        for _ in 0..70 {
            refused |= tls.read(Level::Initial, &[0; 1000]).is_err();
        }
        assert!(refused, "{nonsense:?}");
    }
}

#[test]
fn tickets_after_the_handshake_are_read_at_the_last_level() {
    let (mut client, mut server) = (Peer::client(&client_tls(), b"c"), Peer::server(&server_tls(), b"s"));
    let hello = client.write();
    server.read(&hello).unwrap();
    for piece in server.write() {
        client.read(&[piece]).unwrap();
        server.read(&client.write()).unwrap();
    }
    let tickets = server.write();
    assert!(!tickets.is_empty() && tickets.iter().all(|said| said.0 == Level::OneRtt));
    client.read(&tickets).unwrap();
}

/// MP-011
#[test]
fn a_resumed_handshake_shows_no_certificate_and_takes_no_parameters_from_the_one_before() {
    let (client, server) = (client_tls(), ticket_tls(1));
    let mut said_bytes = Vec::new();
    for (resumes, params) in [(false, &b"first"[..]), (true, b"second")] {
        let (mut client, mut server) = (Peer::client(&client, b"c"), Peer::server(&server, params));
        let hello = client.write();
        assert_eq!(client.tls.peer_params(), None, "those that it remembers are for 0-RTT");
        server.read(&hello).unwrap();
        let answer = server.write();
        client.read(&answer[..1]).unwrap();
        client.write();
        assert_eq!(client.tls.peer_params(), None);
        said_bytes.push(answer[1..].iter().map(|(_, bytes)| bytes.len()).sum::<usize>());
        client.read(&answer[1..]).unwrap();
        server.read(&client.write()).unwrap();
        client.read(&server.write()).unwrap();
        assert_eq!(client.tls.peer_params(), Some(params));
        assert_eq!((client.tls.is_resumed(), server.tls.is_resumed()), (resumes, resumes));
    }
    assert!(said_bytes[1] + 300 < said_bytes[0], "{said_bytes:?}");
}

#[test]
fn data_at_another_level_than_tls_reads_breaks_the_protocol() {
    let (mut client, mut server) = (Peer::client(&client_tls(), b"c"), Peer::server(&server_tls(), b"s"));
    let hello = client.write();
    server.read(&hello).unwrap();
    server.write();
    let error = server.tls.read(Level::Initial, b"x").unwrap_err();
    assert_eq!(error.code, TransportErrorCode::PROTOCOL_VIOLATION);
    assert_eq!(
        server.tls.read(Level::OneRtt, b"x").unwrap_err().code,
        TransportErrorCode::PROTOCOL_VIOLATION
    );
}

#[test]
fn no_common_application_protocol_is_alert_120() {
    let mut server = Peer::server(&server_with(&[b"h3"]), b"s");
    let (by_client, error) = shake(&mut Peer::client(&client_tls(), b"c"), &mut server).unwrap_err();
    assert!(!by_client);
    assert_eq!((error.code, error.reason), (TransportErrorCode(0x178), "no application protocol in common"));
}

#[test]
fn a_certificate_of_a_stranger_is_alert_48() {
    let tls = ClientTls::new(Arc::new(client_config(provider(), &[b"perf"], false))).unwrap();
    let failed = shake(&mut Peer::client(&tls, b"c"), &mut Peer::server(&server_tls(), b"s"));
    let (by_client, error) = failed.unwrap_err();
    assert!(by_client);
    assert_eq!((error.code, error.reason), (TransportErrorCode(0x130), "the certificate is not accepted"));
}

#[test]
fn a_certificate_for_another_name_is_alert_42() {
    let name = ServerName::try_from("example.org").unwrap();
    let mut client = Peer::client(&client_tls(), b"c");
    client.tls = Tls::client(&client_tls(), name, b"c".to_vec()).unwrap();
    let (by_client, error) = shake(&mut client, &mut Peer::server(&server_tls(), b"s")).unwrap_err();
    assert!(by_client);
    assert_eq!(error.code, TransportErrorCode(0x12a));
}

#[test]
fn garbage_is_an_alert_and_no_panic() {
    for length in 0..200 {
        let garbage: Vec<u8> = (0..length).map(|index| (index * 31 + length) as u8).collect();
        let mut server = Peer::server(&server_tls(), b"s");
        if let Err(error) = server.tls.read(Level::Initial, &garbage) {
            assert_eq!(error.code.0 & !0xff, 0x100, "{error}");
        }
        server.write();
    }
}

#[test]
fn a_tls_key_update_is_alert_10() {
    let (mut client, mut server) = (Peer::client(&client_tls(), b"c"), Peer::server(&server_tls(), b"s"));
    shake(&mut client, &mut server).unwrap();
    // A KeyUpdate message that requests none in return (RFC 8446 §4.6.3); forbidden by RFC 9001 §6.
    let error = client.tls.read(Level::OneRtt, &[24, 0, 0, 1, 0]).unwrap_err();
    assert_eq!(error.code, TransportErrorCode(0x10a));
}

#[test]
fn unfit_configurations_are_refused_at_the_start() {
    let refused = |config| ServerTls::new(Arc::new(config)).unwrap_err();
    assert_eq!(refused(server_config(provider(), &[])), TlsConfigError::NoApplicationProtocol);

    let mut early = server_config(provider(), &[b"perf"]);
    early.max_early_data_size = u32::MAX;
    assert_eq!(refused(early), TlsConfigError::EarlyData);

    let mut no_aes = provider();
    no_aes.cipher_suites.retain(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    assert_eq!(refused(server_config(no_aes.clone(), &[b"perf"])), TlsConfigError::NoInitialSuite);
    let client = ClientTls::new(Arc::new(client_config(no_aes, &[b"perf"], true)));
    assert_eq!(client.unwrap_err(), TlsConfigError::NoInitialSuite);
}

#[test]
fn every_suite_of_the_provider_works() {
    for suite in provider().cipher_suites {
        let mut preferring = provider();
        preferring.cipher_suites.insert(0, suite);
        let client = ClientTls::new(Arc::new(client_config(preferring, &[b"perf"], true))).unwrap();
        let (mut client, mut server) = (Peer::client(&client, b"c"), Peer::server(&server_tls(), b"s"));
        shake(&mut client, &mut server).unwrap();
        assert!(client.ring.unwrap().supports_paths(), "{:?}", suite.suite());
    }
}

#[test]
fn handshakes_and_keys_may_move_to_another_thread() {
    fn send<T: Send>() {}
    send::<Tls>();
    send::<KeyRing>();
    send::<LevelKeys>();
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let (mut client, mut server) = (Peer::client(&client_tls(), b"c"), Peer::server(&server_tls(), b"s"));
    shake(&mut client, &mut server).unwrap();
    let shown = format!("{:?} {:?} {:?}", client.tls, client.handshake.unwrap(), client.ring.unwrap());
    assert_eq!(
        shown,
        "Tls { write_level: OneRtt, .. } LevelKeys { sealed: 0, .. } \
         KeyRing { generation: 0, sealed: 0, failures: 0, .. }"
    );
}
