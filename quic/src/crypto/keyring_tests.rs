//! Key updates on several paths, and the limits of keys, between two ends in memory.

use super::fixture::{End, PTO, ms};
use super::keyring::{KeyLimits, UpdateError};
use super::phase::PhaseMark;
use super::protect::{OpenError, SealError};
use crate::error::TransportErrorCode;

const NO_LIMITS: KeyLimits =
    KeyLimits { update_after: u64::MAX, seals_max: u64::MAX, failures_max: u64::MAX };

/// MP-041
#[test]
fn an_update_changes_both_directions_and_all_paths() {
    let (mut client, mut server) = End::pair();
    client.ring.initiate_update(ms(1), PTO).unwrap();
    assert!(client.ring.key_phase() && !server.ring.key_phase());
    for path in 0..4 {
        let packet = client.seal(path, 10).unwrap();
        assert_eq!(server.open(path, &packet, ms(2)).unwrap().generation, 1);
    }
    assert!(server.ring.key_phase(), "the server answers with the new keys");
    for path in 0..4 {
        let packet = server.seal(path, 10).unwrap();
        assert_eq!(client.open(path, &packet, ms(3)).unwrap().generation, 1);
    }
    assert_eq!((client.ring.generation(), server.ring.generation()), (1, 1));
}

#[test]
fn ten_updates_from_alternating_ends_on_four_paths() {
    let (mut client, mut server) = End::pair();
    let mut now = 0;
    for round in 1..=10 {
        let (one, other) =
            if round % 2 == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
        one.ring.initiate_update(ms(now), PTO).unwrap();
        for path in 0..4 {
            one.talk_to(other, path, round * 10, ms(now + 1));
            other.talk_to(one, path, round * 10, ms(now + 2));
        }
        now += 3 * 100 + 2;
    }
    assert_eq!((client.ring.generation(), server.ring.generation()), (10, 10));
}

#[test]
fn both_ends_may_update_at_the_same_time() {
    let (mut client, mut server) = End::pair();
    client.ring.initiate_update(ms(1), PTO).unwrap();
    server.ring.initiate_update(ms(1), PTO).unwrap();
    client.talk_to(&mut server, 0, 1, ms(2));
    server.talk_to(&mut client, 0, 1, ms(2));
    assert_eq!((client.ring.generation(), server.ring.generation()), (1, 1));
}

/// MP-046, P-20
#[test]
fn the_first_packet_of_a_new_path_may_bring_the_update() {
    let (mut client, mut server) = End::pair();
    client.ring.initiate_update(ms(1), PTO).unwrap();
    let first = client.seal(5, 0).unwrap();
    assert_eq!(server.open(5, &first, ms(2)).unwrap().generation, 1);
    // and a path may begin right after one, from the other side too
    let answer = server.seal(6, 0).unwrap();
    assert_eq!(client.open(6, &answer, ms(3)).unwrap().generation, 1);
}

/// MP-042, MP-045, MP-046, P-21
#[test]
fn old_packets_of_a_slow_path_open_until_the_guard_time_is_over() {
    let (mut client, mut server) = End::pair();
    let late = [client.seal(0, 9_990).unwrap(), client.seal(0, 9_991).unwrap(), client.seal(3, 77).unwrap()];
    client.ring.initiate_update(ms(1), PTO).unwrap();
    let update = client.seal(1, 5).unwrap();
    server.open(1, &update, ms(10)).unwrap();
    let more = client.seal(1, 6).unwrap();
    server.open(1, &more, ms(200)).unwrap(); // prolongs nothing
    assert_eq!(server.open(0, &late[0], ms(10)).unwrap().generation, 0, "9990 is not compared with 5");
    assert_eq!(server.open(3, &late[2], ms(309)).unwrap().generation, 0, "a path that nobody used yet");
    assert_eq!(
        server.open(0, &late[1], ms(310)),
        Err(OpenError::Failed),
        "three PTO after the update was seen"
    );
}

/// MP-046
#[test]
fn an_update_works_when_path_0_is_long_gone() {
    let (mut client, mut server) = End::pair();
    client.talk_to(&mut server, 2, 0, ms(1));
    server.talk_to(&mut client, 2, 0, ms(1));
    server.ring.initiate_update(ms(2), PTO).unwrap();
    server.talk_to(&mut client, 2, 1, ms(3));
    client.talk_to(&mut server, 2, 1, ms(4));
    let until = ms(303);
    assert_eq!(server.ring.initiate_update(ms(302), PTO), Err(UpdateError::TooEarly { until }));
    server.ring.initiate_update(until, PTO).unwrap();
    server.talk_to(&mut client, 2, 2, ms(310));
}

#[test]
fn our_old_receive_keys_stay_until_the_peer_answers_however_long_it_takes() {
    let (mut client, mut server) = End::pair();
    let old = server.seal(0, 5).unwrap();
    client.ring.initiate_update(ms(1), PTO).unwrap();
    client.ring.on_deadline(ms(1_000_000));
    assert_eq!(client.open(0, &old, ms(1_000_000)).unwrap().generation, 0);
}

