//! Who set the pace: the generator, the server, both, or neither.
//!
//! Owns the rule and its thresholds. A result whose generator was the bottleneck says little about the server, so it is
//! said. Pure: fractions of a core in, one word out.

use serde::Serialize;

/// A thread that uses this part of a core, or waits for one, has no time to spare.
const BUSY: f64 = 0.9;
/// A generator whose schedule is later than this, in the 99th percentile, does not keep it.
const LAG_MAX_US: u64 = 1000;
/// As long as no more than one in so many could not begin, the rate was kept.
const BEHIND_PER: u64 = 1000;

/// Whose end was the bottleneck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LimitedBy {
    Client,
    Server,
    Both,
    /// The network, a window, the demand: whatever is no thread's doing.
    Neither,
}

impl LimitedBy {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Both => "both",
            Self::Neither => "neither",
        }
    }
}

/// How the open loop went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) offered: u64,
    /// What never began.
    pub(crate) left: u64,
    pub(crate) lag_p99_us: u64,
}

/// Who limited a run, by the part of the time in which the busiest thread of each end ran or waited for a core; `None` if
/// that cannot be told.
pub(crate) fn verdict(
    client: Option<f64>,
    server: Option<f64>,
    open_loop: Option<Kept>,
) -> Option<LimitedBy> {
    let busy = |end: Option<f64>| end.map(|fraction| fraction >= BUSY);
    let (client, server) = (busy(client), busy(server));
    let Some(kept) = open_loop else {
        return Some(match (client?, server) {
            (true, Some(true)) => LimitedBy::Both,
            (true, _) => LimitedBy::Client,
            (false, Some(true)) => LimitedBy::Server,
            (false, Some(false)) => LimitedBy::Neither,
            (false, None) => return None,
        });
    };
    let late = kept.lag_p99_us > LAG_MAX_US;
    let behind = kept.left > kept.offered / BEHIND_PER;
    Some(match (late, behind) {
        (false, false) => LimitedBy::Neither, // it got what it asked for, however busy both were
        (true, true) if server == Some(true) => LimitedBy::Both,
        (false, true) if server == Some(true) => {
            if client == Some(true) {
                LimitedBy::Both
            } else {
                LimitedBy::Server
            }
        }
        _ => LimitedBy::Client,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_closed_loop_the_busy_end_is_the_bottleneck() {
        for (client, server, expected) in [
            (Some(0.99), Some(0.50), Some(LimitedBy::Client)),
            (Some(0.50), Some(0.99), Some(LimitedBy::Server)),
            (Some(0.95), Some(0.95), Some(LimitedBy::Both)),
            (Some(0.20), Some(0.30), Some(LimitedBy::Neither)),
            (Some(0.95), None, Some(LimitedBy::Client)),
            (Some(0.20), None, None),
            (None, Some(0.99), None),
        ] {
            assert_eq!(verdict(client, server, None), expected, "{client:?} {server:?}");
        }
    }

    #[test]
    fn in_the_open_loop_who_keeps_the_rate_is_not_limited() {
        let kept = |offered, left, lag_p99_us| Some(Kept { offered, left, lag_p99_us });
        for (client, server, open_loop, expected) in [
            (0.99, 0.99, kept(100_000, 100, 50), LimitedBy::Neither),
            (0.50, 0.95, kept(100_000, 101, 50), LimitedBy::Server),
            (0.95, 0.95, kept(100_000, 500, 50), LimitedBy::Both),
            (0.50, 0.30, kept(100_000, 500, 50), LimitedBy::Client),
            (0.99, 0.30, kept(100_000, 0, 1001), LimitedBy::Client),
            (0.99, 0.99, kept(100_000, 0, 1001), LimitedBy::Client),
            (0.99, 0.99, kept(100_000, 500, 1001), LimitedBy::Both),
            (0.50, 0.50, kept(5, 1, 10), LimitedBy::Client),
        ] {
            assert_eq!(
                verdict(Some(client), Some(server), open_loop),
                Some(expected),
                "{client} {server} {open_loop:?}"
            );
        }
    }
}
