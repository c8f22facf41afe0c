//! The datagrams of one connection (RFC 9221). In the closed loop so many are under way, and where the fate of one is
//! known the next leaves; in the open loop they leave when they are told to.
//!
//! Owns which datagrams are under way since when. Latency ends with the acknowledgement: any server that takes datagrams
//! can be measured, and none has to send them back.

use braid_quic::{ConnectionGuard, DatagramId, DatagramOptions, DatagramResult, Instant, SendDatagramError};
use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::measure::Measure;

/// The largest payload; beyond this no UDP datagram carries one.
pub(crate) const PAYLOAD_MAX_BYTES: usize = 65_000;
/// What all payloads are made of.
static ZEROS: [u8; PAYLOAD_MAX_BYTES] = [0; PAYLOAD_MAX_BYTES];

/// What the client asks of its connection.
pub(super) trait Datagrams {
    /// Hands one over.
    fn send(&mut self, bytes: Bytes) -> Result<DatagramId, SendDatagramError>;
    /// What became of one of them.
    fn result(&mut self) -> Option<(DatagramId, DatagramResult)>;
}

/// All datagrams of a connection whose fate is unknown.
pub(super) struct Flow {
    payload: Bytes,
    at_once: usize,
    closed_loop: bool,
    /// Since when, by intention.
    under_way: HashMap<DatagramId, Instant, FixedState>,
}

impl Flow {
    /// Datagrams of `bytes`, at most `at_once` of them under way.
    pub(super) fn new(bytes: usize, at_once: usize, closed_loop: bool) -> Self {
        let payload = Bytes::from_static(&ZEROS[..bytes.min(PAYLOAD_MAX_BYTES)]);
        Self { payload, at_once, closed_loop, under_way: HashMap::with_hasher(FixedState::default()) }
    }

    /// Sends as many as are missing and the connection takes, in the closed loop.
    pub(super) fn fill(&mut self, connection: &mut impl Datagrams, now: Instant, measure: &mut Measure) {
        let missing = if self.closed_loop { self.at_once.saturating_sub(self.under_way.len()) } else { 0 };
        for _ in 0..missing {
            if !self.begin(now, connection, now, measure) {
                return;
            }
        }
    }

    /// Sends one that was to leave at `intended`; `false` if none may leave now.
    pub(super) fn begin(
        &mut self,
        intended: Instant,
        connection: &mut impl Datagrams,
        now: Instant,
        measure: &mut Measure,
    ) -> bool {
        if self.under_way.len() >= self.at_once {
            return false;
        }
        match connection.send(self.payload.clone()) {
            Ok(id) => {
                self.under_way.insert(id, intended);
                measure.on_datagram_sent(now);
                true
            }
            Err(SendDatagramError::Full) => false,
            Err(error) => {
                // None of the others would do better.
                measure.on_failed(1, &format!("a datagram was not taken: {error}"));
                self.at_once = 0;
                false
            }
        }
    }

    /// Results are there. Returns how many bytes arrived.
    pub(super) fn on_settled(
        &mut self,
        connection: &mut impl Datagrams,
        now: Instant,
        measure: &mut Measure,
    ) -> u64 {
        let mut arrived_bytes = 0;
        while let Some((id, result)) = connection.result() {
            let Some(intended) = self.under_way.remove(&id) else { continue };
            match result {
                DatagramResult::Acked => {
                    measure.on_datagram_acked(self.payload.len(), intended, now);
                    arrived_bytes += self.payload.len() as u64;
                }
                DatagramResult::Lost => measure.on_datagram_lost(now),
                other => measure.on_failed(1, &format!("a datagram did not leave: {other:?}")),
            }
        }
        self.fill(connection, now, measure);
        arrived_bytes
    }

    /// The connection is lost, and with it all that is under way. Returns how many.
    pub(super) fn on_connection_lost(&mut self) -> u64 {
        let lost = self.under_way.len() as u64;
        self.cut();
        lost
    }

    /// The run is over. In the open loop the latency of what is under way counts as far as it went.
    pub(super) fn on_over(&mut self, measure: &mut Measure) {
        if !self.closed_loop {
            self.under_way.values().for_each(|&intended| measure.on_unfinished(intended));
        }
        self.cut();
    }

