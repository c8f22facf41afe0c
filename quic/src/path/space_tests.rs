//! Tests of `space`: acknowledgements, losses, silence, probes for a larger datagram size.

use super::*;
use crate::base::ranges::RangeSet;
use crate::id::PathId;
use crate::wire::cursor::Writer;
use crate::wire::frame::{Frame, Frames};
use crate::wire::frame_ack::write_ack;

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn send(space: &mut Space, ms: u64, eliciting: bool) -> u64 {
    let number = space.next_number(|_| 0, at(ms));
    let mut receipts = Receipts::default();
    receipts.push(Receipt::path_cids_blocked(PathId(0), number));
    let departure = departure(ms, 100, eliciting, Carriage::Leader);
    space.on_sent(Departure { in_flight: eliciting, ..departure }, &receipts);
    number
}

fn departure(ms: u64, bytes: u16, eliciting: bool, carriage: Carriage) -> Departure {
    Departure { at: at(ms), bytes, eliciting, in_flight: true, carriage }
}

fn send_many(space: &mut Space, count: u64) {
    for n in 0..count {
        send(space, n, true);
    }
}

fn acknowledge(space: &mut Space, numbers: &[u64]) -> Result<AckReport, TransportError> {
    on_ack(space, numbers, |_, outcome| assert_eq!(outcome, Outcome::Acked))
}

fn on_ack(
    space: &mut Space,
    numbers: &[u64],
    sink: impl FnMut(&Receipt, Outcome),
) -> Result<AckReport, TransportError> {
    let mut set = RangeSet::new();
    for &number in numbers {
        set.insert(number..number + 1);
    }
    let mut buffer = [0; 500];
    let mut w = Writer::new(&mut buffer);
    assert!(write_ack(&mut w, None, &set, 0, None, 500));
    let Some(Ok((_, Frame::Ack(ack)))) = Frames::new(w.written()).next() else { panic!("an ACK frame") };
    space.on_ack(&ack, sink)
}

fn lost(space: &mut Space, ms: u64) -> (LossReport, Vec<u64>) {
    let mut numbers = Vec::new();
    let report = space.detect_lost(
        Duration::from_millis(50),
        Duration::from_secs(1),
        at(ms),
        |_| {},
        |receipt, _| numbers.push(receipt.value()),
    );
    (report, numbers)
}

#[test]
fn an_acknowledgement_settles_each_packet_once_and_measures_the_newest() {
    let mut space = Space::default();
    send_many(&mut space, 4);
    let report = acknowledge(&mut space, &[0, 2]).unwrap();
    assert_eq!((report.newly_acked, report.bytes, report.sample_from), (2, 200, Some(at(2))));
    let again = acknowledge(&mut space, &[0, 2]).unwrap();
    assert_eq!((again.newly_acked, again.sample_from), (0, None));
    assert_eq!(space.in_flight_bytes(), 200);
    space.audit().unwrap();
}

#[test]
fn what_was_never_sent_cannot_be_acknowledged() {
    // MP-211
    let mut space = Space::default();
    send(&mut space, 0, true);
    assert!(acknowledge(&mut space, &[1]).is_err());
    assert!(acknowledge(&mut space, &[0]).is_ok());
}

#[test]
fn a_number_left_out_is_a_trap() {
    let mut space = Space::default();
    let mut numbers = Vec::new();
    for n in 0..SKIP_EVERY + 10 {
        let number = send(&mut space, n, true);
        numbers.push(number);
        acknowledge(&mut space, &[number]).unwrap();
        lost(&mut space, n);
    }
    let skipped = (0..*numbers.last().unwrap()).find(|number| !numbers.contains(number)).unwrap();
    assert!(acknowledge(&mut space, &[skipped]).is_err());
}

#[test]
fn losses_are_found_by_distance_and_then_by_time() {
    let mut space = Space::default();
    send_many(&mut space, 5);
    acknowledge(&mut space, &[3]).unwrap();
    let (report, numbers) = lost(&mut space, 10);
    assert_eq!((report.packets, numbers), (1, vec![0]));
    assert_eq!(space.loss_at(), Some(at(51)), "packet 1 after the loss delay");
    let (report, numbers) = lost(&mut space, 52);
    assert_eq!((report.packets, numbers), (2, vec![1, 2]));
    assert_eq!(report.run, Some((at(0), at(2))));
}

#[test]
fn an_acknowledgement_between_losses_breaks_their_run() {
    let mut space = Space::default();
    send_many(&mut space, 8);
    acknowledge(&mut space, &[1, 7]).unwrap();
    let (report, _) = lost(&mut space, 8);
    assert_eq!(report.run, Some((at(2), at(4))), "packet 1 arrived");
}

#[test]
fn silence_is_counted_from_the_oldest_packet_above_the_largest_acknowledged() {
    let mut space = Space::default();
    send_many(&mut space, 5);
    assert_eq!(space.oldest_unheard_at(), Some(at(0)));
    acknowledge(&mut space, &[2]).unwrap();
    assert_eq!(space.oldest_unheard_at(), Some(at(3)));
    acknowledge(&mut space, &[4]).unwrap();
    assert_eq!(space.oldest_unheard_at(), None, "only gaps below: loss detection's business");
}

