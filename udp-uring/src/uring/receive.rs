//! Multishot receives: one per socket, armed for ever.
//!
//! Owns which sockets are armed, and arms those again that the kernel stopped: for want of buffers, at an error, or
//! because it felt like it. Never reads a buffer (`inbound`).

use std::io;

use io_uring::squeue::SubmissionQueue;
use io_uring::{cqueue, opcode, types};

use crate::SocketIndex;
use crate::inbound::Inbound;
use crate::uring::ring_buffers::{GROUP, RingBuffers};
use crate::uring::token::Token;

/// A socket whose receive fails so often in a row, without one datagram in between, is broken.
const FAILURES_MAX: u8 = 64;

/// The receives of one ring.
#[derive(Debug, Default)]
pub(super) struct Receives {
    /// Sockets to arm.
    idle: Vec<SocketIndex>,
    /// Failures in a row, per socket.
    failures: Vec<u8>,
    broken: Option<i32>,
}

impl Receives {
    pub(super) fn add_socket(&mut self) {
        self.idle.push(SocketIndex(self.failures.len() as u16));
        self.failures.push(0);
    }

    /// Queues receives for the sockets that have none, and returns how many.
    pub(super) fn arm(
        &mut self,
        queue: &mut SubmissionQueue<'_>,
        buffers: &RingBuffers,
        inbound: &Inbound,
    ) -> usize {
        // A receive armed with no buffer at hand would end at once, again and again.
        let worthwhile = inbound.spare() > usize::from(inbound.count()) / 4;
        if self.idle.is_empty() || !worthwhile {
            return 0;
        }
        let mut armed = 0;
        while let Some(socket) = self.idle.last().copied() {
            let receive =
                opcode::RecvMsgMulti::new(types::Fixed(u32::from(socket.0)), buffers.template(), GROUP)
                    .build()
                    .user_data(Token::Receive(socket).encode());
            // SAFETY: the template lives as long as the ring's operations (`RingBuffers`); where the kernel writes is
            // what the buffer ring gives it.
            if unsafe { queue.push(&receive) }.is_err() {
                break; // the next turn has room
            }
            self.idle.pop();
            armed += 1;
        }
        armed
    }

    /// A completion of a socket's receive. Returns whether this was its last.
    pub(super) fn on_completion(
        &mut self,
        socket: SocketIndex,
        completion: &cqueue::Entry,
        buffers: &mut RingBuffers,
        inbound: &mut Inbound,
    ) -> bool {
        let result = completion.result();
        let buffer = cqueue::buffer_select(completion.flags());
        let failures = &mut self.failures[usize::from(socket.0)];
        match (result, buffer) {
            (0.., Some(buffer)) => {
                inbound.on_filled(buffer, socket);
                *failures = 0;
            }
            (errno, buffer) => {
                if let Some(buffer) = buffer {
                    buffers.give(buffer, inbound.buffer(buffer));
                }
                if -errno == libc::ENOBUFS {
                    inbound.on_no_buffers();
                } else {
                    inbound.on_error();
                    *failures += 1;
                    if *failures == FAILURES_MAX {
                        self.broken = Some(-errno);
                        *failures = 0;
                    }
                }
            }
        }
        let last = !cqueue::more(completion.flags());
        if last {
            self.idle.push(socket);
        }
        last
    }

    /// The error of a socket that only fails.
    pub(super) fn take_broken(&mut self) -> io::Result<()> {
        self.broken.take().map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }
}
