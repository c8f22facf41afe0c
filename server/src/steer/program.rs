//! The rule of `steer` as a classic BPF program for a `SO_REUSEPORT` group.
//!
//! Made from the same constants as the rule. Needs no privilege and no map. The kernel runs it once per received
//! buffer with the UDP payload at offset 0; a load beyond the end makes the program return 0, which is the first
//! socket of the group: exactly what the rule says of datagrams that are too short.

use braid_quic::cid::{SHARD_OFFSET, WORKERS_MAX, mask_words};
use braid_udp_uring::BpfInstruction;

use super::{ID_HEAD_LEN, LONG_HEADER, LONG_ID_AT, LONG_ID_LEN_AT, SHORT_ID_AT, Steering};

/// The operation codes that the program uses (`linux/bpf_common.h`).
pub(super) mod op {
    pub(crate) const LOAD_BYTE: u16 = 0x30; // A = payload[k]
    pub(crate) const LOAD_WORD_AT_X: u16 = 0x40; // A = 4 octets at payload[X + k], big endian
    pub(crate) const LOAD_HALF_AT_X: u16 = 0x48; // A = 2 octets
    pub(crate) const LOAD_BYTE_AT_X: u16 = 0x50; // A = 1 octet
    pub(crate) const SET_X: u16 = 0x01; // X = k
    pub(crate) const RECALL_X: u16 = 0x61; // X = memory[k]
    pub(crate) const STORE: u16 = 0x02; // memory[k] = A
    pub(crate) const COPY_TO_X: u16 = 0x07; // X = A
    pub(crate) const ADD: u16 = 0x04; // A += k
    pub(crate) const MULTIPLY: u16 = 0x24; // A *= k
    pub(crate) const AND: u16 = 0x54; // A &= k
    pub(crate) const SHIFT_RIGHT: u16 = 0x74; // A >>= k
    pub(crate) const MODULO: u16 = 0x94; // A %= k
    pub(crate) const XOR: u16 = 0xa4; // A ^= k
    pub(crate) const XOR_X: u16 = 0xac; // A ^= X
    pub(crate) const JUMP: u16 = 0x05; // skip k instructions
    pub(crate) const JUMP_IF_GE: u16 = 0x35; // skip jt if A >= k, else jf
    pub(crate) const JUMP_IF_SET: u16 = 0x45; // skip jt if A & k, else jf
    pub(crate) const RETURN: u16 = 0x06; // return k
    pub(crate) const RETURN_A: u16 = 0x16; // return A
}

/// The two octets after the word that the mask is made of, in the program's memory.
const BEHIND: u32 = 0;
/// The masked shard octet, in the program's memory.
const SHARD: u32 = 1;

impl Steering {
    /// The program that makes the kernel deliver every datagram to [`Self::owner`], for a group whose sockets were
    /// bound in the order of the workers.
    #[must_use]
    pub fn program(&self) -> Vec<BpfInstruction> {
        let mut program = find_id();
        program.extend(unmask(&self.key));
        program.extend([
            on(op::AND, WORKERS_MAX as u32 - 1),
            on(op::MODULO, self.workers as u32),
            on(op::RETURN_A, 0),
        ]);
        program
    }
}

/// X = where the connection ID starts; or the end of the program, with 0, if it is too short.
fn find_id() -> Vec<BpfInstruction> {
    vec![
        on(op::LOAD_BYTE, 0),
        branch(op::JUMP_IF_SET, u32::from(LONG_HEADER), 0, 5),
        on(op::LOAD_BYTE, LONG_ID_LEN_AT as u32),
        branch(op::JUMP_IF_GE, ID_HEAD_LEN as u32, 1, 0),
        on(op::RETURN, 0),
        on(op::SET_X, LONG_ID_AT as u32),
        on(op::JUMP, 1),
        on(op::SET_X, SHORT_ID_AT as u32),
    ]
}

/// A = the shard octet of the connection ID at X; higher bits are noise. Follows `braid_quic::cid::shard_mask`.
fn unmask(key: &[u8; 16]) -> Vec<BpfInstruction> {
    let [k0, k1, k2, k3] = mask_words(key);
    let masked_at = SHARD_OFFSET as u32;
    let fold = |bits| [on(op::COPY_TO_X, 0), on(op::SHIFT_RIGHT, bits), on(op::XOR_X, 0)];
    let mut program = vec![
        on(op::LOAD_HALF_AT_X, masked_at + 5),
        on(op::STORE, BEHIND),
        on(op::LOAD_BYTE_AT_X, masked_at),
        on(op::STORE, SHARD),
        on(op::LOAD_WORD_AT_X, masked_at + 1),
        on(op::XOR, k0),
        on(op::MULTIPLY, k1 | 1),
    ];
    program.extend(fold(15));
    program.extend([on(op::RECALL_X, BEHIND), on(op::XOR_X, 0), on(op::MULTIPLY, k2 | 1)]);
    program.extend(fold(13));
    program.push(on(op::ADD, k3));
    program.extend(fold(16));
    program.extend([on(op::RECALL_X, SHARD), on(op::XOR_X, 0)]);
    program
}

/// An instruction that goes on to the next.
const fn on(code: u16, k: u32) -> BpfInstruction {
    BpfInstruction { code, jt: 0, jf: 0, k }
}

/// An instruction that skips `yes` or `no` others.
const fn branch(code: u16, k: u32, yes: u8, no: u8) -> BpfInstruction {
    BpfInstruction { code, jt: yes, jf: no, k }
}
