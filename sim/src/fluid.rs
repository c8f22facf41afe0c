//! The bound that no transport can beat: links as pipes of a fluid.
//!
//! Owns the time t that solves `sum of C_i (t - s_i) = size`, over the links that have started by then. Knows nothing
//! of packets, so headers, acknowledgements and slow start are what separates a run from its bound.

use std::time::Duration;

use crate::units::Rate;

/// When `bytes` have arrived if link i delivers at its full rate from its start on; `Duration::MAX` without links.
pub fn fluid_time(bytes: u64, links: &[(Rate, Duration)]) -> Duration {
    let mut by_start = links.to_vec();
    by_start.sort_by_key(|(_, start)| *start);
    let mut best = f64::INFINITY;
    let (mut rate, mut head_start) = (0.0, 0.0);
    for (link, start) in by_start {
        // Later links do not help a transfer that is over before they start.
        if best <= start.as_secs_f64() {
            break;
        }
        rate += link.bytes_per_second();
        head_start += link.bytes_per_second() * start.as_secs_f64();
        best = (bytes as f64 + head_start) / rate;
    }
    Duration::try_from_secs_f64(best).unwrap_or(Duration::MAX)
}

/// When a client's path can carry the first byte of a download, at the earliest: after the handshake and the request
/// for the path of the handshake; after the handshake's confirmation and the validation by both ends for any other.
pub fn first_byte_at(path_index: usize, handshake_rtt: Duration, path_rtt: Duration) -> Duration {
    if path_index == 0 { handshake_rtt * 2 } else { handshake_rtt * 2 + path_rtt * 2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{mb, mbps, ms, secs};

    #[test]
    fn one_link_takes_size_over_rate_after_its_start() {
        assert_eq!(fluid_time(mb(1), &[(mbps(8), ms(500))]), ms(1_500));
    }

    #[test]
    fn two_links_share_the_rest_after_both_have_started() {
        // The first brings 1 MB in its second alone; then both bring 2 MB/s: 2 MB more in one second.
        let links = [(mbps(8), secs(1)), (mbps(8), secs(2))];
        assert_eq!(fluid_time(mb(3), &links), secs(3));
        assert_eq!(fluid_time(mb(3), &[links[1], links[0]]), secs(3), "in any order");
    }

    #[test]
    fn a_link_that_starts_after_the_end_does_not_help() {
        assert_eq!(fluid_time(mb(1), &[(mbps(8), ms(0)), (mbps(800), secs(1))]), secs(1));
        assert_eq!(fluid_time(mb(1), &[]), Duration::MAX);
    }

    #[test]
    fn the_first_path_starts_after_two_round_trips_and_others_after_two_more_of_their_own() {
        assert_eq!(first_byte_at(0, ms(20), ms(20)), ms(40));
        assert_eq!(first_byte_at(1, ms(20), ms(120)), ms(280));
    }
}
