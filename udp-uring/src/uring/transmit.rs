//! Trains as submission entries.
//!
//! Owns how pieces of a lane go to the kernel so that none overtakes another, and learns what became of them. Never
//! decides which pieces (`outbound`).
//!
//! A lone piece runs within the enter and tells only if it fails. Several make a chain, in which the first failure
//! cancels what follows; behind them stands a signal that completes only if the chain broke, so a turn that wanted to
//! sleep returns and deals with it. A piece that may wait for room in its socket goes alone.

use io_uring::squeue::{Flags, SubmissionQueue};
use io_uring::{opcode, types};

use crate::SocketIndex;
use crate::lanes::{Mood, Piece};
use crate::outbound::Outbound;
use crate::uring::token::Token;

/// The sends of one ring.
#[derive(Debug, Default)]
pub(super) struct Sends {
    /// Scratch space for the pieces of one lane.
    pieces: Vec<Piece>,
    /// Lone pieces in the queue or just submitted: sent, unless a completion says otherwise.
    silent: Vec<Piece>,
}

impl Sends {
    /// Queues what may leave now, and returns how many completions will certainly come of it, soon or late.
    pub(super) fn push(&mut self, queue: &mut SubmissionQueue<'_>, outbound: &mut Outbound) -> usize {
        let mut expected = 0;
        loop {
            // One entry of a chain is its signal.
            let room = (queue.capacity() - queue.len()).saturating_sub(1);
            self.pieces.clear();
            let Some((socket, mood)) = outbound.take_pieces(room, &mut self.pieces) else { return expected };
            expected += match (mood, self.pieces.len()) {
                (Mood::Patient, _) => self.push_patient(queue, outbound, socket),
                (Mood::Eager, 1) => self.push_lone(queue, outbound, socket),
                (Mood::Eager, _) => self.push_chain(queue, outbound, socket),
            };
        }
    }

    /// A completion of a send.
    pub(super) fn on_completion(
        &mut self,
        piece: Piece,
        mood: Mood,
        result: i32,
        outbound: &mut Outbound,
    ) -> bool {
        let silent = self.silent.iter().position(|lone| *lone == piece).map(|at| self.silent.swap_remove(at));
        outbound.on_answer(piece, mood, if result < 0 { Err(-result) } else { Ok(()) });
        silent.is_none()
    }

    /// All submitted entries were taken by the kernel and all completions were seen.
    pub(super) fn on_all_taken(&mut self, outbound: &mut Outbound) {
        for piece in self.silent.drain(..) {
            outbound.on_answer(piece, Mood::Eager, Ok(()));
        }
    }

    /// Lone pieces whose fate is not known yet.
    pub(super) fn silent(&self) -> usize {
        self.silent.len()
    }

    fn push_patient(
        &mut self,
        queue: &mut SubmissionQueue<'_>,
        outbound: &Outbound,
        socket: SocketIndex,
    ) -> usize {
        push(queue, outbound, socket, self.pieces[0], Mood::Patient, Flags::empty());
        1
    }

    fn push_lone(
        &mut self,
        queue: &mut SubmissionQueue<'_>,
        outbound: &Outbound,
        socket: SocketIndex,
    ) -> usize {
        push(queue, outbound, socket, self.pieces[0], Mood::Eager, Flags::SKIP_SUCCESS);
        self.silent.push(self.pieces[0]);
        0
    }

    fn push_chain(
        &mut self,
        queue: &mut SubmissionQueue<'_>,
        outbound: &Outbound,
        socket: SocketIndex,
    ) -> usize {
        for piece in &self.pieces {
            push(queue, outbound, socket, *piece, Mood::Eager, Flags::IO_LINK);
        }
        let signal = opcode::Nop::new().build().flags(Flags::SKIP_SUCCESS).user_data(Token::Signal.encode());
        // SAFETY: this entry points to nothing.
        let pushed = unsafe { queue.push(&signal) };
        debug_assert!(pushed.is_ok(), "room was left for it");
        self.pieces.len()
    }
}

fn push(
    queue: &mut SubmissionQueue<'_>,
    outbound: &Outbound,
    socket: SocketIndex,
    piece: Piece,
    mood: Mood,
    flags: Flags,
) {
    let message = outbound.message(piece).cast_const();
    let send = opcode::SendMsg::new(types::Fixed(u32::from(socket.0)), message)
        .flags(if mood == Mood::Eager { libc::MSG_DONTWAIT as u32 } else { 0 })
        .build()
        .flags(flags)
        .user_data(Token::Send(piece, mood).encode());
    // SAFETY: the header and all it points to belong to the piece's slot. `Lanes` counts the piece as the kernel's
    // until its answer is reported, so the slot is neither written nor lent till then, and `Uring` frees the memory
    // only when no answer is outstanding. A lone piece is answered without a completion: with MSG_DONTWAIT and no link
    // the kernel runs it within the enter that takes it, and never later.
    let pushed = unsafe { queue.push(&send) };
    debug_assert!(pushed.is_ok(), "no more pieces are taken than there is room");
}
