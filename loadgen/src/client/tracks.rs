//! The paths of one connection: which were asked for, which stand, and what went over them.
//!
//! Owns the way from an index on the command line to a path ID, and the counters of paths that are gone. Decides
//! nothing about traffic.

use braid_quic::{ConnectionGuard, LocalId, PathId, PathStage, PathStats, RouteId};

use crate::tally::{Side, State};

/// Paths of one connection that are reported. Interfaces that come and go may make more; those are not counted.
const TRACKS_MAX: usize = 1024;

/// All paths of one connection, by their IDs.
pub(super) struct Tracks(Vec<Track>);

struct Track {
    route: RouteId,
    path: Option<PathId>,
    stands: bool,
    state: State,
    side: Side,
    baseline: Side,
}

/// One path of a connection over the measured time.
pub(crate) struct PathResult {
    pub(crate) route: RouteId,
    pub(crate) side: Side,
    pub(crate) state: State,
}

impl Tracks {
    /// The paths over `routes`; the first is the handshake's. Without routes all are somebody else's to open.
    pub(super) fn new(routes: Vec<RouteId>) -> Self {
        let track = |(index, route)| Track::new(route, (index == 0).then_some(PathId::ZERO), index == 0);
        Self(routes.into_iter().enumerate().map(track).collect())
    }

    /// The route of the handshake, and those that it may take instead: from another local address, or to another one of
    /// the server's.
    pub(super) fn handshake_routes(&self) -> Option<(RouteId, Vec<RouteId>)> {
        let way = |route: &RouteId| (route.local().ip(), route.remote());
        let (first, others) = self.0.split_first()?;
        let mut ways = vec![way(&first.route)];
        let mut rivals = Vec::new();
        for route in others.iter().map(|track| track.route) {
            if !ways.contains(&way(&route)) {
                ways.push(way(&route));
                rivals.push(route);
            }
        }
        Some((first.route, rivals))
    }

    /// The handshake is through. The first path has the route that brought it, and the other path, which should have had
    /// that, has the first one's.
    pub(super) fn on_confirmed(&mut self, connection: &ConnectionGuard<'_>) {
        if let Some(stats) = connection.path_stats(PathId::ZERO) {
            self.lead_with(&stats.route);
        }
    }

    fn lead_with(&mut self, route: &RouteId) {
        let Some(at) = self.0.iter().position(|track| track.route.matches(route)) else { return };
        let first = self.0[0].route;
        self.0[0].route = std::mem::replace(&mut self.0[at].route, first);
    }

    /// Takes in paths that somebody else opened.
    pub(super) fn adopt(&mut self, connection: &ConnectionGuard<'_>) {
        self.grow(|path| connection.path_stats(path).map(|stats| (stats.route, stats.stage)));
    }

    /// IDs ascend without a gap, so the next one is the length of the list.
    fn grow(&mut self, find: impl Fn(PathId) -> Option<(RouteId, PathStage)>) {
        while self.0.len() < TRACKS_MAX {
            let path = PathId(self.0.len() as u32);
            let Some((route, stage)) = find(path) else { return };
            self.0.push(Track::new(route, Some(path), matches!(stage, PathStage::Open | PathStage::Suspect)));
        }
    }

