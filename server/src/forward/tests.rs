//! Runs, parcels and their bounds.

use braid_quic::Shard;
use braid_quic::cid::shard_mask;

use super::*;

const KEY: [u8; 16] = [3; 16];

/// A datagram with a short header whose ID belongs to `worker`, marked with `mark` at its end.
fn datagram(worker: u8, len: usize, mark: u8) -> Vec<u8> {
    let mut bytes = vec![mark; len];
    bytes[0] = 0x40;
    let behind: [u8; 6] = bytes[3..9].try_into().unwrap();
    bytes[2] = Shard { generation: 0, worker }.octet() ^ shard_mask(&KEY, behind);
    bytes
}

fn label(segment_size: usize) -> Label {
    Label {
        segment_size,
        local_id: LocalId(3),
        local: Some("127.0.0.9".parse().unwrap()),
        remote: "127.0.0.2:999".parse().unwrap(),
        ecn: Ecn::Ect0,
    }
}

fn group(workers: usize, steered: bool) -> Vec<Forwarder> {
    Forwarder::group(Steering::new(KEY, workers), steered)
}

/// What `forwarder` kept of `buffer`, by the first mark of each run and the run's length.
fn sort(forwarder: &mut Forwarder, buffer: &mut [u8], segment_size: usize) -> Vec<(u8, usize)> {
    let mut kept = Vec::new();
    forwarder.sort(buffer, &label(segment_size), |run| kept.push((run[20], run.len())));
    kept
}

#[test]
fn own_runs_stay_in_place_and_strays_go_to_their_owners() {
    let mut ends = group(3, true);
    let mut buffer = [
        datagram(0, 100, 1),
        datagram(0, 100, 2),
        datagram(2, 100, 3),
        datagram(2, 100, 4),
        datagram(1, 100, 5),
        datagram(0, 60, 6),
    ]
    .concat();
    assert_eq!(sort(&mut ends[0], &mut buffer, 100), [(1, 200), (6, 60)]);
    assert_eq!(ends[0].take_targets().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(ends[0].take_targets().count(), 0, "each target is woken once");
    assert_eq!(ends[0].forwards(), Forwards { gro_mix: 3, ..Forwards::default() });

    let parcel = ends[2].take().unwrap();
    assert_eq!(parcel.bytes, [datagram(2, 100, 3), datagram(2, 100, 4)].concat());
    assert_eq!(parcel.label, label(100), "listener, addresses and marks travel along");
    assert!(ends[2].take().is_none());
    assert_eq!(ends[2].forwards().received, 2);
    ends[2].give_back(parcel);
    assert!(ends[1].has_mail());
}

#[test]
fn a_shorter_last_segment_may_be_a_stray() {
    let mut ends = group(2, true);
    let mut buffer = [datagram(1, 80, 1), datagram(1, 80, 2), datagram(0, 30, 3)].concat();
    assert_eq!(sort(&mut ends[1], &mut buffer, 80), [(1, 160)]);
    assert_eq!(ends[0].take().unwrap().bytes, datagram(0, 30, 3));
}

#[test]
fn a_lone_worker_keeps_everything_unread() {
    let mut ends = group(1, false);
    let mut buffer = vec![0xff; 300];
    assert_eq!(sort(&mut ends[0], &mut buffer, 100), [(0xff, 300)]);
}

#[test]
fn every_forward_is_counted_by_its_reason() {
    let mut steered = group(2, true);
    sort(&mut steered[0], &mut datagram(1, 50, 0), 50);
    sort(&mut steered[1], &mut [0; 3], 3);
    assert_eq!(steered[0].forwards(), Forwards { misrouted: 1, ..Forwards::default() });
    assert_eq!(steered[1].forwards(), Forwards { short: 1, ..Forwards::default() });

    let mut scattered = group(2, false);
    sort(&mut scattered[0], &mut [datagram(1, 50, 0), datagram(1, 50, 0)].concat(), 50);
    assert_eq!(scattered[0].forwards(), Forwards { no_steering: 2, ..Forwards::default() });
    assert_eq!(scattered[0].forwards().sent(), 2);
}

#[test]
fn a_full_inbox_drops_and_counts_and_loses_no_buffer() {
    let mut ends = group(2, true);
    for _ in 0..INBOX_MAX + 3 {
        sort(&mut ends[0], &mut datagram(1, 50, 0), 50);
    }
    let full = Forwards { misrouted: INBOX_MAX as u64, dropped_no_buffer: 3, ..Forwards::default() };
    assert_eq!(ends[0].forwards(), full, "all of the pool's buffers wait in the inbox");

    let mut three = group(3, true);
    for sender in [0, 1] {
        for _ in 0..=INBOX_MAX / 2 {
            sort(&mut three[sender], &mut datagram(2, 50, 0), 50);
        }
    }
    assert_eq!(three[0].forwards().dropped_inbox_full, 0);
    assert_eq!(three[1].forwards().dropped_inbox_full, 2);
    while let Some(parcel) = three[2].take() {
        three[2].give_back(parcel);
    }
    assert_eq!(three[2].forwards().received, INBOX_MAX as u64);
    sort(&mut three[1], &mut datagram(2, 50, 0), 50);
    assert_eq!(three[1].forwards().dropped_inbox_full, 2, "room again");
}

#[test]
fn buffers_come_home_and_are_used_again() {
    let mut ends = group(2, true);
    for round in 0..10 * POOL_MAX {
        sort(&mut ends[0], &mut datagram(1, 50, round as u8), 50);
        let parcel = ends[1].take().unwrap();
        assert_eq!(parcel.bytes, datagram(1, 50, round as u8));
        ends[1].give_back(parcel);
    }
    assert_eq!(ends[0].buffers_made, 1);
    assert_eq!(ends[0].forwards().dropped_no_buffer, 0);
}

#[test]
fn a_missing_segment_size_does_no_harm() {
    let mut ends = group(2, true);
    assert_eq!(sort(&mut ends[0], &mut [], 0), []);
    ends[0].sort(&mut [0x40, 1], &label(0), |_| {});
    ends[1].sort(&mut [0x40, 1], &label(0), |_| panic!("both octets are runts of worker 0"));
    assert_eq!(ends[1].forwards().short + ends[1].forwards().gro_mix, 2);
}
