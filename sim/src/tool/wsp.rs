//! `sim design`: pairs of paths that fill their space evenly, after the design of experiments called WSP.
//!
//! Owns the classes of De Coninck and Bonaventure (2017) and the selection by Santiago, Claeys-Bruno and
//! Sergent, "Construction of space-filling designs using WSP algorithm for high dimensional spaces" (2012): of many
//! random points take one, drop all that are closer to it than a distance, go on with the nearest that is left. The
//! distance is searched for that gives the number wanted. A seed repeats a design.

use std::fmt::Write as _;

use braid_sim::Rng;

use super::sweep::design::COLUMNS;

/// Random points from which a design is chosen, for each point that is wanted.
const CANDIDATES_PER_POINT: usize = 40;
/// Fewer candidates than this fill no space.
const CANDIDATES_MIN: usize = 1_000;
/// Beyond this many pairs the selection takes minutes, and nobody waits for the sweep either.
pub(crate) const PAIRS_MAX: usize = 1_000;
/// Halvings of the distance; the number of points no longer changes.
const SEARCH_STEPS: u32 = 40;
/// Values of one path.
const VALUES: usize = 4;
/// Values of a pair.
const DIMENSIONS: usize = 2 * VALUES;

/// A point of the unit cube.
type Point = [f64; DIMENSIONS];

/// The four spaces of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Class {
    /// 0.1-100 Mbps, RTT 0-50 ms, queueing delay 0-100 ms.
    LowBdpNoLoss,
    /// The same with 0-2.5 % loss.
    LowBdpLosses,
    /// 0.1-100 Mbps, RTT 0-400 ms, queueing delay 0-2000 ms.
    HighBdpNoLoss,
    /// The same with 0-2.5 % loss.
    HighBdpLosses,
}

impl Class {
    const fn name(self) -> &'static str {
        match self {
            Self::LowBdpNoLoss => "low-bdp-no-loss",
            Self::LowBdpLosses => "low-bdp-losses",
            Self::HighBdpNoLoss => "high-bdp-no-loss",
            Self::HighBdpLosses => "high-bdp-losses",
        }
    }

    /// The least and the largest capacity in Mbps, RTT and queueing delay in ms, and loss in percent.
    const fn ranges(self) -> [(f64, f64); VALUES] {
        let rate = (0.1, 100.0);
        match self {
            Self::LowBdpNoLoss => [rate, (0.0, 50.0), (0.0, 100.0), (0.0, 0.0)],
            Self::LowBdpLosses => [rate, (0.0, 50.0), (0.0, 100.0), (0.0, 2.5)],
            Self::HighBdpNoLoss => [rate, (0.0, 400.0), (0.0, 2_000.0), (0.0, 0.0)],
            Self::HighBdpLosses => [rate, (0.0, 400.0), (0.0, 2_000.0), (0.0, 2.5)],
        }
    }

    /// Which coordinates differ at all.
    fn is_free(self, dimension: usize) -> bool {
        let (least, most) = self.ranges()[dimension % VALUES];
        least < most
    }
}

/// The file: a comment on where it comes from, the header, two rows for each pair.
pub(crate) fn design(class: Class, pairs: usize, seed: u64) -> Result<String, String> {
    if !(1..=PAIRS_MAX).contains(&pairs) {
        return Err(format!("--pairs {pairs} is not from 1 to {PAIRS_MAX}"));
    }
    let mut text =
        format!("# sim design {} --pairs {pairs} --seed {seed}\n{}\n", class.name(), COLUMNS.join(","));
    let mut row = 0;
    for point in points(class, pairs, seed) {
        let value = |dimension: usize| {
            let (least, most) = class.ranges()[dimension % VALUES];
            format!("{:.2}", least + (most - least) * point[dimension])
        };
        let path = |first: usize| (first..first + VALUES).map(value).collect::<Vec<_>>().join(",");
        let (one, other) = (path(0), path(VALUES));
        for (first, second) in [(&one, &other), (&other, &one)] {
            row += 1;
            writeln!(text, "{row},{first},{second}").expect("a string takes everything");
        }
    }
    Ok(text)
}

