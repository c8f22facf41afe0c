//! One seed, one run: the same datagrams at the same times, in this process and in any other.

use std::process::Command;

use braid_quic::Role;
use braid_sim::{Hello, Link, Protection, World, mb, mbps, ms, us};

/// Set in a child process, which then only prints its digest.
const CHILD: &str = "BRAID_SIM_DIGEST_OF_SEED";
const MARK: &str = "digest of the run: ";

/// A run with a bit of everything that chance or a hash order might touch.
fn digest(seed: u64, protection: Protection) -> u64 {
    let mut world = World::seeded(seed);
    let links: Vec<_> = [10, 20, 35]
        .into_iter()
        .map(|delay| {
            let link = Link::new(mbps(20), ms(delay)).loss(0.01).reorder(0.02, ms(8)).duplicate(0.01);
            world.add(link.corrupt(0.005).coalesce(us(200)))
        })
        .collect();
    world.protection(protection);
    world.hello(Hello::Wide);
    for _ in 0..20 {
        world.client().exchanges(mb(1) / 20, mb(1) / 10);
    }
    world.at(ms(400)).update_keys(Role::Server).abandon(Role::Client, links[1]);
    world.at(ms(600)).cut(links[0]);
    let report = world.run();
    assert!(report.is_complete(), "{report}");
    let drained = world.drain();
    assert_eq!(drained.connections(), (0, 0), "{drained}");
    drained.digest()
}

#[test]
fn a_seed_gives_the_same_digest_twice_and_another_seed_another_one() {
    for protection in [Protection::Real, Protection::Null] {
        let first = digest(7, protection);
        assert_eq!(first, digest(7, protection), "{protection:?}");
        assert_ne!(first, digest(8, protection), "{protection:?}");
    }
}

#[test]
fn worlds_that_run_side_by_side_do_not_touch_each_other() {
    let alone = digest(9, Protection::Real);
    let threads: Vec<_> = (0..3).map(|_| std::thread::spawn(|| digest(9, Protection::Real))).collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), alone);
    }
}

#[test]
fn another_process_sees_the_same_digest() {
    if let Ok(seed) = std::env::var(CHILD) {
        println!("{MARK}{:016x}", digest(seed.parse().unwrap(), Protection::Real));
        return;
    }
    let here = format!("{:016x}", digest(11, Protection::Real));
    for _ in 0..2 {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["another_process_sees_the_same_digest", "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, "11")
            .output()
            .unwrap();
        let printed = String::from_utf8(child.stdout).unwrap();
        let there = printed.lines().find_map(|line| line.split(MARK).nth(1)).map(str::trim);
        assert_eq!(there, Some(here.as_str()), "{printed}");
    }
}
