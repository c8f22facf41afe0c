//! Everything at once: random links, random transfers, random trouble. Whatever happens, every byte arrives, both ends
//! forget the connection afterwards, and no rule is broken on the way. `BRAID_SEEDS` is for longer runs.

use std::ops::Range;
use std::time::Duration;

use braid_quic::Role;
use braid_quic::congestion::CongestionKind;
use braid_quic::schedule::SchedulerKind;
use braid_sim::{
    Attacker, BurstLoss, Hello, Jitter, Link, LinkId, Protection, Rng, Setting, TwoRates, Way, World, mbps,
    ms, secs, us,
};

fn either(rng: &mut Rng) -> Role {
    if rng.chance(0.5) { Role::Client } else { Role::Server }
}

/// A span up to `limit_ms` milliseconds.
fn up_to(limit_ms: u64, rng: &mut Rng) -> Duration {
    us(rng.below(limit_ms * 1_000))
}

fn any_link(rng: &mut Rng) -> Link {
    let mut link = Link::new(mbps(rng.between(2, 100)), us(rng.between(200, 80_000)));
    if rng.chance(0.5) {
        link = link.loss(rng.below(50) as f64 / 1_000.0);
    }
    if rng.chance(0.4) {
        link = link.reorder(rng.below(100) as f64 / 1_000.0, up_to(30, rng) + us(1));
    }
    if rng.chance(0.3) {
        link = link.duplicate(rng.below(50) as f64 / 1_000.0);
    }
    if rng.chance(0.3) {
        link = link.corrupt(rng.below(20) as f64 / 1_000.0);
    }
    if rng.chance(0.3) {
        link = link.coalesce(us(rng.between(50, 2_000)));
    }
    if rng.chance(0.2) {
        let (to_bad, to_good) = (rng.below(10) as f64 / 1_000.0, rng.between(100, 900) as f64 / 1_000.0);
        link = link.burst_loss(BurstLoss { to_bad, to_good, loss_good: 0.001, loss_bad: 0.7 });
    }
    if rng.chance(0.3) {
        let (scale, cap) = (up_to(10, rng), up_to(60, rng));
        link = link.jitter(if rng.chance(0.5) {
            Jitter::Uniform(scale)
        } else {
            Jitter::Laplace { scale, cap }
        });
    }
    if rng.chance(0.2) {
        let rates = [mbps(rng.between(2, 60)), mbps(rng.between(1, 10))];
        let means = [us(rng.between(10_000, 500_000)), us(rng.between(10_000, 200_000))];
        link = link.with(Setting::TwoRates(TwoRates { rates, means }));
    }
    if rng.chance(0.1) {
        link = link.with(Setting::NoRoom(rng.below(50) as f64 / 1_000.0));
    }
    match rng.below(3) {
        0 => link = link.queue_bytes(rng.between(5_000, 500_000)),
        1 => link = link.queue_time(us(rng.between(1_000, 200_000))),
        _ => {}
    }
    link.to_listener(rng.below(3) as u16)
}

fn any_settings(world: &mut World, rng: &mut Rng) {
    for role in [Role::Client, Role::Server] {
        let (scheduler, congestion) = (rng.below(3), rng.below(2));
        let window = rng.between(4_000, 300_000);
        let tight = rng.chance(0.3);
        let (streams, datagram_size) = (rng.between(1, 20), rng.between(1_200, 1_452) as u16);
        world.transport_of(role, |transport| {
            transport.scheduler = match scheduler {
                0 => SchedulerKind::MinRtt,
                1 => SchedulerKind::RoundRobin,
                _ => SchedulerKind::Backup,
            };
            transport.congestion =
                if congestion == 0 { CongestionKind::NewReno } else { CongestionKind::Cubic };
            transport.max_streams_bidirectional = streams;
            transport.datagram_size = datagram_size;
            transport.handshake_timeout = secs(60);
            transport.idle_timeout = secs(60);
            if tight {
                (transport.stream_window, transport.connection_window) = (window, window);
                transport.send_buffer = window;
            }
        });
    }
    world.hello(if rng.chance(0.3) { Hello::Wide } else { Hello::Short });
    world.protection(if rng.chance(0.1) { Protection::Real } else { Protection::Null });
    if rng.chance(0.3) {
        world.no_segmentation();
    }
    if rng.chance(0.3) {
        world.socket_takes(rng.between(1, 8) as usize);
    }
    if rng.chance(0.3) {
        world.late_by(us(rng.below(1_000)));
    }
}

