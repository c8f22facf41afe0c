//! The rule by hand, and the rule against its program under an interpreter of classic BPF.

use braid_quic::Shard;
use braid_quic::cid::{CID_LEN, shard_mask};
use braid_udp_uring::BpfInstruction;

use super::program::op;
use super::{Basis, Owner, Steering};

const KEY: [u8; 16] = *b"not for the wild";

/// What a kernel answers that runs `program` on a buffer that starts with `payload`.
fn interpret(program: &[BpfInstruction], payload: &[u8]) -> u32 {
    let (mut a, mut x, mut memory, mut next) = (0_u32, 0_u32, [None::<u32>; 16], 0_usize);
    let load = |at: u32, octets: usize| -> Option<u32> {
        let at = at as usize;
        Some(payload.get(at..at + octets)?.iter().fold(0, |word, &octet| word << 8 | u32::from(octet)))
    };
    loop {
        let BpfInstruction { code, jt, jf, k } = program[next];
        next += 1;
        let loaded = match code {
            op::LOAD_BYTE => load(k, 1),
            op::LOAD_BYTE_AT_X => load(x.wrapping_add(k), 1),
            op::LOAD_HALF_AT_X => load(x.wrapping_add(k), 2),
            op::LOAD_WORD_AT_X => load(x.wrapping_add(k), 4),
            op::ADD => Some(a.wrapping_add(k)),
            op::MULTIPLY => Some(a.wrapping_mul(k)),
            op::AND => Some(a & k),
            op::SHIFT_RIGHT => Some(a >> k),
            op::MODULO => Some(a % k),
            op::XOR => Some(a ^ k),
            op::XOR_X => Some(a ^ x),
            _ => Some(a),
        };
        let Some(loaded) = loaded else { return 0 };
        a = loaded;
        match code {
            op::SET_X => x = k,
            op::RECALL_X => x = memory[k as usize].expect("the kernel refuses to read what was not stored"),
            op::COPY_TO_X => x = a,
            op::STORE => memory[k as usize] = Some(a),
            op::JUMP => next += k as usize,
            op::JUMP_IF_GE => next += usize::from(if a >= k { jt } else { jf }),
            op::JUMP_IF_SET => next += usize::from(if a & k != 0 { jt } else { jf }),
            op::RETURN => return k,
            op::RETURN_A => return a,
            _ => {}
        }
    }
}

/// A small generator of random numbers (`SplitMix64`), so that a failure repeats itself.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> usize {
        (self.roll() % bound) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.roll() as u8).collect()
    }

    /// A long header with an ID of `id_len` octets, or as much of it as `len` octets hold.
    fn long(&mut self, version: u32, id_len: u8, len: usize) -> Vec<u8> {
        let mut datagram = vec![0x80 | self.roll() as u8];
        datagram.extend(version.to_be_bytes());
        datagram.push(id_len);
        let rest = self.bytes(len.saturating_sub(datagram.len()));
        datagram.extend(rest);
        datagram.truncate(len);
        datagram
    }

    /// Anything that may arrive: both headers, runts, every ID length, known and unknown versions.
    fn datagram(&mut self) -> Vec<u8> {
        let len = if self.below(3) == 0 { self.below(21) } else { 21 + self.below(60) };
        let version = [1, 0, 0x6b33_43cf, self.roll() as u32][self.below(4)];
        match self.below(4) {
            0 => self.bytes(len),
            1 => {
                let id_len = self.roll() as u8;
                self.long(version, id_len, len)
            }
            2 => {
                let id_len = self.below(21) as u8;
                self.long(version, id_len, len)
            }
            _ => {
                let mut short = self.bytes(len);
                if let Some(first) = short.first_mut() {
                    *first = *first & 0x3f | 0x40;
                }
                short
            }
        }
    }
}

