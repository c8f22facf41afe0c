//! What a scenario can say: links that change, events at many times, transfers that wait for each other.

use braid_quic::Role;
use braid_sim::{
    BurstLoss, Jitter, Link, QueueLimit, Setting, Trains, Transfer, TwoRates, Way, World, kb, mb, mbps, ms,
    secs,
};

#[test]
fn transfers_begin_at_a_time_after_another_and_again_and_again() {
    let mut world = World::seeded(1);
    world.link(mbps(20), ms(10));
    let first = world.at(ms(200)).transfer(Transfer::download(mb(1)).named("first"));
    let second = world.after(first, ms(50)).transfer(Transfer::exchange(kb(2), kb(300)).streams(3));
    let pings = world.after_ready(ms(0)).times(5, ms(100)).transfer(Transfer::exchange(750, 750));
    world.at(ms(300)).every(ms(40)).transfer(Transfer::exchange(100, 100).named("endless"));
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    let (first, second) = (report.transfer(first), report.transfer(second));
    assert_eq!((first.name.as_str(), first.start), ("first", Some(ms(200))));
    assert_eq!(second.start, first.end.map(|end| end + ms(50)));
    assert_eq!((second.upload_bytes, second.download_bytes), (kb(6), kb(900)));
    let starts: Vec<_> = report.transfers()[2..7].iter().map(|ping| ping.start.unwrap()).collect();
    assert!(starts.windows(2).all(|pair| pair[0] + ms(100) == pair[1]), "{starts:?}");
    assert_eq!(report.transfer(pings).start, Some(starts[4]));
    let endless = report.transfers().iter().filter(|transfer| transfer.name == "endless");
    assert!(endless.clone().count() > 5, "{:?}", report.transfers());
    assert!(endless.clone().all(|transfer| transfer.end.is_some()));
    let delivered: u64 =
        report.transfers().iter().map(|transfer| transfer.upload_bytes + transfer.download_bytes).sum();
    assert_eq!(report.delivered(), delivered);
}

#[test]
fn a_deadline_is_reported_and_stops_nothing() {
    let mut world = World::seeded(2);
    world.link(mbps(8), ms(10)); // 1 MB/s
    let easy = world.at(ms(0)).transfer(Transfer::download(kb(100)).deadline(secs(1)));
    let hard = world.after(easy, ms(0)).transfer(Transfer::download(mb(1)).deadline(ms(500)));
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    assert_eq!(report.transfer(easy).met_deadline, Some(true));
    assert_eq!(report.transfer(hard).met_deadline, Some(false));
}

#[test]
fn a_path_can_be_killed_a_time_after_all_paths_are_ready() {
    let mut world = World::seeded(3);
    let near = world.link(mbps(10), ms(10));
    let far = world.link(mbps(10), ms(10));
    world.client().downloads(mb(2));
    world.after_ready(ms(640)).cut(far);
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    let ready_at = report.ready_at().unwrap();
    // Handshake and confirmation on one path, validation by both ends on the other: three to five round trips.
    assert!((ms(60)..=ms(100)).contains(&ready_at), "{ready_at:?}");
    let most = mbps(10).bytes_in(ms(640) + ready_at + ms(10));
    assert!((mb(2) / 10..most).contains(&report.carried_by(far)), "{report}");
    assert!(report.carried_by(near) > mb(1), "{report}");
}

#[test]
fn an_event_that_waits_for_a_path_that_never_opens_never_happens_and_holds_nothing_up() {
    let mut world = World::seeded(4);
    let near = world.link(mbps(10), ms(10));
    let far = world.link(mbps(10), ms(10));
    world.at(ms(0)).cut(far);
    world.after_ready(ms(10)).cut(near);
    world.client().downloads(mb(1));
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    assert!(report.completed_at().unwrap() < secs(2), "{report}");
}

#[test]
fn a_rate_that_drops_in_the_middle_of_a_transfer_slows_it_down() {
    let mut world = World::seeded(5);
    let link = world.link(mbps(40), ms(10)); // 5 MB/s, then 1 MB/s
    world.client().downloads(mb(5));
    world.at(ms(500)).set(link, Setting::Rate(mbps(8)));
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    // Of 5 MB at most 2.5 MB came in the first half second.
    let done = report.completed_at().unwrap();
    assert!((secs(3)..secs(5)).contains(&done), "{report}");
}

#[test]
fn cuts_can_be_repeated() {
    let mut world = World::seeded(6);
    let near = world.link(mbps(20), ms(10));
    world.link(mbps(5), ms(20));
    world.client().downloads(mb(4));
    world.at(ms(500)).every(ms(400)).cut(near);
    world.at(ms(600)).every(ms(400)).restore(near);
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    assert!(report.link(near).down.cut > 50, "{report}");
    assert!(report.carried_by(near) > mb(1), "{report}");
}