#[test]
fn reordering_around_an_update_opens_everything() {
    let (mut client, mut server) = End::pair();
    let mut packets: Vec<_> = (1..=4).map(|pn| client.seal(0, pn).unwrap()).collect();
    client.ring.initiate_update(ms(1), PTO).unwrap();
    packets.extend((5..=8).map(|pn| client.seal(0, pn).unwrap()));
    for (index, generation) in [(6, 1), (1, 0), (4, 1), (3, 0), (7, 1), (0, 0), (5, 1), (2, 0)] {
        assert_eq!(server.open(0, &packets[index], ms(2)).unwrap().generation, generation, "{index}");
    }
}

#[test]
fn no_update_without_confirmation_acknowledgement_and_patience() {
    let (client, server) = super::fixture::rings();
    let (mut client, mut server) = (End::new(client), End::new(server));
    assert_eq!(client.ring.initiate_update(ms(0), PTO), Err(UpdateError::NotConfirmed));
    client.ring.confirm();
    assert_eq!(client.ring.initiate_update(ms(0), PTO), Err(UpdateError::Unacknowledged));
    client.talk_to(&mut server, 3, 0, ms(1)); // any path will do (MP-043)
    client.ring.initiate_update(ms(1), PTO).unwrap();
    assert_eq!(client.ring.initiate_update(ms(1), PTO), Err(UpdateError::Unacknowledged));
    client.ring.on_acked(&client.marks[3], 0, 1, ms(2)).unwrap();
    assert_eq!(
        client.ring.initiate_update(ms(999), PTO),
        Err(UpdateError::Unacknowledged),
        "that was phase 0"
    );
}

#[test]
fn a_second_update_that_skips_our_acknowledgement_is_an_error() {
    let (mut client, mut server) = End::pair();
    client.ring.initiate_update(ms(1), PTO).unwrap();
    let first = client.seal(0, 1).unwrap();
    server.open(0, &first, ms(2)).unwrap();
    server.seal(0, 1).unwrap(); // new keys, but no acknowledgement in it
    client.ring.on_acked(&client.marks[0], 1, 1, ms(3)).unwrap(); // the client makes one up
    client.ring.initiate_update(ms(400), PTO).unwrap();
    let second = client.seal(0, 2).unwrap();
    let error = server.open(0, &second, ms(401)).unwrap_err();
    assert_eq!(error, OpenError::KeyUpdate);
    assert_eq!(error.blame().unwrap().code, TransportErrorCode::KEY_UPDATE_ERROR);
}

#[test]
fn an_acknowledgement_of_older_packets_does_not_answer_an_update() {
    let (mut client, mut server) = End::pair();
    client.ring.initiate_update(ms(1), PTO).unwrap();
    let first = client.seal(0, 7).unwrap();
    server.open(0, &first, ms(2)).unwrap();
    server.ring.on_ack_written(&server.marks[0], 6); // below the first packet of the phase
    server.ring.on_ack_written(&server.marks[1], 99); // another path
    client.ring.on_acked(&client.marks[0], 7, 1, ms(3)).unwrap();
    client.ring.initiate_update(ms(400), PTO).unwrap();
    let second = client.seal(0, 8).unwrap();
    assert_eq!(server.open(0, &second, ms(401)), Err(OpenError::KeyUpdate));
}

/// MP-044
#[test]
fn old_keys_on_a_newer_packet_number_of_the_same_path_are_an_error() {
    let (mut client, mut server) = End::pair();
    let wrong = client.seal(0, 20).unwrap();
    client.ring.initiate_update(ms(1), PTO).unwrap();
    client.marks[0] = PhaseMark::default(); // a client that goes back
    let update = client.seal(0, 10).unwrap();
    server.open(0, &update, ms(2)).unwrap();
    assert_eq!(server.open(0, &wrong, ms(3)), Err(OpenError::KeyUpdate));
}

/// MP-044
#[test]
fn newer_keys_on_an_older_packet_number_are_the_same_error() {
    let (mut client, mut server) = End::pair();
    let old = client.seal(0, 20).unwrap();
    server.open(0, &old, ms(1)).unwrap();
    client.ring.initiate_update(ms(1), PTO).unwrap();
    client.marks[0] = PhaseMark::default();
    let update = client.seal(0, 10).unwrap();
    assert_eq!(server.open(0, &update, ms(2)), Err(OpenError::KeyUpdate));
}

#[test]
fn an_acknowledgement_of_new_keys_in_old_keys_is_an_error() {
    let (mut client, _) = End::pair();
    client.ring.initiate_update(ms(1), PTO).unwrap();
    client.seal(2, 4).unwrap();
    client.ring.on_acked(&client.marks[2], 3, 0, ms(2)).unwrap();
    let error = client.ring.on_acked(&client.marks[2], 4, 0, ms(2)).unwrap_err();
    assert_eq!(error.code, TransportErrorCode::KEY_UPDATE_ERROR);
}

