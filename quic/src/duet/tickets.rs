//! Session tickets: a connection that follows another one to the same server takes its session up (RFC 8446 §2.2; RFC
//! 9001 §4.6, §8.3).

use super::*;
use crate::crypto::fixture::ticket_tls;
use crate::wire::packet::PacketKind;

/// A connection with these TLS settings, confirmed, and whether both ends say that it was resumed.
fn connected(client: &ClientTls, server: &ServerTls) -> (Duet, bool) {
    let mut duet = Duet::with_tls(client.clone(), server.clone(), |_, _| {});
    duet.settle();
    assert!(duet.client.saw(&Event::Confirmed) && duet.server.saw(&Event::Confirmed));
    let resumed = [Role::Client, Role::Server].map(|role| duet.end(role).connection().stats().resumed);
    assert_eq!(resumed[0], resumed[1]);
    (duet, resumed[0])
}

fn is_ticket(datagram: &Datagram) -> bool {
    let is = |packet: &Packet| {
        packet.kind == PacketKind::OneRtt
            && packet.frames.iter().any(|frame| matches!(frame, Frame::Crypto { .. }))
    };
    datagram.to == Role::Client && datagram.packets.iter().any(is)
}

#[test]
fn every_connection_brings_the_ticket_for_the_next_one() {
    let (client, server) = (client_tls(), ticket_tls(1));
    let resumed = (0..4).map(|_| connected(&client, &server).1).collect::<Vec<_>>();
    assert_eq!(resumed, [false, true, true, true]);
}

#[test]
fn a_resumed_connection_has_all_that_others_have() {
    let (client, server) = (client_tls(), ticket_tls(1));
    connected(&client, &server);
    let (mut resumed, _) = connected(&client, &server);
    assert!(resumed.client.saw(&Event::Connected { multipath: true }));
    assert_eq!(resumed.client.connection().alpn(), Some(&b"perf"[..]));
    let shown = resumed.client.connection().peer_certificates().map(<[_]>::len);
    assert_eq!(shown, Some(1), "in the session that it took up");
    assert_eq!(resumed.server.connection().server_name(), Some("localhost"));
    resumed.open(1);
    resumed.settle();
    assert!(resumed.client.path(1).is_some_and(|path| path.stage().is_usable()));
}

#[test]
fn the_ticket_of_another_key_leads_to_a_full_handshake() {
    let client = client_tls();
    assert!(!connected(&client, &ticket_tls(1)).1);
    let stranger = ticket_tls(1);
    assert!(!connected(&client, &stranger).1);
    assert!(connected(&client, &stranger).1, "whose own ticket is good");
}

#[test]
fn a_server_without_tickets_and_a_client_that_keeps_none_begin_anew_each_time() {
    let (client, none) = (client_tls(), ticket_tls(0));
    for _ in 0..2 {
        let (duet, resumed) = connected(&client, &none);
        assert!(!resumed && !duet.server.sent.iter().any(is_ticket));
    }
}

#[test]
fn a_lost_ticket_is_sent_again() {
    let (client, server) = (client_tls(), ticket_tls(1));
    let mut duet = Duet::with_tls(client.clone(), server.clone(), |_, _| {});
    let mut lost = 0;
    duet.filter(move |datagram| {
        if lost < 2 && is_ticket(datagram) {
            lost += 1;
            return Verdict::Drop;
        }
        Verdict::Pass
    });
    duet.settle();
    assert_eq!(duet.lost.len(), 2);
    assert!(connected(&client, &server).1);
}

#[test]
fn as_many_tickets_come_as_the_server_gives_and_each_is_good_once() {
    let (client, server) = (client_tls(), ticket_tls(3));
    connected(&client, &server);
    let keeping = || Duet::with_tls(client.clone(), server.clone(), |_, _| {});
    let mut at_once = [keeping(), keeping(), keeping(), keeping()];
    at_once.iter_mut().for_each(Duet::settle);
    let resumed =
        at_once.iter_mut().filter_map(|duet| duet.client.connection().stats().resumed.then_some(()));
    assert_eq!(resumed.count(), 3);
}
