//! The simulator itself: time, stalls, refusals and cuts are what scenarios take them for.

use braid_quic::Role;
use braid_sim::{Link, World, kb, mb, mbps, ms, secs};

#[test]
fn time_goes_where_it_was_told_to_go_even_if_nothing_happens() {
    let mut world = World::seeded(1);
    world.link(mbps(10), ms(10));
    assert_eq!(world.elapsed(), ms(0));
    world.run_until(ms(1_234));
    assert_eq!(world.elapsed(), ms(1_234));
    world.run_until(ms(1_000));
    assert_eq!(world.elapsed(), ms(1_234), "never backwards");
}

#[test]
fn an_outage_of_the_only_link_is_a_stall_of_at_least_its_length() {
    let mut world = World::seeded(2);
    let link = world.link(mbps(20), ms(10));
    world.client().downloads(mb(4));
    world.at(ms(500)).cut(link);
    world.at(ms(900)).restore(link);
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    assert!(report.longest_stall() >= ms(390) && report.longest_stall() < secs(2), "{report}");
    assert!(report.stalled_at() >= ms(500) && report.stalled_at() <= ms(560), "{report}");
    assert!(report.link(link).down.cut > 0, "{report}");
}

#[test]
fn a_run_that_cannot_complete_ends_at_its_limit_and_says_so() {
    let mut world = World::seeded(3);
    let link = world.link(mbps(20), ms(10));
    world.limit(secs(3));
    world.client().downloads(mb(40));
    world.at(ms(500)).cut(link);
    let report = world.run();
    assert!(!report.is_complete(), "{report}");
    assert_eq!((report.completed_at(), report.elapsed()), (None, secs(3)));
    assert!(report.longest_stall() > secs(2), "a stall that lasts counts: {report}");
}

#[test]
fn what_an_endpoint_refuses_is_written_down() {
    let mut world = World::seeded(4);
    world.link(mbps(20), ms(10));
    let spare = world.add_spare(Link::new(mbps(20), ms(10)));
    world.client().downloads(kb(10));
    world.at(ms(100)).abandon(Role::Client, spare);
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    let refusals = world.refusals();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert_eq!(refusals[0].0, ms(100));
}

#[test]
fn a_link_carries_no_more_than_its_rate() {
    let mut world = World::seeded(5);
    let link = world.link(mbps(8), ms(10)); // 1 MB/s
    world.client().downloads(mb(2));
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    assert!(report.completed_at().unwrap() > secs(2), "{report}");
    assert_eq!(report.link(link).down.lost, 0, "{report}");
}

#[test]
fn a_report_tells_a_person_the_seed_and_the_outcome() {
    let mut world = World::seeded(77);
    world.link(mbps(20), ms(10));
    world.client().downloads(kb(10));
    let text = world.run().to_string();
    assert!(text.starts_with("seed 77 after "), "{text}");
    assert!(text.contains("delivered 10000 of 10000") && text.contains("link 0 carried 10008"), "{text}");
}