/// Addresses change below the connection, and somebody copies what he sees.
fn any_stranger(world: &mut World, links: &[LinkId], rng: &mut Rng) {
    for &link in links {
        let begin = ms(800) + up_to(2_000, rng);
        match rng.below(8) {
            0 => drop(world.at(begin).times(2, up_to(900, rng) + us(1)).rebind(link)),
            1 => drop(world.at(begin).rebind_ip(link)),
            2 => drop(world.at(begin).rebind_both_ways(link)),
            3 | 4 => {
                let way = if rng.chance(0.7) { Way::Up } else { Way::Down };
                let attacker = Attacker::copying(way, rng.between(1, 200));
                let span = up_to(40, rng);
                let attacker = if rng.chance(0.5) { attacker.ahead(span) } else { attacker.behind(span) };
                world.at(begin).attack(link, if rng.chance(0.3) { attacker.relaying() } else { attacker });
            }
            _ => {}
        }
    }
}

/// Trouble for links; `lifeline` is spared, and so is the link of the handshake until paths had time to open.
fn any_trouble(world: &mut World, links: &[LinkId], spare: LinkId, rng: &mut Rng) {
    let lifeline = links[rng.below(links.len() as u64) as usize];
    for &link in links.iter().filter(|&&link| link != lifeline) {
        // A handshake whose first packets are lost needs seconds, and nobody can finish one over a link that is cut.
        let begin = if link == links[0] { ms(6_000) } else { ms(800) } + up_to(2_000, rng);
        match rng.below(4) {
            0 => drop(world.at(begin).cut(link)),
            1 => {
                world.at(begin).cut(link);
                world.at(begin + up_to(1_500, rng)).restore(link);
            }
            2 => drop(world.at(begin).abandon(either(rng), link)),
            _ => drop(world.at(begin).set_backup(either(rng), link, rng.chance(0.7))),
        }
    }
    if rng.chance(0.5) {
        world.at(ms(500) + up_to(3_000, rng)).open(spare);
    }
    for _ in 0..rng.below(4) {
        world.at(ms(300) + up_to(3_000, rng)).update_keys(either(rng));
    }
}

fn everything(seeds: Range<u64>) {
    for seed in seeds {
        let mut rng = Rng::labelled(seed, "everything");
        let mut world = World::seeded(seed);
        let links: Vec<LinkId> = (0..rng.between(1, 4)).map(|_| world.add(any_link(&mut rng))).collect();
        let spare = world.add_spare(any_link(&mut rng));
        any_settings(&mut world, &mut rng);
        for _ in 0..rng.between(1, 6) {
            let (upload, download) = (rng.below(200_000), rng.below(600_000));
            world.at(up_to(2_500, &mut rng)).upload(upload).download(download);
        }
        any_trouble(&mut world, &links, spare, &mut rng);
        any_stranger(&mut world, &links, &mut rng);
        // A client with nothing to say cannot tell a server where it is now, unless it says something now and then.
        world.transport(|transport| transport.keep_alive = Some(secs(3)));
        world.limit(secs(300));
        let report = world.run();
        assert!(report.is_complete(), "{report}");
        let drained = world.drain();
        assert_eq!(drained.connections(), (0, 0), "{drained}");
    }
}

#[test]
fn everything_at_once_with_the_first_100_seeds() {
    everything(0..100);
}

#[test]
fn everything_at_once_with_the_next_100_seeds_or_as_many_as_asked_for() {
    let more: Option<u64> =
        std::env::var("BRAID_SEEDS").ok().map(|it| it.parse().expect("BRAID_SEEDS is a number"));
    everything(100..100 + more.unwrap_or(100));
}
