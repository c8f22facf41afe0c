//! The clients of a relay: for each of them a socket of its own towards the server.
//!
//! Owns the sockets, their names in the poll and the limit on them. Carries no datagram.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use braid_quic::Instant;

use super::ends::End;

/// Clients that a relay has at once, on all paths.
pub const SESSIONS_MAX: usize = 4_096;
/// A client that was silent for this long, both ways, may lose its place to another.
const SILENCE: Duration = Duration::from_secs(30);

/// Names a session; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SessionId(pub(super) u64);

/// A client on one path.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) path: usize,
    pub(super) client: SocketAddr,
    /// Where the client sends to, for answers to come from there.
    pub(super) local: Option<IpAddr>,
    pub(super) upstream: End,
    /// The last socket before a rebinding: deaf, but bound, so that what still comes there is lost in silence.
    retired: Option<End>,
    heard_at: Instant,
}

/// All clients.
#[derive(Debug)]
pub(super) struct Sessions {
    by_id: HashMap<SessionId, Session>,
    by_client: HashMap<(usize, SocketAddr), SessionId>,
    next: u64,
    limit: usize,
}

/// A client that asks for a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newcomer {
    pub(super) path: usize,
    pub(super) client: SocketAddr,
    pub(super) local: Option<IpAddr>,
    pub(super) target: SocketAddr,
    pub(super) source: Option<IpAddr>,
}

impl Sessions {
    pub(super) fn new(limit: usize) -> Self {
        Self { by_id: HashMap::new(), by_client: HashMap::new(), next: 0, limit }
    }

    /// The session of a client, if it has one.
    pub(super) fn find(&mut self, path: usize, client: SocketAddr, now: Instant) -> Option<SessionId> {
        let id = *self.by_client.get(&(path, client))?;
        self.touch(id, now);
        Some(id)
    }

    /// Notes that there is traffic.
    pub(super) fn touch(&mut self, id: SessionId, now: Instant) {
        if let Some(session) = self.by_id.get_mut(&id) {
            session.heard_at = now;
        }
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        self.by_id.get(&id)
    }

    /// Gives a client a socket; `None` if there is no room or the system has none.
    pub(super) fn add(&mut self, newcomer: Newcomer, now: Instant) -> Option<(SessionId, &Session)> {
        if self.by_id.len() >= self.limit {
            self.drop_silent(now)?;
        }
        let Newcomer { path, client, local, target, source } = newcomer;
        let upstream = End::towards(target, source).ok()?;
        let id = SessionId(self.next);
        self.next += 1;
        self.by_client.insert((path, client), id);
        let session = Session { path, client, local, upstream, retired: None, heard_at: now };
        Some((id, self.by_id.entry(id).or_insert(session)))
    }

    /// Gives up a session whose socket turned out to be of no use.
    pub(super) fn remove(&mut self, id: SessionId) {
        if let Some(session) = self.by_id.remove(&id) {
            self.by_client.remove(&(session.path, session.client));
        }
    }

    /// The sessions of a path, or the one of this client on it, in the order in which they came.
    pub(super) fn of(&self, path: usize, client: Option<SocketAddr>) -> Vec<SessionId> {
        let wanted =
            |session: &Session| session.path == path && client.is_none_or(|client| session.client == client);
        let found = self.by_id.iter().filter(|(_, session)| wanted(session)).map(|(&id, _)| id);
        let mut found: Vec<_> = found.collect();
        found.sort_unstable();
        found
    }

    /// Exchanges a session's socket; the one before is returned as a loan, for the poll to forget it.
    pub(super) fn rebind(
        &mut self,
        id: SessionId,
        target: SocketAddr,
        source: Option<IpAddr>,
    ) -> io::Result<Option<(&End, &End)>> {
        let Some(session) = self.by_id.get_mut(&id) else { return Ok(None) };
        let before = std::mem::replace(&mut session.upstream, End::towards(target, source)?);
        Ok(Some((session.retired.insert(before), &session.upstream)))
    }

    /// Ends the session that was silent longest, if that was long enough.
    fn drop_silent(&mut self, now: Instant) -> Option<()> {
        let (&id, session) = self.by_id.iter().min_by_key(|(_, session)| session.heard_at)?;
        if now.since(session.heard_at) < SILENCE {
            return None;
        }
        self.remove(id);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::secs;

    fn newcomer(path: usize, port: u16) -> Newcomer {
        let client = ([127, 0, 0, 1], port).into();
        Newcomer { path, client, local: None, target: ([127, 0, 0, 1], 9).into(), source: None }
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + secs(seconds)
    }

    #[test]
    fn at_the_limit_only_the_longest_silent_session_gives_way() {
        let mut sessions = Sessions::new(2);
        let first = sessions.add(newcomer(0, 1), at(0)).unwrap().0;
        let second = sessions.add(newcomer(0, 2), at(1)).unwrap().0;
        assert!(sessions.add(newcomer(0, 3), at(29)).is_none(), "all of them talk");
        sessions.touch(first, at(29));
        let third = sessions.add(newcomer(0, 3), at(31)).unwrap().0;
        assert!(sessions.get(second).is_none() && sessions.get(first).is_some());
        assert_eq!(sessions.find(0, newcomer(0, 2).client, at(31)), None);
        assert_eq!(sessions.of(0, None), [first, third]);
    }

    #[test]
    fn one_address_on_two_paths_is_two_clients() {
        let mut sessions = Sessions::new(4);
        let first = sessions.add(newcomer(0, 1), at(0)).unwrap().0;
        let second = sessions.add(newcomer(1, 1), at(0)).unwrap().0;
        let client = newcomer(0, 1).client;
        assert_eq!(sessions.find(0, client, at(0)), Some(first));
        assert_eq!(sessions.find(1, client, at(0)), Some(second));
        assert_eq!(sessions.of(1, Some(client)), [second]);
        sessions.remove(first);
        assert_eq!(sessions.find(0, client, at(0)), None);
    }

    #[test]
    fn rebinding_takes_a_new_port_and_keeps_the_old_one_taken() {
        let mut sessions = Sessions::new(1);
        let (id, session) = sessions.add(newcomer(0, 1), at(0)).unwrap();
        let before = session.upstream.socket.local_addr().unwrap();
        let target = newcomer(0, 1).target;
        let (old, new) = sessions.rebind(id, target, Some([127, 0, 0, 7].into())).unwrap().unwrap();
        assert_eq!(old.socket.local_addr().unwrap(), before);
        assert_eq!(new.socket.local_addr().unwrap().ip(), IpAddr::from([127, 0, 0, 7]));
        assert!(sessions.rebind(id, target, Some([192, 0, 2, 1].into())).is_err(), "not ours");
        assert!(sessions.get(id).is_some(), "and then all is as before");
    }
}