#[test]
fn what_was_handed_over_is_not_handed_out_again_when_it_is_lost() {
    let mut space = Space::default();
    send_many(&mut space, 5);
    let mut handed = Vec::new();
    space.hand_over_oldest(2, |receipt, _| handed.push(receipt.value()));
    space.hand_over(|receipt, _| handed.push(receipt.value()));
    assert_eq!(handed, [0, 1, 2, 3, 4]);
    acknowledge(&mut space, &[4]).unwrap();
    let mut news = Vec::new();
    let keep = Duration::from_secs(1);
    space.detect_lost(
        Duration::from_millis(50),
        keep,
        at(10),
        |_| {},
        |receipt, outcome| news.push((receipt.value(), outcome)),
    );
    assert_eq!(news, [(0, Outcome::LostOverdue), (1, Outcome::LostOverdue)]);
    space.lose_all(|receipt, outcome| news.push((receipt.value(), outcome)));
    assert_eq!(news[2..], [(2, Outcome::LostOverdue), (3, Outcome::LostOverdue)], "MP-171");
}

#[test]
fn empty_probes_do_not_hide_what_is_to_be_repeated() {
    let mut space = Space::default();
    for ms in 0..3 {
        let number = space.next_number(|_| 0, at(ms));
        let mut receipts = Receipts::default();
        receipts.push(Receipt::ack(PathId(0), number));
        space.on_sent(departure(ms, 100, true, Carriage::Leader), &receipts);
    }
    let number = send(&mut space, 3, true);
    let mut handed = Vec::new();
    space.hand_over_oldest(2, |receipt, _| handed.push(receipt.value()));
    assert_eq!(handed, [number]);
}

#[test]
fn a_late_acknowledgement_is_told_apart() {
    let mut space = Space::default();
    send_many(&mut space, 5);
    acknowledge(&mut space, &[3]).unwrap();
    lost(&mut space, 10);
    let mut news = Vec::new();
    on_ack(&mut space, &[0, 1], |receipt, outcome| news.push((receipt.value(), outcome))).unwrap();
    assert_eq!(news, [(0, Outcome::AckedLate), (1, Outcome::Acked)]);
}

#[test]
fn a_probe_for_a_larger_size_asks_for_no_repeat_and_no_timer() {
    let mut space = Space::default();
    let number = space.next_number(|_| 0, at(0));
    space.on_sent(departure(0, 1452, false, Carriage::MtuProbe), &Receipts::default());
    assert_eq!(
        (space.awaits_ack(), space.oldest_unheard_at(), space.last_eliciting_at()),
        (false, None, None)
    );
    assert_eq!(space.in_flight_bytes(), 1452, "but it counts in flight");
    for ms in 1..5 {
        send(&mut space, ms, true);
    }
    acknowledge(&mut space, &[4]).unwrap();
    let (report, _) = lost(&mut space, 10);
    assert_eq!((report.packets, report.mtu_probe, report.mtu_probe_bytes), (1, Some(number), 1452));
    assert_eq!(report.bytes, 100, "of packet 1");
    let late = acknowledge(&mut space, &[number]).unwrap();
    assert_eq!((late.spurious, late.mtu_probe), (0, Some((number, 1452))));
    space.audit().unwrap();
}

#[test]
fn a_probe_given_up_leaves_the_books_once() {
    let mut space = Space::default();
    let number = space.next_number(|_| 0, at(0));
    space.on_sent(departure(0, 1452, false, Carriage::MtuProbe), &Receipts::default());
    assert_eq!((space.give_up(number), space.give_up(number), space.in_flight_bytes()), (1452, 0, 0));
    space.audit().unwrap();
}

#[test]
fn reports_tell_large_packets_and_followers_from_others() {
    let mut space = Space::default();
    for (ms, bytes, carriage) in [
        (1, 1200, Carriage::Leader),
        (2, 1201, Carriage::Leader),
        (3, 1452, Carriage::Follower),
        (4, 1200, Carriage::Follower),
        (5, 1200, Carriage::Leader),
    ] {
        space.next_number(|_| 0, at(ms));
        space.on_sent(departure(ms, bytes, true, carriage), &Receipts::default());
    }
    let report = acknowledge(&mut space, &[2, 4]).unwrap();
    assert_eq!((report.large.largest, report.large.newest_sent_at), (1452, Some(at(3))));
    assert_eq!((report.followers.largest, report.followers.newest_sent_at), (1452, Some(at(3))));
    let (report, _) = lost(&mut space, 100);
    assert_eq!((report.packets, report.large.packets, report.followers.packets), (3, 1, 1));
}

#[test]
fn a_peer_that_never_acknowledges_gets_no_endless_acknowledgements() {
    let mut space = Space::default();
    for n in 0..u64::from(UNANSWERED_MAX) {
        assert!(!space.is_saturated());
        send(&mut space, n, false);
    }
    assert!(space.is_saturated());
    acknowledge(&mut space, &[5]).unwrap();
    assert!(!space.is_saturated());
}

#[test]
fn what_left_aside_is_no_sample_no_progress_and_overtakes_nothing() {
    let mut space = Space::default();
    send_many(&mut space, 2);
    let aside = Departure { in_flight: false, ..departure(2, 1200, false, Carriage::Aside) };
    (0..4).for_each(|_| space.on_sent(aside, &Receipts::default()));
    let report = acknowledge(&mut space, &[5]).unwrap();
    assert_eq!((report.newly_acked, report.progress, report.packets), (1, false, 0));
    assert!(lost(&mut space, 1000).1.is_empty());
    assert_eq!(space.oldest_unheard_at(), Some(at(0)));
    let report = acknowledge(&mut space, &[0, 4, 5]).unwrap();
    assert_eq!((report.newly_acked, report.progress, report.sample_from), (2, true, None));
    assert_eq!((report.largest, space.largest_acked()), (0, Some(5)));
    send(&mut space, 900, true);
    acknowledge(&mut space, &[6]).unwrap();
    let report = lost(&mut space, 1000).0;
    assert_eq!((report.packets, report.aside), (1, 2));
}
