//! Fewer acknowledgements (draft-ietf-quic-ack-frequency): what they save, and that nothing else gets worse.
//!
//! Each story is told twice from the same seeds, with the extension and without.

use std::time::Duration;

use braid_sim::{Jitter, Link, Report, World, mb, mbps, ms};

/// Means over some runs.
struct Mean {
    time: Duration,
    stall: Duration,
    /// What the downloading client sent: little but acknowledgements.
    client_packets: u64,
    spurious_suspects: u64,
}

/// Tells a story from `seeds` seeds without the extension and with it.
fn both(seeds: u32, story: impl Fn(&mut World, u64)) -> (Mean, Mean) {
    let told = |on: bool| {
        let run = |seed: u64| -> Report {
            let mut world = World::seeded(seed);
            world.transport(|transport| transport.ack_frequency = on);
            story(&mut world, seed);
            let report = world.run();
            assert!(report.is_complete(), "{report}");
            report
        };
        let reports: Vec<Report> = (1..=u64::from(seeds)).map(run).collect();
        let mean = |of: fn(&Report) -> Duration| reports.iter().map(of).sum::<Duration>() / seeds;
        Mean {
            time: mean(|report| report.completed_at().unwrap()),
            stall: mean(Report::longest_stall),
            client_packets: reports.iter().map(|report| report.client().packets_sent).sum::<u64>()
                / u64::from(seeds),
            spurious_suspects: reports.iter().map(Report::spurious_suspects).sum(),
        }
    };
    (told(false), told(true))
}

fn assert_no_slower(usual: Duration, fewer: Duration, percent: u32) {
    assert!(fewer <= usual * (100 + percent) / 100, "{fewer:?} instead of {usual:?}");
}

#[test]
fn a_path_that_is_full_is_as_fast_with_a_third_of_the_acknowledgements() {
    for (rate, delay) in [(100, ms(10)), (500, ms(20)), (20, ms(100))] {
        let (usual, fewer) = both(1, |world, _| {
            world.link(mbps(rate), delay);
            world.client().downloads(mb(10));
        });
        assert!(3 * fewer.client_packets < usual.client_packets, "{rate}: {}", fewer.client_packets);
        assert_no_slower(usual.time, fewer.time, 2);
    }
}

#[test]
fn windows_that_losses_keep_small_hardly_wait_for_their_acknowledgements() {
    let (usual, fewer) = both(10, |world, _| {
        world.add(Link::new(mbps(100), ms(10)).loss(0.001));
        world.client().downloads(mb(10));
    });
    assert!(5 * fewer.client_packets < 4 * usual.client_packets, "{}", fewer.client_packets);
    assert_no_slower(usual.time, fewer.time, 3);
}

#[test]
fn where_much_is_lost_nothing_changes() {
    let (usual, fewer) = both(4, |world, _| {
        world.add(Link::new(mbps(20), ms(10)).loss(0.03));
        world.client().downloads(mb(3));
    });
    assert_no_slower(usual.time, fewer.time, 2);
    assert_no_slower(usual.stall, fewer.stall, 10);
}

#[test]
fn two_paths_are_as_fast_and_not_doubted_more_often() {
    let (usual, fewer) = both(10, |world, _| {
        world.add(Link::new(mbps(50), ms(10)).loss(0.001));
        world.add(Link::new(mbps(20), ms(30)).loss(0.001));
        world.client().downloads(mb(10));
    });
    assert!(fewer.client_packets < usual.client_packets, "{}", fewer.client_packets);
    assert_no_slower(usual.time, fewer.time, 3);
    assert!(fewer.spurious_suspects <= usual.spurious_suspects + 2, "{}", fewer.spurious_suspects);
}

#[test]
fn a_path_that_dies_is_noticed_as_early() {
    for upload in [false, true] {
        let (usual, fewer) = both(30, |world, seed| {
            let near = world.add(Link::new(mbps(50), ms(10)).jitter(Jitter::Uniform(ms(3))));
            world.link(mbps(20), ms(30));
            if upload {
                world.client().sends(mb(12));
            } else {
                world.client().downloads(mb(12));
            }
            world.at(ms(700 + 13 * seed)).cut(near);
        });
        assert_no_slower(usual.stall, fewer.stall, 5);
        assert_no_slower(usual.time, fewer.time, 3);
    }
}

#[test]
fn small_answers_come_as_early() {
    let (usual, fewer) = both(4, |world, _| {
        world.add(Link::new(mbps(20), ms(25)).loss(0.02));
        for request in 0..100_u64 {
            world.at(ms(50 * request)).download(request * 100).upload(request * 10);
        }
    });
    assert_no_slower(usual.time, fewer.time, 1);
    assert!(fewer.client_packets <= usual.client_packets * 21 / 20, "{}", fewer.client_packets);
}
