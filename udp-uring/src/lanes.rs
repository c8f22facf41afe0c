//! The order of trains: one lane per socket.
//!
//! Owns which train is where: queued, with the kernel, to be tried again. A lane hands out its pieces in order, and
//! nothing more until the kernel answered for all of them; what the kernel did not take goes first the next time. So
//! trains of one socket never overtake each other. Pure state: no memory of trains, no system call.

use std::collections::VecDeque;

use crate::Fate;

/// A part of a train that goes to the kernel as one message: a GSO train, or one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Which send buffer.
    pub(crate) slot: u16,
    /// Which of its messages.
    pub(crate) index: u16,
}

/// What the kernel said to a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was taken.
    Sent,
    /// The socket's send buffer is full.
    Full,
    /// Not tried, because a piece before it failed.
    Cancelled,
    /// No segmentation towards this destination: cut it up.
    Refused,
    /// Gone for good, and the rest of its train with it.
    Failed(Fate),
}

/// How the pieces taken from a lane are to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// All of them, one after the other, none may wait; the first that fails stops those after it.
    Eager,
    /// This one alone, and it may wait until the socket has room.
    Patient,
}

/// A train that is over, one way or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) slot: u16,
    /// Why it failed, if it did.
    pub(crate) failure: Option<Fate>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Train {
    lane: u16,
    pieces: u16,
    /// The first piece not handed out.
    next: u16,
    sent: u16,
    with_kernel: u16,
    failure: Option<Fate>,
}

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<u16>,
    with_kernel: u16,
    /// The socket was full: one piece at a time until it has room.
    patient: bool,
    /// The number of this lane is in `Lanes::ready`.
    listed: bool,
    refused: Option<Piece>,
}

/// All lanes of one engine. The number of trains is that of the send buffers, and so bounded.
#[derive(Debug)]
pub(crate) struct Lanes {
    all: Vec<Lane>,
    trains: Vec<Train>,
    /// Lanes with trains to hand out, in turn.
    ready: VecDeque<u16>,
    eager_with_kernel: usize,
}

impl Lanes {
    /// Lanes for as many trains as there are `slots`.
    pub(crate) fn new(slots: u16) -> Self {
        let trains = vec![Train::default(); usize::from(slots)];
        Self { all: Vec::new(), trains, ready: VecDeque::new(), eager_with_kernel: 0 }
    }

    /// Opens the next lane: the socket with the next number.
    pub(crate) fn open(&mut self) {
        self.all.push(Lane::default());
    }

    /// Queues a train of so many pieces behind the others of its lane.
    pub(crate) fn push(&mut self, lane: u16, slot: u16, pieces: u16) {
        debug_assert!(pieces > 0);
        self.trains[usize::from(slot)] = Train { lane, pieces, ..Train::default() };
        self.all[usize::from(lane)].queue.push_back(slot);
        self.list(lane);
    }

    /// Takes the next lane that has something to hand out.
    pub(crate) fn next_ready(&mut self) -> Option<u16> {
        let lane = self.ready.pop_front()?;
        self.all[usize::from(lane)].listed = false;
        Some(lane)
    }

    /// Is there a lane that [`next_ready`](Self::next_ready) would name?
    pub(crate) fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Makes a lane ready, if it has something and waits for no answer.
    pub(crate) fn list(&mut self, number: u16) {
        let lane = &mut self.all[usize::from(number)];
        if !lane.listed && lane.with_kernel == 0 && !lane.queue.is_empty() {
            lane.listed = true;
            self.ready.push_back(number);
        }
    }

    /// Takes a lane from those that are ready, until it is [listed](Self::list) again.
    pub(crate) fn park(&mut self, number: u16) {
        self.all[usize::from(number)].listed = false;
        self.ready.retain(|ready| *ready != number);
    }

    /// Does this lane wait for room in its socket?
    pub(crate) fn is_patient(&self, lane: u16) -> bool {
        self.all[usize::from(lane)].patient
    }

    /// The piece of this lane that needs cutting up before the lane goes on. Nothing of it is with the kernel.
    pub(crate) fn take_refused(&mut self, lane: u16) -> Option<Piece> {
        let lane = &mut self.all[usize::from(lane)];
        debug_assert_eq!(lane.with_kernel, 0);
        lane.refused.take()
    }

    /// What is left of the train in `slot` now has so many pieces.
    pub(crate) fn on_cut_up(&mut self, slot: u16, pieces: u16) {
        let train = &mut self.trains[usize::from(slot)];
        debug_assert_eq!(train.with_kernel, 0);
        *train = Train { lane: train.lane, pieces, ..Train::default() };
    }

    /// Hands out pieces of a lane, at most `limit`, in order.
    pub(crate) fn take(&mut self, number: u16, limit: usize, into: &mut Vec<Piece>) -> Mood {
        let lane = &mut self.all[usize::from(number)];
        debug_assert!(lane.with_kernel == 0 && lane.refused.is_none() && limit > 0);
        let (mood, limit) = if lane.patient { (Mood::Patient, 1) } else { (Mood::Eager, limit) };
        let before = into.len();
        'lane: for slot in &lane.queue {
            let train = &mut self.trains[usize::from(*slot)];
            while train.next < train.pieces {
                if into.len() - before == limit {
                    break 'lane;
                }
                into.push(Piece { slot: *slot, index: train.next });
                train.next += 1;
                train.with_kernel += 1;
                lane.with_kernel += 1;
            }
        }
        if mood == Mood::Eager {
            self.eager_with_kernel += into.len() - before;
        }
        mood
    }

    /// Pieces the kernel has and answers for without waiting.
    pub(crate) fn eager_with_kernel(&self) -> usize {
        self.eager_with_kernel
    }

    /// The kernel's answer for one piece. Returns the train it belonged to, if that is over now.
    pub(crate) fn on_outcome(&mut self, piece: Piece, mood: Mood, outcome: Outcome) -> Option<Finished> {
        let train = &mut self.trains[usize::from(piece.slot)];
        let number = train.lane;
        let lane = &mut self.all[usize::from(number)];
        train.with_kernel -= 1;
        lane.with_kernel -= 1;
        if mood == Mood::Eager {
            self.eager_with_kernel -= 1;
        }
        match outcome {
            Outcome::Sent => {
                train.sent += 1;
                lane.patient = false;
            }
            Outcome::Full => lane.patient = true,
            Outcome::Cancelled => {}
            Outcome::Refused => lane.refused = Some(piece),
            Outcome::Failed(fate) => train.failure = train.failure.or(Some(fate)),
        }
        if matches!(outcome, Outcome::Full | Outcome::Cancelled | Outcome::Refused) {
            train.next = train.next.min(piece.index);
        }
        let over = train.with_kernel == 0 && (train.failure.is_some() || train.sent == train.pieces);
        let finished = over.then_some(Finished { slot: piece.slot, failure: train.failure });
        if over {
            debug_assert_eq!(lane.queue.front(), Some(&piece.slot), "trains finish in order");
            lane.queue.retain(|slot| *slot != piece.slot);
        }
        self.list(number);
        finished
    }
}

#[cfg(test)]
mod tests;