    fn cut(&mut self) {
        self.at_once = 0;
        self.under_way.clear();
    }
}

impl Datagrams for ConnectionGuard<'_> {
    fn send(&mut self, bytes: Bytes) -> Result<DatagramId, SendDatagramError> {
        self.send_datagram(bytes, DatagramOptions { report: true, ..DatagramOptions::default() })
    }

    fn result(&mut self) -> Option<(DatagramId, DatagramResult)> {
        self.datagram_result()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use super::*;
    use crate::measure::{Datagrams as Counts, Window};

    /// A connection that takes as many as the test says.
    #[derive(Default)]
    struct Fake {
        room: u64,
        sent: u64,
        refusal: Option<SendDatagramError>,
        results: VecDeque<(DatagramId, DatagramResult)>,
    }

    impl Datagrams for Fake {
        fn send(&mut self, _: Bytes) -> Result<DatagramId, SendDatagramError> {
            match self.refusal {
                Some(error) => Err(error),
                None if self.sent == self.room => Err(SendDatagramError::Full),
                None => {
                    self.sent += 1;
                    Ok(DatagramId(self.sent))
                }
            }
        }

        fn result(&mut self) -> Option<(DatagramId, DatagramResult)> {
            self.results.pop_front()
        }
    }

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn measure() -> Measure {
        let mut measure = Measure::new();
        measure.open(Window::new(at(0), Duration::ZERO, Duration::from_secs(100)));
        measure
    }

    #[test]
    fn where_the_fate_of_one_is_known_the_next_leaves() {
        let (mut flow, mut connection, mut measure) =
            (Flow::new(100, 3, true), Fake { room: 100, ..Fake::default() }, measure());
        flow.fill(&mut connection, at(0), &mut measure);
        assert_eq!(connection.sent, 3);
        let fates = [(1, DatagramResult::Acked), (2, DatagramResult::Lost), (77, DatagramResult::Acked)];
        connection.results.extend(fates.map(|(id, result)| (DatagramId(id), result)));
        assert_eq!(flow.on_settled(&mut connection, at(5), &mut measure), 100);
        assert_eq!(connection.sent, 5);
        assert_eq!(*measure.datagrams(), Counts { sent: 5, acked: 1, acked_bytes: 100, lost: 1 });
        assert_eq!(measure.latency_us(100.0).unwrap() / 1000, 5);
    }

    #[test]
    fn a_full_connection_is_no_failure_and_takes_more_later() {
        let (mut flow, mut connection, mut measure) =
            (Flow::new(100, 9, true), Fake { room: 2, ..Fake::default() }, measure());
        flow.fill(&mut connection, at(0), &mut measure);
        assert_eq!((connection.sent, measure.failures().total()), (2, 0));
        connection.room = 4;
        flow.fill(&mut connection, at(1), &mut measure);
        assert_eq!(connection.sent, 4);
    }

    #[test]
    fn a_server_that_takes_none_is_one_failure_and_not_one_for_each() {
        let refusal = Some(SendDatagramError::Unsupported);
        let (mut flow, mut connection, mut measure) =
            (Flow::new(100, 9, true), Fake { refusal, ..Fake::default() }, measure());
        flow.fill(&mut connection, at(0), &mut measure);
        flow.fill(&mut connection, at(1), &mut measure);
        assert_eq!(measure.failures().total(), 1);
    }

    #[test]
    fn in_the_open_loop_they_leave_when_told_and_what_is_under_way_at_the_end_counts() {
        let (mut flow, mut connection, mut measure) =
            (Flow::new(100, 2, false), Fake { room: 100, ..Fake::default() }, measure());
        flow.fill(&mut connection, at(0), &mut measure);
        assert_eq!(connection.sent, 0);
        assert!(flow.begin(at(1), &mut connection, at(2), &mut measure));
        assert!(flow.begin(at(2), &mut connection, at(2), &mut measure));
        assert!(!flow.begin(at(3), &mut connection, at(3), &mut measure), "two are under way");
        flow.on_over(&mut measure);
        assert_eq!(measure.open_loop().unfinished(), 2);
        assert_eq!(flow.on_connection_lost(), 0);
    }
}
