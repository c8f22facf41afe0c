//! Which routes are wished, and in which order: a plan, applied to the addresses that are there.
//!
//! Pure: addresses in, routes out. Whether a route is ridden already, rests, or would be one too many is the manager's.

use std::net::SocketAddr;

use super::rules::{Local, Plan, Policy, Usage};
use crate::RouteId;

/// A route on which the policy wants a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) route: RouteId,
    pub(super) usage: Usage,
}

/// The routes on which paths are wanted, the most wanted first. None is named twice.
pub(super) fn wishes(policy: &Policy, locals: &[Local], remotes: &[SocketAddr]) -> Vec<Wish> {
    let mut wishes = match &policy.plan {
        Plan::Explicit(pairs) => {
            let mut wishes = Vec::new();
            for &(ip, remote) in pairs {
                let ip = ip.to_canonical();
                let local = locals.iter().find(|local| local.address.ip().to_canonical() == ip);
                wishes.extend(local.map(|local| (0, wish(policy, local, remote))));
            }
            wishes
        }
        Plan::FullMesh { .. } => mesh(policy, locals, remotes),
    };
    wishes.retain(|(_, wish)| wish.usage < Usage::Never);
    wishes.sort_by_key(|&(round, wish)| (wish.usage, round)); // stable: otherwise as found
    let mut unique: Vec<Wish> = Vec::with_capacity(wishes.len());
    for (_, wish) in wishes {
        if !unique.iter().any(|other| other.route.matches(&wish.route)) {
            unique.push(wish);
        }
    }
    unique
}

/// In round `n` each local address meets a remote one that it has not met, another than its neighbour does.
fn mesh(policy: &Policy, locals: &[Local], remotes: &[SocketAddr]) -> Vec<(usize, Wish)> {
    let mut ranked: Vec<&Local> = locals.iter().collect();
    ranked.sort_by_key(|local| policy.usage(local));
    let mut wishes = Vec::new();
    for (turn, local) in ranked.into_iter().enumerate() {
        let partners: Vec<_> =
            remotes.iter().filter(|remote| is_ipv4(remote) == is_ipv4(&local.address)).collect();
        for round in 0..partners.len() {
            let remote = *partners[(turn + round) % partners.len()];
            wishes.push((round, wish(policy, local, remote)));
        }
    }
    wishes
}

fn wish(policy: &Policy, local: &Local, remote: SocketAddr) -> Wish {
    Wish { route: RouteId::new(local.id, local.address, remote), usage: policy.usage(local).0 }
}

/// Does this address speak IPv4, if only by an IPv4-mapped one?
pub(super) fn is_ipv4(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_ipv4()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LocalId;
    use crate::manager::{Cost, Rule};

    fn local(id: u16, address: &str, interface: &str) -> Local {
        let address = address.parse().unwrap();
        Local { id: LocalId(id), address, interface: interface.into(), cost: Cost::Free }
    }

    fn remotes(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Local numbers and remote addresses, in order.
    fn shown(wishes: &[Wish]) -> Vec<(u16, String)> {
        wishes.iter().map(|wish| (wish.route.local_id().0, wish.route.remote().to_string())).collect()
    }

    fn pair(id: u16, remote: &str) -> (u16, String) {
        (id, remote.to_owned())
    }

    #[test]
    fn each_interface_has_its_first_path_before_any_has_its_second() {
        let locals = [local(0, "10.0.0.1:1", "a"), local(1, "10.0.1.1:1", "b")];
        let remotes = remotes(&["10.9.0.1:4", "10.9.0.2:4"]);
        let wishes = wishes(&Policy::default(), &locals, &remotes);
        let expected =
            [pair(0, "10.9.0.1:4"), pair(1, "10.9.0.2:4"), pair(0, "10.9.0.2:4"), pair(1, "10.9.0.1:4")];
        assert_eq!(shown(&wishes), expected);
    }

    #[test]
    fn families_do_not_mix_and_a_mapped_address_is_ipv4() {
        let locals = [local(0, "[2001:db8::1]:1", "a"), local(1, "10.0.0.1:1", "a")];
        let remotes = remotes(&["[::ffff:10.9.0.1]:4", "[2001:db8::9]:4"]);
        let wishes = wishes(&Policy::default(), &locals, &remotes);
        assert_eq!(shown(&wishes), [pair(0, "[2001:db8::9]:4"), pair(1, "10.9.0.1:4")]);
    }

    #[test]
    fn better_uses_come_first_and_never_does_not_come_at_all() {
        let rules = [("tun*", Usage::Never), ("wlan0", Usage::Free), ("wwan*", Usage::Backup)];
        let rules = rules.map(|(interface, usage)| Rule { interface: interface.into(), usage }).to_vec();
        let policy = Policy { rules, ..Policy::default() };
        let locals = [
            local(0, "10.0.0.1:1", "wwan0"),
            local(1, "10.0.0.2:1", "tun0"),
            local(2, "10.0.0.3:1", "eth0"),
            local(3, "10.0.0.4:1", "wlan0"),
        ];
        let wishes = wishes(&policy, &locals, &remotes(&["10.9.0.1:4"]));
        let order: Vec<_> = wishes.iter().map(|wish| (wish.route.local_id().0, wish.usage)).collect();
        assert_eq!(
            order,
            [(3, Usage::Free), (2, Usage::Free), (0, Usage::Backup)],
            "a rule ranks before none"
        );
    }

    #[test]
    fn an_explicit_list_is_what_it_says_in_its_order() {
        let entry = |local: &str, remote: &str| (local.parse().unwrap(), remote.parse().unwrap());
        let list = vec![
            entry("10.0.1.1", "10.9.0.1:4"),
            entry("10.0.7.7", "10.9.0.1:4"), // not there
            entry("10.0.0.1", "10.9.0.2:4"),
            entry("10.0.1.1", "10.9.0.1:4"), // twice
        ];
        let policy = Policy { plan: Plan::Explicit(list), ..Policy::default() };
        let locals = [local(0, "10.0.0.1:1", "a"), local(1, "10.0.1.1:1", "b")];
        let wishes = wishes(&policy, &locals, &remotes(&["10.9.0.1:4"]));
        assert_eq!(shown(&wishes), [pair(1, "10.9.0.1:4"), pair(0, "10.9.0.2:4")]);
    }
}