    /// The sockets of all paths, by their IDs.
    pub(super) fn sockets(&self) -> impl Iterator<Item = LocalId> {
        self.0.iter().map(|track| track.route.local_id())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Asks for the paths that are missing. An answer of no may be a matter of time: the server has to give
    /// connection IDs first.
    pub(super) fn open_missing(&mut self, connection: &mut ConnectionGuard<'_>) {
        for track in self.0.iter_mut().filter(|track| track.path.is_none()) {
            match connection.open_path(track.route) {
                Ok(path) => track.path = Some(path),
                Err(_) => return, // the others would hear the same
            }
        }
    }

    /// A path was validated.
    pub(super) fn on_validated(&mut self, path: PathId) {
        if let Some(track) = self.of(path) {
            track.stands = true;
        }
    }

    /// A path ended. Whoever waits for it need not.
    pub(super) fn on_abandoned(&mut self, path: PathId, connection: &ConnectionGuard<'_>) {
        self.observe(connection);
        if let Some(track) = self.of(path) {
            track.stands = true;
            track.state = State::Leaving;
        }
    }

    /// The last state of a path is gone; these are its final numbers.
    pub(super) fn on_closed(&mut self, stats: &PathStats) {
        if let Some(track) = self.of(stats.id) {
            (track.side, track.state) = (stats.into(), State::Closed);
        }
    }

    /// Is there no path left to wait for?
    pub(super) fn all_stand(&self) -> bool {
        self.0.iter().all(|track| track.stands)
    }

    /// Notes what the connection has counted so far. Of a path that is gone the last numbers stay.
    pub(super) fn observe(&mut self, connection: &ConnectionGuard<'_>) {
        for track in &mut self.0 {
            let Some(path) = track.path else { continue };
            match connection.path_stats(path) {
                Some(stats) => {
                    (track.side, track.state) = ((&stats).into(), stats.stage.into());
                    if !stats.route.matches(&track.route) {
                        track.route = stats.route; // it moved
                    }
                }
                None if track.side != Side::default() => track.state = State::Closed,
                None => {}
            }
        }
    }

    /// The connection is lost, and all paths that it had with it.
    pub(super) fn on_lost(&mut self) {
        let had = self.0.iter_mut().filter(|track| track.path.is_some());
        had.for_each(|track| track.state = State::Closed);
    }

    /// What was counted so far belongs to the warm-up.
    pub(super) fn begin(&mut self) {
        self.0.iter_mut().for_each(|track| track.baseline = track.side);
    }

    /// What was counted since then.
    pub(super) fn results(&self) -> impl Iterator<Item = PathResult> {
        self.0.iter().map(|track| PathResult {
            route: track.route,
            side: track.side.since(&track.baseline),
            state: track.state,
        })
    }

    fn of(&mut self, path: PathId) -> Option<&mut Track> {
        self.0.iter_mut().find(|track| track.path == Some(path))
    }
}

impl Track {
    fn new(route: RouteId, path: Option<PathId>, stands: bool) -> Self {
        let (side, baseline) = (Side::default(), Side::default());
        Self { route, path, stands, state: State::Refused, side, baseline }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(number: u16, local: &str, remote: &str) -> RouteId {
        RouteId::new(LocalId(number), local.parse().unwrap(), remote.parse().unwrap())
    }

    #[test]
    fn the_handshake_races_over_each_pair_of_addresses_once() {
        let routes = vec![
            route(0, "0.0.0.0:1", "10.9.0.1:4"),
            route(1, "0.0.0.0:2", "10.9.0.1:4"), // the same way from another port
            route(2, "0.0.0.0:3", "10.9.0.2:4"),
            route(3, "10.0.0.1:4", "10.9.0.2:4"),
            route(4, "10.0.0.1:5", "10.9.0.2:4"),
        ];
        let (first, rivals) = Tracks::new(routes).handshake_routes().unwrap();
        let numbers: Vec<_> = rivals.iter().map(|route| route.local_id().0).collect();
        assert_eq!((first.local_id().0, numbers), (0, vec![2, 3]));
        assert!(Tracks::new(Vec::new()).handshake_routes().is_none());
    }

    #[test]
    fn the_route_that_won_the_race_is_the_first_paths_and_the_loser_is_tried_later() {
        let routes = [0, 1, 2].map(|n| route(n, &format!("10.0.0.{n}:1"), "10.9.0.1:4"));
        let mut tracks = Tracks::new(routes.to_vec());
        tracks.lead_with(&routes[0]);
        assert_eq!(tracks.sockets().collect::<Vec<_>>(), [0, 1, 2].map(LocalId));
        tracks.lead_with(&routes[2]);
        assert_eq!(tracks.sockets().collect::<Vec<_>>(), [2, 1, 0].map(LocalId));
        assert_eq!(tracks.0[0].path, Some(PathId::ZERO));
        tracks.lead_with(&route(7, "10.0.0.7:1", "10.9.0.1:4"));
        assert_eq!(
            tracks.sockets().collect::<Vec<_>>(),
            [2, 1, 0].map(LocalId),
            "a stranger changes nothing"
        );
    }

    #[test]
    fn paths_of_others_are_taken_in_by_their_ids_up_to_the_limit() {
        let mut tracks = Tracks::new(Vec::new());
        let here = route(0, "10.0.0.1:1", "10.9.0.1:4");
        let there = |count: u32, stage| move |path: PathId| (path.0 < count).then_some((here, stage));
        tracks.grow(there(1, PathStage::Open));
        assert!(tracks.len() == 1 && tracks.all_stand());
        tracks.grow(there(3, PathStage::Probing));
        assert!(tracks.len() == 3 && !tracks.all_stand());
        tracks.grow(there(u32::MAX, PathStage::Open));
        assert_eq!(tracks.len(), TRACKS_MAX);
    }
}
