//! Datagrams that no honest peer sends, at endpoints in every state: nothing panics, nothing is fooled.
//!
//! A million mutants in all. Behind the null protection's checksum they stop at the door, and the transfer completes
//! as if they were not there; with the blind protection they reach frames, streams and paths.

use std::ops::Range;

use braid_quic::{CloseReason, Role};
use braid_sim::{Hello, Link, LinkId, Protection, Rng, World, mb, mbps, ms, mutate, secs};

/// Mutants an end receives before it has a turn.
const MUTANTS_PER_TURN: u64 = 8;
const PAUSES: u64 = 5;
const MUTANTS_PER_PAUSE: u64 = 1_000;
/// 200 worlds x 5 pauses x 1,000 mutants = 10^6.
const WORLDS: u64 = 200;

/// A world that lives through every state: handshake, several paths, abandonment, key update, closing, drained.
fn eventful(seed: u64, protection: Protection) -> (World, Vec<LinkId>) {
    let mut world = World::seeded(seed);
    let links: Vec<LinkId> =
        [5, 10, 20].into_iter().map(|delay| world.add(Link::new(mbps(20), ms(delay)).loss(0.01))).collect();
    world.protection(protection);
    world.hello(if seed.is_multiple_of(2) { Hello::Short } else { Hello::Wide });
    world.audit_every(16);
    world.client().exchanges(mb(1) / 4, mb(1) / 2);
    world.at(ms(150)).abandon(if seed.is_multiple_of(4) { Role::Client } else { Role::Server }, links[1]);
    world.at(ms(200)).update_keys(Role::Client).set_backup(Role::Client, links[2], true);
    (world, links)
}

/// Injects mutants of datagrams lately seen.
fn assault(world: &mut World, links: &[LinkId], rng: &mut Rng, anywhere: bool) {
    let seen: Vec<_> = world.remembered().cloned().collect();
    for count in 1..=MUTANTS_PER_PAUSE {
        let original = &seen[rng.below(seen.len() as u64) as usize];
        let donor = &seen[rng.below(seen.len() as u64) as usize];
        let mut mutant = original.bytes.clone();
        mutate(&mut mutant, &donor.bytes, rng);
        let (mut to, mut link) = (original.to, original.link);
        if anywhere && rng.chance(0.1) {
            to = to.peer();
        }
        if anywhere && rng.chance(0.1) {
            link = links[rng.below(links.len() as u64) as usize];
        }
        world.inject(to, link, mutant);
        if count % MUTANTS_PER_TURN == 0 {
            world.serve();
        }
    }
}

fn survives_blindly(seeds: Range<u64>) {
    let (worlds, mut caught) = (seeds.clone().count(), 0);
    for seed in seeds {
        let (mut world, links) = eventful(seed, Protection::Blind);
        let mut rng = Rng::labelled(seed, "mutants");
        let mut pause = ms(rng.below(240)); // some worlds meet them only while a path leaves
        for _ in 0..PAUSES {
            pause += ms(rng.below(120));
            world.run_until(pause);
            assault(&mut world, &links, &mut rng, true);
        }
        let report = world.run_until(pause + secs(300));
        assert_eq!(report.connections(), (0, 0), "nothing outlives its timeouts: {report}");
        let ends = [report.client_closed(), report.server_closed()];
        caught += usize::from(ends.iter().flatten().any(|end| matches!(end, CloseReason::LocalTransport(_))));
    }
    assert!(caught > worlds / 2, "mutants reach the rules of the protocol: {caught} of {worlds} worlds");
}

fn is_not_fooled(seeds: Range<u64>) {
    for seed in seeds {
        let (mut world, links) = eventful(seed, Protection::Null);
        let mut rng = Rng::labelled(seed, "mutants");
        let mut pause = ms(0);
        for _ in 0..PAUSES - 1 {
            pause += ms(rng.below(120));
            world.run_until(pause);
            assault(&mut world, &links, &mut rng, false);
        }
        let report = world.run();
        // Version Negotiation carries no proof of who sent it, until a first packet was opened (RFC 9000 §6.2).
        let misled = report.client_closed() == Some(&CloseReason::VersionMismatch);
        assert!(report.is_complete() || misled, "{report}");
        world.at(world.elapsed()).close(Role::Server, 1);
        world.run_until(world.elapsed() + ms(30));
        assault(&mut world, &links, &mut rng, false);
        assert_eq!(world.run_until(world.elapsed() + secs(300)).connections(), (0, 0), "{report}");
    }
}

#[test]
fn a_quarter_of_a_million_blind_mutants_panic_nothing() {
    survives_blindly(0..WORLDS / 4);
}

#[test]
fn another_quarter_of_a_million_blind_mutants_panic_nothing() {
    survives_blindly(WORLDS / 4..WORLDS / 2);
}

#[test]
fn a_quarter_of_a_million_mutants_fool_nobody() {
    is_not_fooled(WORLDS / 2..WORLDS * 3 / 4);
}

#[test]
fn another_quarter_of_a_million_mutants_fool_nobody() {
    is_not_fooled(WORLDS * 3 / 4..WORLDS);
}

#[test]
fn noise_alone_makes_no_connection() {
    let mut world = World::seeded(1);
    let link = world.link(mbps(10), ms(10));
    world.at(ms(0)).cut(link);
    world.run_until(ms(1));
    let mut rng = Rng::new(1);
    for _ in 0..20_000 {
        let mut noise = vec![0; rng.below(1_500) as usize];
        rng.fill(&mut noise);
        world.inject(Role::Server, link, noise);
        world.serve();
    }
    assert_eq!(world.connections().1, 0);
}