#[test]
fn a_forged_phase_bit_changes_nothing() {
    let (mut client, mut server) = End::pair();
    for round in 1..=50 {
        let mut packet = client.seal(1, round).unwrap();
        packet[0] ^= 0x04;
        assert_eq!(server.open(1, &packet, ms(round)), Err(OpenError::Failed));
    }
    assert_eq!(server.ring.generation(), 0);
    client.talk_to(&mut server, 1, 99, ms(60));
}

#[test]
fn the_next_keys_come_back_a_pto_after_an_update() {
    let (mut client, mut server) = End::pair();
    assert_eq!(server.ring.deadline(), crate::base::time::Instant::NEVER);
    client.ring.initiate_update(ms(1), PTO).unwrap();
    client.talk_to(&mut server, 0, 1, ms(2));
    assert_eq!(server.ring.deadline(), ms(102));
    server.ring.on_deadline(ms(102));
    assert_eq!(server.ring.deadline(), ms(302));
    server.ring.on_deadline(ms(302));
    assert_eq!(server.ring.deadline(), crate::base::time::Instant::NEVER);
}

#[test]
fn a_peer_that_does_not_wait_three_pto_is_followed_after_one() {
    let (mut client, mut server) = End::pair();
    client.ring.lower_limits(KeyLimits { seals_max: 8, ..NO_LIMITS }); // makes it urgent
    client.ring.initiate_update(ms(1), PTO).unwrap();
    client.talk_to(&mut server, 0, 1, ms(2));
    (2..=7).for_each(|pn| drop(client.seal(0, pn).unwrap()));
    client.ring.initiate_update(ms(3), PTO).unwrap();
    let hasty = client.seal(0, 8).unwrap();
    assert_eq!(server.open(0, &hasty, ms(4)), Err(OpenError::Failed), "a lost packet, no error");
    assert_eq!(server.open(0, &hasty, ms(102)).unwrap().generation, 2);
}

/// MP-307, P-22
#[test]
fn seals_of_all_paths_count_together() {
    let (mut client, mut server) = End::pair();
    client.ring.lower_limits(KeyLimits { update_after: 9, ..NO_LIMITS });
    for path in 0..8 {
        assert!(!client.ring.update_due());
        client.seal(path, 1).unwrap();
    }
    assert!(client.ring.update_due(), "eight now and one before");
    client.ring.initiate_update(ms(1), PTO).unwrap();
    assert!(!client.ring.update_due());
    client.talk_to(&mut server, 7, 2, ms(2));
}

#[test]
fn a_used_up_key_seals_nothing_but_the_close() {
    let (mut client, _) = End::pair();
    client.ring.lower_limits(KeyLimits { seals_max: 16, ..NO_LIMITS });
    for pn in 1..14 {
        client.seal(0, pn).unwrap();
    }
    let error = client.seal(1, 0).unwrap_err();
    assert_eq!(
        (error, error.blame().code),
        (SealError::LimitReached, TransportErrorCode::AEAD_LIMIT_REACHED)
    );
    client.ring.on_closing();
    client.seal(1, 1).unwrap();
    client.seal(1, 2).unwrap();
    assert_eq!(client.seal(1, 3), Err(SealError::LimitReached));
}

/// MP-307, P-22
#[test]
fn failures_of_all_paths_and_levels_count_together() {
    let (mut client, mut server) = End::pair();
    server.ring.lower_limits(KeyLimits { failures_max: 10, ..NO_LIMITS });
    assert_eq!(server.ring.add_failures(3), OpenError::Failed);
    for path in 0..7 {
        let mut packet = client.seal(path, 1).unwrap();
        *packet.last_mut().unwrap() ^= 1;
        assert_eq!(server.open(path, &packet, ms(1)), Err(OpenError::Failed));
    }
    let mut packet = client.seal(7, 1).unwrap();
    *packet.last_mut().unwrap() ^= 1;
    let error = server.open(7, &packet, ms(1)).unwrap_err();
    assert_eq!(error.blame().unwrap().code, TransportErrorCode::AEAD_LIMIT_REACHED);
    let good = client.seal(0, 2).unwrap();
    assert_eq!(server.open(0, &good, ms(1)), Err(OpenError::LimitReached), "not even a good one any more");
}

/// MP-035, MP-308
#[test]
fn a_packet_of_one_path_does_not_open_on_another() {
    let (mut client, mut server) = End::pair();
    let packet = client.seal(3, 1).unwrap();
    assert_eq!(server.open(2, &packet, ms(1)), Err(OpenError::Failed));
    assert_eq!(server.open(3, &packet, ms(1)).unwrap().generation, 0);
}

/// MP-308
#[test]
fn no_packet_number_is_sealed_twice() {
    let (mut client, _) = End::pair();
    client.seal(1, 5).unwrap();
    assert_eq!(client.seal(1, 5), Err(SealError::Refused));
    assert_eq!(client.seal(1, 4), Err(SealError::Refused));
    client.seal(2, 5).unwrap();
    client.ring.initiate_update(ms(1), PTO).unwrap();
    assert_eq!(client.seal(1, 5), Err(SealError::Refused), "not with other keys either");
    client.seal(1, 6).unwrap();
}
