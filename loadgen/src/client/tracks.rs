//! The paths of one connection: which were asked for, which stand, and what went over them.
//!
//! Owns the way from an index on the command line to a path ID, and the counters of paths that are gone. Decides
//! nothing about traffic.

use braid_quic::{ConnectionGuard, PathId, RouteId};

use crate::tally::{Side, State};

/// All paths of one connection, in the order of the command line.
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
    /// The paths over `routes`; the first is the handshake's.
    pub(super) fn new(routes: Vec<RouteId>) -> Self {
        let track = |(index, route)| Track {
            route,
            path: (index == 0).then_some(PathId::ZERO),
            stands: index == 0,
            state: State::Refused,
            side: Side::default(),
            baseline: Side::default(),
        };
        Self(routes.into_iter().enumerate().map(track).collect())
    }

    /// The route of the handshake.
    pub(super) fn first_route(&self) -> RouteId {
        self.0[0].route
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

    /// Is there no path left to wait for?
    pub(super) fn all_stand(&self) -> bool {
        self.0.iter().all(|track| track.stands)
    }

    /// Notes what the connection has counted so far. Of a path that is gone the last numbers stay.
    pub(super) fn observe(&mut self, connection: &ConnectionGuard<'_>) {
        for track in &mut self.0 {
            let Some(path) = track.path else { continue };
            match connection.path_stats(path) {
                Some(stats) => (track.side, track.state) = ((&stats).into(), stats.stage.into()),
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