#[test]
fn every_kind_of_trouble_slows_a_transfer_down_and_stops_none() {
    let bursts = BurstLoss { to_bad: 0.005, to_good: 0.3, loss_good: 0.0, loss_bad: 0.8 };
    let wander = TwoRates { rates: [mbps(30), mbps(3)], means: [ms(200), ms(100)] };
    let mark = Setting::MarkAbove(Some(QueueLimit::Time(ms(5))));
    let links = [
        Link::new(mbps(20), ms(10)).burst_loss(bursts),
        Link::new(mbps(20), ms(20)).jitter(Jitter::Laplace { scale: ms(10), cap: ms(100) }),
        Link::new(mbps(20), ms(20)).jitter(Jitter::Uniform(ms(15))).with(mark),
        Link::new(mbps(20), ms(10)).with(Setting::TwoRates(wander)),
        Link::new(mbps(20), ms(10)).with(Setting::NoRoom(0.05)),
    ];
    for (seed, link) in links.into_iter().enumerate() {
        let mut world = World::seeded(10 + seed as u64);
        world.add(link);
        world.client().exchanges(mb(1), mb(2));
        let report = world.run();
        assert!(report.is_complete(), "link {seed}: {report}");
    }
}

#[test]
fn an_interface_that_takes_only_small_datagrams_says_so_and_is_obeyed() {
    let mut world = World::seeded(20);
    let link = world.add(Link::new(mbps(20), ms(10)).with_way(Way::Down, Setting::LocalMtu(Some(1_300))));
    world.transport_of(Role::Server, |transport| transport.datagram_size = 1_400);
    world.client().downloads(mb(1));
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    assert_eq!(report.link(link).down.too_big, 0, "refused, not dropped: {report}");
}

#[test]
fn an_unreachable_path_hands_over_at_once() {
    let mut world = World::seeded(21);
    let near = world.link(mbps(20), ms(10));
    let far = world.link(mbps(20), ms(30));
    world.client().exchanges(mb(1), mb(4));
    world.at(ms(700)).unreachable(near);
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    assert!(report.longest_stall() < ms(150), "{report}");
    assert!(report.carried_by(far) > mb(1), "{report}");
}

#[test]
fn hardware_that_spoils_trains_is_survived_where_another_path_is_sound() {
    let mut world = World::seeded(22);
    let spoilt = world.link(mbps(20), ms(10));
    world.link(mbps(20), ms(30));
    world.at(ms(400)).set_way(spoilt, Way::Down, Setting::Trains(Trains::Mangled));
    world.client().downloads(mb(3));
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    assert!(report.link(spoilt).down.mangled > 10, "{report}");
}

#[test]
fn two_paths_through_one_bottleneck_are_no_faster_than_one() {
    let time = |shared: bool| {
        let mut world = World::seeded(23);
        let one = world.link(mbps(8), ms(20)); // 1 MB/s
        let other = Link::new(mbps(8), ms(20));
        world.add(if shared { other.sharing(one) } else { other });
        world.client().downloads(mb(4));
        let report = world.run();
        assert!(report.is_complete(), "{report}");
        report.completed_at().unwrap()
    };
    assert!(time(true) > secs(4), "{:?}", time(true));
    assert!(time(false) < secs(3), "{:?}", time(false));
}

#[test]
fn suspicions_are_spurious_only_where_the_network_gave_no_reason() {
    let run = |cut: bool| {
        let mut world = World::seeded(30);
        let near = world.add(Link::new(mbps(20), ms(10)).queue_time(ms(20)));
        world.add(Link::new(mbps(20), ms(30)).queue_time(ms(20)));
        world.client().downloads(mb(4));
        if cut {
            world.after_ready(ms(400)).cut(near);
        } else {
            // The delay is a second for a while: no link is dark, but nothing comes through.
            world.after_ready(ms(400)).set(near, Setting::Delay(secs(1)));
            world.after_ready(ms(1_400)).set(near, Setting::Delay(ms(10)));
        }
        let report = world.run();
        assert!(report.is_complete(), "{report}");
        (report.suspects() > 0, report.spurious_suspects() > 0)
    };
    assert_eq!(run(true), (true, false));
    assert_eq!(run(false), (true, true));
}

#[test]
fn what_arrives_twice_and_what_waits_for_its_turn_is_counted() {
    let clean = {
        let mut world = World::seeded(31);
        world.add(Link::new(mbps(20), ms(10)).queue_bytes(mb(9)));
        world.client().downloads(mb(2));
        world.run()
    };
    assert_eq!((clean.duplicate_bytes(), clean.reassembly_peak_bytes()), (0, 0), "{clean}");
    let mut world = World::seeded(31);
    let lossy = world.add(Link::new(mbps(20), ms(10)).queue_bytes(mb(9)));
    world.client().downloads(mb(2));
    // Acknowledgements are lost for a while: what has arrived is sent again.
    world.at(ms(300)).cut_way(lossy, Way::Up);
    world.at(ms(600)).restore_way(lossy, Way::Up);
    world.at(ms(700)).set_way(lossy, Way::Down, Setting::Loss(0.02));
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    assert!(report.duplicate_bytes() > 1_000, "{report}");
    assert!((10_000..mb(2)).contains(&report.reassembly_peak_bytes()), "{report}");
}
