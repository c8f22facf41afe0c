//! The way out: connections that changed write their trains, one after the other.
//!
//! Owns the order and the budget. A connection that has more to send than its share goes to the back of the line; a full
//! outbox stops everything before a packet number is taken, and the line goes on from there.

use super::Endpoint;
use crate::base::address::Ecn;
use crate::base::time::Instant;
use crate::connection::Leg;
use crate::datagram::{Outbox, Train, TrainTag};
use crate::id::PathId;
use crate::turn::Turn;

/// How far `Endpoint::transmit` came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transmitted {
    /// Nothing is left to send before a timer fires or something arrives.
    Done,
    /// The outbox is full; call again when there is room.
    OutboxFull,
    /// Every connection had its share and some have more; call again without waiting.
    BudgetSpent,
}

/// Bits of a connection's generation that fit in a tag.
pub(super) const GENERATION_MASK: u32 = 0xfff;

/// Bits of a path's ID that fit in a tag.
const PATH_MASK: u32 = 0x7fff;

const _: () = assert!(GENERATION_MASK.count_ones() + Leg::BITS + 1 + PATH_MASK.count_ones() == u32::BITS);

/// What a tag says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tagged {
    pub(super) slot: u32,
    /// Its low bits.
    pub(super) generation: u32,
    pub(super) path: PathId,
    /// Which of the path's routes it takes.
    pub(super) leg: Leg,
    /// It is a probe for a larger datagram size.
    pub(super) mtu_probe: bool,
}

fn tag(it: Tagged) -> TrainTag {
    // Paths are told apart by 15 bits here, which only ever mixes up the fates of trains.
    let (generation, path) = (it.generation & GENERATION_MASK, it.path.0 & PATH_MASK);
    let low = generation << 20 | it.leg.bits() << 16 | u32::from(it.mtu_probe) << 15 | path;
    TrainTag(u64::from(it.slot) << 32 | u64::from(low))
}

pub(super) fn untag(tag: TrainTag) -> Option<Tagged> {
    if tag == ORPHAN {
        return None;
    }
    let low = tag.0 as u32;
    Some(Tagged {
        slot: (tag.0 >> 32) as u32,
        generation: low >> 20,
        leg: Leg::from_bits(low >> 16),
        path: PathId(low & PATH_MASK),
        mtu_probe: low & (PATH_MASK + 1) != 0,
    })
}

/// The tag of what belongs to no connection.
const ORPHAN: TrainTag = TrainTag(u64::MAX);

impl Endpoint {
    /// Lets every connection that changed send what it may.
    pub fn transmit(&mut self, outbox: &mut impl Outbox, now: Instant) -> Transmitted {
        self.begin_turn(now);
        if !self.send_replies(outbox) {
            return Transmitted::OutboxFull;
        }
        let mut more = 0;
        for _ in 0..self.dirty.len() {
            let Some(&slot) = self.dirty.front() else { break };
            match self.transmit_one(slot, outbox, now) {
                One::Done(deadline) => {
                    self.dirty.pop_front();
                    if let Some(entry) = self.entries.get_mut(slot as usize) {
                        entry.dirty = false;
                    }
                    self.settle(slot, deadline);
                }
                One::ShareSpent(deadline) => {
                    self.dirty.rotate_left(1);
                    self.settle(slot, deadline);
                    more += 1;
                }
                One::OutboxFull(deadline) => {
                    self.dirty.rotate_left(1);
                    self.settle(slot, deadline);
                    return Transmitted::OutboxFull;
                }
            }
        }
        if more > 0 { Transmitted::BudgetSpent } else { Transmitted::Done }
    }

    fn transmit_one(&mut self, slot: u32, outbox: &mut impl Outbox, now: Instant) -> One {
        let Some(entry) = self.entries.get_mut(slot as usize) else { return One::Done(None) };
        entry.connection.set_log_time(now);
        let mut left = self.config.budget.packets_per_connection;
        let mut served = 0;
        loop {
            if left == 0 {
                return One::ShareSpent(entry.connection.deadline());
            }
            let Some(buffer) = outbox.buffer() else { return One::OutboxFull(entry.connection.deadline()) };
            let mut turn = Turn { now, slot, cids: &mut self.cids, rng: &mut self.rng };
            let Some(sent) = entry.connection.transmit(&mut turn, buffer, left) else {
                // What arrived may have moved a deadline into the past: serve it now, not in a turn of its own.
                let deadline = entry.connection.deadline();
                if served == SERVED_AGAIN_MAX || deadline.is_none_or(|at| at > now) {
                    return One::Done(deadline);
                }
                served += 1;
                entry.connection.on_deadline(&mut turn);
                continue;
            };
            left -= sent.packets.min(left);
            outbox.send(Train {
                bytes: sent.bytes,
                segment_size: sent.segment_size,
                local_id: sent.local_id,
                source: sent.source,
                remote: sent.remote,
                ecn: sent.ecn,
                tag: tag(Tagged {
                    slot,
                    generation: entry.generation,
                    path: sent.path,
                    leg: sent.leg,
                    mtu_probe: sent.mtu_probe,
                }),
            });
        }
    }

    /// Sends what strangers are to be told. `false` if the outbox is full.
    fn send_replies(&mut self, outbox: &mut impl Outbox) -> bool {
        while let Some(reply) = self.replies.front() {
            let Some(buffer) = outbox.buffer() else { return false };
            let bytes = reply.bytes.len();
            buffer[..bytes].copy_from_slice(&reply.bytes);
            outbox.send(Train {
                bytes,
                segment_size: bytes,
                local_id: reply.route.local_id(),
                source: reply.route.source(),
                remote: reply.route.remote(),
                ecn: Ecn::NotEct,
                tag: ORPHAN,
            });
            self.replies.pop();
        }
        true
    }
}

/// How far one connection came, and when it must be visited again.
enum One {
    Done(Option<Instant>),
    ShareSpent(Option<Instant>),
    OutboxFull(Option<Instant>),
}

/// How often one visit serves deadlines that became due meanwhile.
const SERVED_AGAIN_MAX: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_lead_back() {
        for (mtu_probe, leg) in [(false, Leg::NONE), (true, Leg::from_bits(9))] {
            let there = Tagged { slot: 7, generation: 0x0123_4567, path: PathId(3), leg, mtu_probe };
            assert_eq!(untag(tag(there)), Some(Tagged { generation: 0x567, ..there }));
        }
        assert_eq!(untag(ORPHAN), None);
    }
}