/// Exactly `count` points: as many as the largest distance leaves that leaves enough.
fn points(class: Class, count: usize, seed: u64) -> Vec<Point> {
    let candidates = candidates(class, count, seed);
    let (mut near, mut far) = (0.0, (DIMENSIONS as f64).sqrt());
    for _ in 0..SEARCH_STEPS {
        let middle = f64::midpoint(near, far);
        let enough = select(&candidates, middle).len() >= count;
        *(if enough { &mut near } else { &mut far }) = middle;
    }
    let mut points = select(&candidates, near);
    points.truncate(count);
    points
}

fn candidates(class: Class, count: usize, seed: u64) -> Vec<Point> {
    let mut rng = Rng::labelled(seed, class.name());
    let mut coordinate = |dimension: usize| {
        // A drawn value is spent on fixed coordinates too, so that classes with and without loss are alike.
        let drawn = rng.below(1 << 53) as f64 / (1_u64 << 53) as f64;
        if class.is_free(dimension) { drawn } else { 0.0 }
    };
    let number = (count * CANDIDATES_PER_POINT).max(CANDIDATES_MIN);
    (0..number).map(|_| std::array::from_fn(&mut coordinate)).collect()
}

/// The points that are left when each chosen one drops all that are closer than `distance`.
fn select(candidates: &[Point], distance: f64) -> Vec<Point> {
    let mut left = candidates.to_vec();
    let mut chosen = Vec::new();
    let mut from = [0.5; DIMENSIONS];
    while let Some(index) = nearest(&left, &from) {
        from = left.swap_remove(index);
        chosen.push(from);
        left.retain(|point| square(point, &from) >= distance * distance);
    }
    chosen
}

fn nearest(points: &[Point], to: &Point) -> Option<usize> {
    let distances = points.iter().map(|point| square(point, to)).enumerate();
    distances.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index)
}

/// The distance, squared.
fn square(a: &Point, b: &Point) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::sweep::design::read;

    #[test]
    fn a_design_has_two_rows_a_pair_with_the_paths_exchanged() {
        let pairs = read(&design(Class::LowBdpLosses, 5, 1).unwrap()).unwrap();
        assert_eq!(pairs.len(), 10);
        for two in pairs.chunks(2) {
            assert_eq!((two[0].paths[0], two[0].paths[1]), (two[1].paths[1], two[1].paths[0]));
        }
    }

    #[allow(clippy::float_cmp)] // no loss is written as 0
    #[test]
    fn values_stay_in_the_ranges_of_their_class_and_use_them() {
        let pairs = read(&design(Class::HighBdpNoLoss, 25, 1).unwrap()).unwrap();
        let paths = || pairs.iter().flat_map(|pair| pair.paths);
        assert!(paths().all(|path| (0.1..=100.0).contains(&path.rate_mbps) && path.rtt_ms <= 400.0));
        assert!(paths().all(|path| path.queue_ms <= 2_000.0 && path.loss_pct == 0.0));
        assert!(paths().any(|path| path.rtt_ms > 300.0) && paths().any(|path| path.rtt_ms < 100.0));
    }

    #[test]
    fn chosen_points_keep_more_distance_than_random_ones() {
        let least = |points: &[Point]| {
            let pairs =
                points.iter().enumerate().flat_map(|(i, a)| points[..i].iter().map(move |b| square(a, b)));
            pairs.fold(f64::INFINITY, f64::min)
        };
        let chosen = points(Class::LowBdpLosses, 20, 1);
        assert_eq!(chosen.len(), 20);
        assert!(least(&chosen) > 2.0 * least(&candidates(Class::LowBdpLosses, 20, 1)[..20]));
    }

    #[test]
    fn a_seed_repeats_a_design_and_another_one_does_not() {
        let one = design(Class::LowBdpNoLoss, 3, 1);
        assert_eq!(one, design(Class::LowBdpNoLoss, 3, 1));
        assert_ne!(one, design(Class::LowBdpNoLoss, 3, 2));
        assert!(design(Class::LowBdpNoLoss, 0, 1).is_err() && design(Class::LowBdpNoLoss, 1_001, 1).is_err());
    }
}
