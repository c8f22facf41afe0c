//! Datagrams of one end: what it sent, what it was told of them, what it received.
//!
//! Owns their content (a number, then octets that follow from it) and the rules that hold whatever the network does: no
//! result twice, none arrives twice or changed. What two ends say together is `DatagramReport`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use braid_quic::{ConnectionGuard, DatagramId, DatagramOptions, DatagramResult, Event, PathId};
use bytes::Bytes;

/// The number at the front of each datagram.
const NUMBER_BYTES: usize = 8;

/// Several datagrams that are sent at once.
#[derive(Clone, Copy, Debug)]
pub struct Volley {
    /// How many.
    pub count: u32,
    /// Size of each, at least 8.
    pub bytes: usize,
    /// How long each may wait.
    pub lifetime: Option<Duration>,
}

impl Volley {
    /// Datagrams that may wait for ever.
    pub const fn of(count: u32, bytes: usize) -> Self {
        Self { count, bytes, lifetime: None }
    }
}

/// What came of the datagrams of one end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatagramReport {
    /// Taken by the endpoint.
    pub sent: usize,
    /// Refused by it.
    pub refused: usize,
    /// Read by the application of the other end.
    pub arrived: usize,
    /// Of these, called lost.
    pub arrived_though_lost: usize,
    /// Results by kind.
    pub acked: usize,
    /// Declared lost.
    pub lost: usize,
    /// Never sent, for whatever reason.
    pub unsent: usize,
    /// Without a result so far.
    pub unsettled: usize,
    /// What cannot be: datagrams that nobody sent, or that are acknowledged or called unsent against what arrived.
    pub impossible: usize,
}

/// The record of one end.
#[derive(Debug, Default)]
pub(crate) struct DatagramLog {
    /// Numbers of what was sent, by the endpoint's names.
    sent: BTreeMap<DatagramId, u64>,
    refused: usize,
    results: BTreeMap<DatagramId, DatagramResult>,
    arrived: BTreeSet<u64>,
}

impl DatagramLog {
    /// Sends a volley.
    pub(crate) fn send(
        &mut self,
        connection: &mut ConnectionGuard<'_>,
        volley: Volley,
        on_path: Option<PathId>,
    ) {
        let options = DatagramOptions { on_path, lifetime: volley.lifetime, report: true };
        for _ in 0..volley.count {
            let number = (self.sent.len() + self.refused) as u64;
            match connection.send_datagram(content(number, volley.bytes), options) {
                Ok(id) => {
                    self.sent.insert(id, number);
                }
                Err(_) => self.refused += 1,
            }
        }
    }

    /// Takes what an event announces.
    pub(crate) fn on_event(
        &mut self,
        connection: &mut ConnectionGuard<'_>,
        event: &Event,
    ) -> Result<(), String> {
        match event {
            Event::DatagramReceived => {
                while let Some(bytes) = connection.recv_datagram() {
                    self.on_arrived(&bytes)?;
                }
            }
            Event::DatagramsSettled => {
                while let Some((id, result)) = connection.datagram_result() {
                    if let Some(earlier) = self.results.insert(id, result) {
                        return Err(format!("{id:?} is {result:?} and was {earlier:?} before"));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn on_arrived(&mut self, bytes: &Bytes) -> Result<(), String> {
        let number = bytes.first_chunk::<NUMBER_BYTES>().map(|number| u64::from_be_bytes(*number));
        let number = number.ok_or("a datagram is cut")?;
        if *bytes != content(number, bytes.len()) {
            return Err(format!("datagram {number} is not what was sent"));
        }
        if !self.arrived.insert(number) {
            return Err(format!("datagram {number} arrived twice"));
        }
        Ok(())
    }

    /// What came of ours, `other` being the record of the other end.
    pub(crate) fn report(&self, other: &Self) -> DatagramReport {
        let ours: BTreeSet<u64> = self.sent.values().copied().collect();
        let mut report = DatagramReport {
            sent: self.sent.len(),
            refused: self.refused,
            arrived: other.arrived.len(),
            unsettled: self.sent.len() - self.results.len(),
            impossible: other.arrived.difference(&ours).count(),
            ..DatagramReport::default()
        };
        for (id, result) in &self.results {
            let arrived = self.sent.get(id).is_some_and(|number| other.arrived.contains(number));
            match result {
                DatagramResult::Acked => {
                    report.acked += 1;
                    report.impossible += usize::from(!arrived);
                }
                DatagramResult::Lost => {
                    report.lost += 1;
                    report.arrived_though_lost += usize::from(arrived);
                }
                _ => {
                    report.unsent += 1;
                    report.impossible += usize::from(arrived);
                }
            }
        }
        report
    }
}

/// The number, then octets that follow from it.
fn content(number: u64, len: usize) -> Bytes {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.resize(len.max(NUMBER_BYTES), (number % 251) as u8);
    Bytes::from(bytes)
}
