//! A client whose paths are kept by a manager, while interfaces come, go, fail and cost money.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::pair::{Pair, route};
use super::*;
use crate::base::address::LocalId;
use crate::config::TransportConfig;
use crate::error::PathErrorCode;
use crate::id::{Direction, PathId};
use crate::manager::{Cost, Local, PathManager, Plan, Policy, Rule, Usage};
use crate::stats::PathStage;

const ZERO: PathId = PathId::ZERO;
const S: Duration = Duration::from_secs(1);

/// A pair whose client has a manager.
struct Managed {
    pair: Pair,
    manager: PathManager,
    /// Events before this one were handed over.
    told: usize,
}

/// The interface `if<n>` with a socket at port 1000 + n.
fn local(n: u16) -> Local {
    let address = SocketAddr::from(([127, 0, 0, 1], 1000 + n));
    Local { id: LocalId(n), address, interface: format!("if{n}").into(), cost: Cost::Free }
}

fn metered(n: u16) -> Local {
    Local { cost: Cost::Metered, ..local(n) }
}

fn rule(interface: &str, usage: Usage) -> Rule {
    Rule { interface: interface.into(), usage }
}

fn server() -> Vec<SocketAddr> {
    vec!["127.0.0.1:443".parse().unwrap()]
}

impl Managed {
    fn new(policy: Policy, locals: impl IntoIterator<Item = Local>) -> Self {
        let transport = TransportConfig { keep_alive: Some(10 * S), ..TransportConfig::default() };
        Self::over(Pair::new(transport), policy, server(), locals)
    }

    fn over(
        pair: Pair,
        policy: Policy,
        remotes: Vec<SocketAddr>,
        locals: impl IntoIterator<Item = Local>,
    ) -> Self {
        let mut manager = PathManager::new(policy, remotes);
        for local in locals {
            manager.local_up(local).unwrap();
        }
        Self { pair, manager, told: 0 }
    }

