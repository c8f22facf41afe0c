//! What paths a client wishes: over which local addresses, towards which of the server's, and how freely.
//!
//! Owns the plain values and the rule which use an interface is put to. Knows neither connections nor time.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::{LocalId, PathOptions};

/// What traffic over an interface costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cost {
    /// Nothing to speak of.
    #[default]
    Free,
    /// Money, or part of an allowance: a mobile network, roaming.
    Metered,
}

/// A local address from which the server may be reached, with a socket behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// The number of its socket.
    pub id: LocalId,
    /// Its address and port. The IP address may be unspecified where the socket is bound to an interface.
    pub address: SocketAddr,
    /// The name of its interface, for [`Rule`]s.
    pub interface: Arc<str>,
    /// What it costs.
    pub cost: Cost,
}

/// How freely an interface is used. The better ones come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Usage {
    /// Paths over it are opened and used as the scheduler likes.
    #[default]
    Free,
    /// Paths over it are opened, and advised to be used only when no other is usable (MP-140).
    Backup,
    /// Paths over it are opened when no path over a better interface works, and given up again when one does.
    LastResort,
    /// No path is opened over it, and one that is there (the handshake's) is given up when a better one works.
    Never,
}

/// The use of interfaces by their names. The first rule of a [`Policy`] that fits decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// A whole name (`wlan0`), or the beginning of names and an asterisk (`wwan*`).
    pub interface: String,
    /// What it is used for, whatever it costs.
    pub usage: Usage,
}

impl Rule {
    /// Does it speak of this interface?
    #[must_use]
    pub fn fits(&self, interface: &str) -> bool {
        match self.interface.strip_suffix('*') {
            Some(beginning) => interface.starts_with(beginning),
            None => interface == self.interface,
        }
    }
}

/// Which paths are wished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// These, from a local IP address to an address of the server, in this order; others are let be.
    Explicit(Vec<(IpAddr, SocketAddr)>),
    /// From every local address to every address of the server of the same family.
    ///
    /// Better interfaces come first, and each gets its first path before any gets its second.
    FullMesh {
        /// Open no further path while so many are there.
        paths_max: usize,
    },
}

/// All that a client says about its paths.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Which paths are wished.
    pub plan: Plan,
    /// The use of interfaces, first fit first. The order is one of preference, too: of interfaces with the same use those
    /// of an earlier rule come first, those without a rule last.
    pub rules: Vec<Rule>,
    /// The use of metered interfaces without a rule.
    pub metered: Usage,
    /// The other settings of the paths that are opened; `backup` is added where the use says so.
    pub options: PathOptions,
    /// How long a route rests after its path failed for the first time. The rest doubles with each failure.
    pub rest_first: Duration,
    /// The longest rest.
    pub rest_max: Duration,
    /// A path that was usable for so long counts as sound: earlier failures of its route are forgotten, and a last resort
    /// is given up for it.
    pub calm: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            plan: Plan::FullMesh { paths_max: 8 },
            rules: Vec::new(),
            metered: Usage::Backup,
            options: PathOptions::default(),
            rest_first: Duration::from_secs(1),
            rest_max: Duration::from_secs(60),
            calm: Duration::from_secs(10),
        }
    }
}

impl Policy {
    /// What an interface is used for, and its place among those with the same use: the smaller, the earlier.
    pub(super) fn usage(&self, local: &Local) -> (Usage, usize) {
        let found = self.rules.iter().enumerate().find(|(_, rule)| rule.fits(&local.interface));
        match (found, local.cost) {
            (Some((place, rule)), _) => (rule.usage, place),
            (None, Cost::Free) => (Usage::Free, self.rules.len()),
            (None, Cost::Metered) => (self.metered, self.rules.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(interface: &str, cost: Cost) -> Local {
        Local { id: LocalId(0), address: "10.0.0.1:1".parse().unwrap(), interface: interface.into(), cost }
    }

    fn rule(interface: &str, usage: Usage) -> Rule {
        Rule { interface: interface.into(), usage }
    }

    #[test]
    fn a_rule_names_an_interface_or_the_beginning_of_names() {
        assert!(rule("wlan0", Usage::Free).fits("wlan0"));
        assert!(!rule("wlan0", Usage::Free).fits("wlan01"));
        assert!(rule("wwan*", Usage::Free).fits("wwan7"));
        assert!(!rule("wwan*", Usage::Free).fits("wlan0"));
        assert!(rule("*", Usage::Free).fits("anything"));
    }

    #[test]
    fn the_first_rule_decides_and_cost_only_where_there_is_none() {
        let rules = vec![rule("wwan1", Usage::Free), rule("wwan*", Usage::LastResort)];
        let policy = Policy { rules, ..Policy::default() };
        assert_eq!(policy.usage(&local("wwan1", Cost::Metered)), (Usage::Free, 0));
        assert_eq!(policy.usage(&local("wwan2", Cost::Free)), (Usage::LastResort, 1));
        assert_eq!(policy.usage(&local("eth0", Cost::Free)), (Usage::Free, 2));
        assert_eq!(policy.usage(&local("usb0", Cost::Metered)), (Usage::Backup, 2));
        let policy = Policy { metered: Usage::Never, ..policy };
        assert_eq!(policy.usage(&local("usb0", Cost::Metered)), (Usage::Never, 2));
    }
}
