//! The sockets of one worker, and the routes of its connections over them.
//!
//! Owns the numbering: the position of a socket is its `LocalId`. By default every path of every connection has its
//! own socket; they can also share one per path. Sends and receives nothing.

use braid_quic::{LocalId, RouteId};
use braid_udp_uring::{SocketConfig, UdpSocket};

use crate::options::Sockets;
use crate::plan::Ends;

/// What a worker starts with.
pub(crate) struct Wiring {
    /// In the order of their numbers.
    pub(crate) sockets: Vec<UdpSocket>,
    /// By connection, then by path.
    pub(crate) routes: Vec<Vec<RouteId>>,
}

impl Wiring {
    /// Binds what `connections` connections over paths with these ends need.
    pub(crate) fn bind(ends: &[Ends], connections: usize, owner: Sockets) -> Result<Self, String> {
        let mut wiring = Self { sockets: Vec::new(), routes: Vec::new() };
        for _ in 0..connections {
            let routes = match (owner, wiring.routes.first()) {
                (Sockets::Shared, Some(first)) => first.clone(),
                _ => ends.iter().map(|ends| wiring.add(ends)).collect::<Result<_, _>>()?,
            };
            wiring.routes.push(routes);
        }
        Ok(wiring)
    }

    fn add(&mut self, ends: &Ends) -> Result<RouteId, String> {
        let socket = UdpSocket::bind(&SocketConfig::new(ends.local)).map_err(|error| error.to_string())?;
        let local = socket.local_addr();
        let number = u16::try_from(self.sockets.len()).map_err(|_| "a worker cannot have so many sockets")?;
        self.sockets.push(socket);
        Ok(RouteId::new(LocalId(number), local, ends.remote))
    }
}

/// What the operator should know about these sockets, though they work.
pub(crate) fn warning(sockets: &[UdpSocket]) -> Option<String> {
    sockets.iter().find_map(|socket| socket.buffers().warning())
}

/// How many of `connections` each of `workers` gets: as even as can be.
pub(crate) fn shares(connections: usize, workers: usize) -> impl Iterator<Item = usize> {
    (0..workers).map(move |worker| (connections * (worker + 1)) / workers - connections * worker / workers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(count: u8) -> Vec<Ends> {
        let local = |path| format!("127.0.0.{}:0", path + 1).parse().unwrap();
        (0..count)
            .map(|path| Ends { local: local(path), remote: "127.0.0.1:4433".parse().unwrap() })
            .collect()
    }

    #[test]
    fn every_path_of_every_connection_has_a_socket_of_its_own() {
        let wiring = Wiring::bind(&ends(3), 2, Sockets::PerPath).unwrap();
        assert_eq!((wiring.sockets.len(), wiring.routes.len()), (6, 2));
        let routes: Vec<_> = wiring.routes.iter().flatten().collect();
        for (number, (route, socket)) in routes.iter().zip(&wiring.sockets).enumerate() {
            assert_eq!(usize::from(route.local_id().0), number);
            assert_eq!(route.local(), socket.local_addr());
        }
        assert_eq!(routes[4].local().ip().to_string(), "127.0.0.2");
    }

    #[test]
    fn shared_sockets_are_one_for_each_path() {
        let wiring = Wiring::bind(&ends(2), 5, Sockets::Shared).unwrap();
        assert_eq!((wiring.sockets.len(), wiring.routes.len()), (2, 5));
        assert!(wiring.routes.iter().all(|routes| *routes == wiring.routes[0]));
    }

    #[test]
    fn an_address_that_is_not_ours_is_one_sentence() {
        let foreign =
            [Ends { local: "192.0.2.1:0".parse().unwrap(), remote: "192.0.2.2:1".parse().unwrap() }];
        let sentence = Wiring::bind(&foreign, 1, Sockets::PerPath).err().unwrap();
        assert!(sentence.contains("192.0.2.1") && !sentence.contains('\n'), "{sentence}");
    }

    #[test]
    fn connections_are_spread_evenly_and_none_is_left_out() {
        assert_eq!(shares(7, 3).collect::<Vec<_>>(), [2, 2, 3]);
        assert_eq!(shares(4, 4).collect::<Vec<_>>(), [1, 1, 1, 1]);
        assert_eq!(shares(100, 7).sum::<usize>(), 100);
    }
}