#[test]
fn the_program_and_the_rule_agree_on_a_million_datagrams() {
    let mut dice = Dice(1);
    let groups: Vec<_> = [1, 2, 3, 7, 16, 63, 64]
        .map(|workers| {
            let key: [u8; 16] = dice.bytes(16).try_into().unwrap();
            let steering = Steering::new(key, workers);
            (steering, steering.program())
        })
        .into();
    let mut named = 0;
    for round in 0..1_000_000 {
        let datagram = dice.datagram();
        let (steering, program) = &groups[round % groups.len()];
        let owner = steering.owner(&datagram);
        assert_eq!(interpret(program, &datagram), owner.worker as u32, "{datagram:02x?}");
        named += u32::from(owner.basis == Basis::ConnectionId);
    }
    assert!((300_000..900_000).contains(&named), "the dice must throw both kinds: {named}");
}

#[test]
fn our_own_ids_lead_to_the_worker_that_issued_them() {
    let mut dice = Dice(2);
    for workers in [1_u8, 2, 5, 64] {
        let steering = Steering::new(KEY, usize::from(workers));
        for worker in 0..workers {
            let mut id = dice.bytes(CID_LEN);
            let shard = Shard { generation: worker & 3, worker };
            id[1] = shard.octet() ^ shard_mask(&KEY, id[2..8].try_into().unwrap());
            let wanted = Owner { worker: usize::from(worker), basis: Basis::ConnectionId };
            let short = [&[0x40][..], &id, &[0; 20]].concat();
            assert_eq!(steering.owner(&short), wanted);
            let long = [&[0xe0, 0, 0, 0, 1, CID_LEN as u8][..], &id, &[0; 20]].concat();
            assert_eq!(steering.owner(&long), wanted);
        }
    }
}

#[test]
fn a_clients_first_packet_and_its_repeat_and_its_other_versions_have_one_owner() {
    let steering = Steering::new(KEY, 2);
    let mut dice = Dice(3);
    let mut seen = [0; 2];
    for _ in 0..1000 {
        let id = dice.bytes(8);
        let initial = [&[0xc3, 0, 0, 0, 1, 8][..], &id, &[0; 1180]].concat();
        let repeat = [&[0xc1, 0, 0, 0, 1, 8][..], &id, &[7; 1180]].concat();
        let newer = [&[0xd0, 0x6b, 0x33, 0x43, 0xcf, 8][..], &id, &[1; 1180]].concat();
        let owner = steering.owner(&initial);
        assert_eq!(owner, steering.owner(&repeat));
        assert_eq!(owner, steering.owner(&newer));
        seen[owner.worker] += 1;
    }
    assert!(seen.iter().all(|&count| count > 400), "{seen:?}");
}

#[test]
fn what_is_too_short_belongs_to_the_first_worker() {
    let steering = Steering::new(KEY, 64);
    let first = Owner { worker: 0, basis: Basis::Default };
    let mut dice = Dice(4);
    for len in 0..9 {
        let mut short = dice.bytes(len);
        short.iter_mut().take(1).for_each(|octet| *octet &= 0x7f);
        assert_eq!(steering.owner(&short), first, "{len} octets with a short header");
    }
    for len in 0..14 {
        assert_eq!(steering.owner(&dice.long(1, 8, len)), first, "{len} octets with a long header");
    }
    for id_len in 0..8 {
        assert_eq!(steering.owner(&dice.long(1, id_len, 1200)), first, "an ID of {id_len} octets");
    }
    assert_eq!(steering.owner(&dice.long(1, 8, 14)).basis, Basis::ConnectionId);
    assert_eq!(steering.owner(&dice.bytes(0)), first);
}

#[test]
fn the_kernel_takes_programs_of_this_size() {
    let program = Steering::new(KEY, 64).program();
    assert!(program.len() <= 64, "{} instructions", program.len());
    assert_eq!(program.last().map(|last| last.code), Some(op::RETURN_A));
}

#[test]
#[should_panic(expected = "1 to 64 workers")]
fn more_workers_than_an_id_can_name_are_refused() {
    let _ = Steering::new(KEY, 65);
}