    fn turn(&mut self) {
        self.pair.step();
        for event in &self.pair.events[self.told..] {
            self.manager.on_event(event, self.pair.now);
        }
        self.told = self.pair.events.len();
        if self.manager.deadline().is_some_and(|at| at <= self.pair.now) {
            let now = self.pair.now;
            self.manager.act(&mut self.pair.client(), now);
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.pair.now + span;
        while self.pair.now < end {
            self.turn();
        }
    }

    /// Turns until it is so.
    fn until(&mut self, what: impl Fn(&mut Self) -> bool) -> Duration {
        let from = self.pair.now;
        while !what(self) {
            assert!(self.pair.now.since(from) < 60 * S, "{:?}\n{:?}", self.shown(), self.manager);
            self.turn();
        }
        self.pair.now.since(from)
    }

    /// The cable of this interface is out: nothing gets through, and nobody is told.
    fn cut(&mut self, n: u16) {
        self.pair.mute.insert(LocalId(n));
        self.pair.deaf.insert(local(n).address);
    }

    fn heal(&mut self, n: u16) {
        self.pair.mute.remove(&LocalId(n));
        self.pair.deaf.remove(&local(n).address);
    }

    fn down(&mut self, n: u16) {
        self.cut(n);
        self.manager.local_down(LocalId(n));
    }

    fn up(&mut self, n: u16) {
        self.heal(n);
        self.manager.local_up(local(n)).unwrap();
    }

    /// Local number and remote address of the paths that are not given up, with stage and status.
    fn shown(&mut self) -> Vec<(u16, SocketAddr, PathStage, bool)> {
        let client = self.pair.client();
        let stats = client.paths().filter_map(|path| client.path_stats(path));
        let there = stats.filter(|stats| stats.stage != PathStage::Leaving);
        let mut shown: Vec<_> = there
            .map(|stats| (stats.route.local_id().0, stats.route.remote(), stats.stage, stats.backup_by_us))
            .collect();
        shown.sort_by_key(|&(local, remote, ..)| (local, remote));
        shown
    }

    /// The interfaces with an open path.
    fn open(&mut self) -> Vec<u16> {
        let shown = self.shown().into_iter().filter(|shown| shown.2 == PathStage::Open);
        shown.map(|(local, ..)| local).collect()
    }

    fn opened(&mut self) -> u64 {
        self.pair.client().stats().paths_opened
    }

    fn sends(&mut self, bytes: usize) {
        let mut client = self.pair.client();
        let stream = client.open_stream(Direction::Bidirectional).unwrap();
        client.write(stream, [Bytes::from(vec![7; bytes])]).unwrap();
        client.finish(stream).unwrap();
    }
}

#[test]
fn every_interface_gets_its_path_as_soon_as_the_handshake_is_confirmed() {
    let mut client = Managed::new(Policy::default(), [local(0), local(1), local(2)]);
    let took = client.until(|client| client.open() == [0, 1, 2]);
    assert!(took < Duration::from_millis(100), "{took:?}");
    client.run(5 * S);
    assert_eq!((client.opened(), client.manager.deadline()), (3, None), "and then there is nothing to do");
}

#[test]
fn a_mesh_joins_each_interface_with_each_address_of_the_server() {
    let remotes = vec!["127.0.0.1:443".parse().unwrap(), "127.0.0.2:443".parse().unwrap()];
    let pair = Pair::new(TransportConfig::default());
    let mut client = Managed::over(pair, Policy::default(), remotes.clone(), [local(0), local(1)]);
    client.run(S);
    let routes: Vec<_> = client.shown().into_iter().map(|shown| (shown.0, shown.1, shown.2)).collect();
    let open = |n, at: usize| (n, remotes[at], PathStage::Open);
    assert_eq!(routes, [open(0, 0), open(0, 1), open(1, 0), open(1, 1)]);
}

#[test]
fn an_interface_that_goes_takes_its_path_along_and_brings_it_back() {
    let mut client = Managed::new(Policy::default(), [local(0), local(1)]);
    client.until(|client| client.open() == [0, 1]);
    client.run(20 * S);
    client.down(1);
    client.until(|client| client.open() == [0]);
    client.run(5 * S);
    client.up(1);
    let took = client.until(|client| client.open() == [0, 1]);
    assert!(took < Duration::from_millis(50), "its rest was over: {took:?}");
}

#[test]
fn with_all_interfaces_gone_the_connection_waits_for_the_first_that_comes() {
    let remotes = vec!["127.0.0.1:443".parse().unwrap(), "127.0.0.2:443".parse().unwrap()];
    let pair = Pair::new(TransportConfig::default());
    let mut client = Managed::over(pair, Policy::default(), remotes, [local(0)]);
    client.until(|client| client.open() == [0, 0]);
    client.down(0);
    client.run(5 * S);
    assert!(!client.pair.events.iter().any(|event| matches!(event, Event::Closed(_))));
    client.up(2);
    client.until(|client| client.open() == [2, 2]);
    assert_eq!(client.shown().len(), 2, "one path for each address of the server");
}

#[test]
fn a_metered_interface_is_a_backup_on_both_ends() {
    let mut client = Managed::new(Policy::default(), [local(0), metered(1)]);
    client.until(|client| client.open() == [0, 1]);
    let backup: Vec<_> = client.shown().into_iter().map(|shown| shown.3).collect();
    assert_eq!(backup, [false, true]);
    let second = PathId(1);
    assert!(client.pair.server_saw(&Event::PathStatus { path: second, backup: true }));
    let before = client.pair.client().path_stats(second).unwrap().stream_bytes_sent;
    client.sends(100_000);
    client.run(S);
    assert_eq!(client.pair.client().path_stats(second).unwrap().stream_bytes_sent, before);
}

#[test]
fn the_handshakes_own_path_is_a_backup_too_if_its_interface_is_metered() {
    let mut client = Managed::new(Policy::default(), [metered(0), local(1)]);
    client.until(|client| client.open() == [0, 1]);
    assert!(client.pair.client().path_stats(ZERO).unwrap().backup_by_us);
    client.manager.local_up(local(0)).unwrap(); // at home again: the same interface costs nothing
    client.turn();
    assert!(!client.pair.client().path_stats(ZERO).unwrap().backup_by_us);
}

#[test]
fn a_last_resort_is_opened_when_the_only_path_goes_silent_and_given_up_when_it_is_sound_again() {
    let policy = Policy { metered: Usage::LastResort, ..Policy::default() };
    let mut client = Managed::new(policy, [local(0), metered(1)]);
    client.run(5 * S);
    assert_eq!(client.opened(), 1, "as long as the free interface works, no byte goes over the other");
    client.cut(0);
    client.sends(10_000);
    let took = client.until(|client| client.open().contains(&1));
    assert!(took < 3 * S, "{took:?}");
    client.heal(0);
    client.sends(10_000);
    client.until(|client| client.open() == [0, 1]);
    let kept = client.until(|client| client.open() == [0]);
    assert!((9 * S..15 * S).contains(&kept), "not before the free one has proven itself: {kept:?}");
    client.run(30 * S);
    assert_eq!(client.opened(), 2);
}

#[test]
fn a_last_resort_is_opened_at_once_when_the_free_interface_goes() {
    let rules = vec![rule("if1", Usage::LastResort)];
    let mut client = Managed::new(Policy { rules, ..Policy::default() }, [local(0), local(1)]);
    client.run(2 * S);
    client.down(0);
    let took = client.until(|client| client.open() == [1]);
    assert!(took < Duration::from_millis(100), "{took:?}");
    client.up(0);
    client.until(|client| client.open() == [0]);
    assert!(client.shown().iter().all(|shown| shown.0 == 0), "{:?}", client.shown());
}

#[test]
fn an_interface_that_must_not_be_used_loses_even_the_handshakes_path() {
    let rules = vec![rule("if0", Usage::Never)];
    let mut client = Managed::new(Policy { rules, ..Policy::default() }, [local(0), local(1)]);
    client.until(|client| client.open() == [0, 1]);
    client.until(|client| client.open() == [1]);
    client.run(30 * S);
    assert_eq!(client.opened(), 2);
}

#[test]
fn a_server_that_allows_fewer_paths_than_the_mesh_has_is_asked_now_and_then() {
    let few = TransportConfig { max_paths: 2, ..TransportConfig::default() };
    let pair = Pair::between(TransportConfig::default(), few, &[]);
    let mut client = Managed::over(pair, Policy::default(), server(), (0..4).map(local));
    client.until(|client| client.open() == [0, 1]);
    client.run(20 * S);
    assert_eq!(client.opened(), 2);
    client.pair.client().abandon_path(PathId(1), PathErrorCode::APPLICATION_ABANDON_PATH).unwrap();
    let took = client.until(|client| client.open() == [0, 2]);
    assert!(took < 5 * S, "the seat that is free goes to the next one: {took:?}");
}

#[test]
fn no_more_paths_are_opened_than_the_plan_says() {
    let policy = Policy { plan: Plan::FullMesh { paths_max: 2 }, ..Policy::default() };
    let mut client = Managed::new(policy, [metered(3), local(0), local(1), local(2)]);
    client.run(5 * S);
    assert_eq!((client.open(), client.opened()), (vec![0, 1], 2));
    client.down(1);
    let took = client.until(|client| client.open() == [0, 2]);
    assert!(took < S, "{took:?}");
}

#[test]
fn what_the_application_gave_up_is_not_opened_again() {
    let mut client = Managed::new(Policy::default(), [local(0), local(1)]);
    client.until(|client| client.open() == [0, 1]);
    client.pair.client().abandon_path(PathId(1), PathErrorCode::APPLICATION_ABANDON_PATH).unwrap();
    client.run(100 * S);
    assert_eq!((client.open(), client.opened()), (vec![0], 2));
    client.manager.set_policy(Policy::default());
    client.until(|client| client.open() == [0, 1]);
}

#[test]
fn a_route_that_does_not_work_is_tried_ever_more_seldom_and_found_when_it_heals() {
    let mut client = Managed::new(Policy::default(), [local(0), local(1)]);
    client.cut(1);
    client.run(600 * S);
    let tries = client.opened() - 1;
    assert!((8..25).contains(&tries), "{tries} in ten minutes");
    client.heal(1);
    let took = client.until(|client| client.open() == [0, 1]);
    assert!(took <= 60 * S, "{took:?}");
}

#[test]
fn a_path_that_the_application_opened_is_not_opened_twice() {
    let mut client = Managed::new(Policy::default(), [local(0), local(1)]);
    while !client.pair.client().is_confirmed() {
        client.pair.step(); // the application is faster than the manager
    }
    client.pair.client().open_path(route(1001)).unwrap();
    client.run(5 * S);
    assert_eq!((client.open(), client.opened()), (vec![0, 1], 2));
}

#[test]
fn an_interface_that_flaps_a_thousand_times_costs_few_paths() {
    let mut client = Managed::new(Policy::default(), [local(0), local(1)]);
    client.until(|client| client.open() == [0, 1]);
    for _ in 0..1000 {
        client.down(1);
        client.run(Duration::from_millis(50));
        client.up(1);
        client.run(Duration::from_millis(150));
    }
    let opened = client.opened();
    assert!(opened < 25, "{opened} paths in 200 s");
    assert_eq!(client.open()[0], 0, "the other one is not touched");
    client.until(|client| client.open() == [0, 1]);
}

#[test]
fn interfaces_that_come_back_under_new_numbers_are_known_by_name_and_address() {
    let mut client = Managed::new(Policy::default(), [local(0)]);
    client.until(|client| client.open() == [0]);
    for flap in 0..90 {
        let number = 1 + flap;
        client.manager.local_up(Local { interface: "usb0".into(), ..local(number) }).unwrap();
        client.run(Duration::from_millis(150));
        client.manager.local_down(LocalId(number));
        client.run(Duration::from_millis(50));
    }
    let opened = client.opened();
    assert!((3..12).contains(&opened), "{opened} paths in 18 s");
}

#[test]
fn without_the_extension_nothing_is_opened_but_the_path_moves() {
    let alone = TransportConfig { max_paths: 1, ..TransportConfig::default() };
    let pair = Pair::between(TransportConfig::default(), alone, &[]);
    let mut client = Managed::over(pair, Policy::default(), server(), [local(0), local(1)]);
    client.run(2 * S);
    assert_eq!(client.shown().len(), 1);
    client.down(0);
    let took = client.until(|client| client.open() == [1]);
    assert!(took < Duration::from_millis(100), "{took:?}");
    assert_eq!(client.opened(), 1);
}
