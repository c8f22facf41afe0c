//! Tests of the assembler: order, counting, memory, and a model.

use super::*;
use proptest::prelude::*;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// What a stream's byte at `offset` is in these tests.
fn byte(offset: u64) -> u8 {
    (offset ^ (offset >> 8) ^ (offset >> 16)) as u8
}

fn bytes(range: Range<u64>) -> Vec<u8> {
    range.map(byte).collect()
}

struct Stream {
    assembler: Assembler,
    blocks: Blocks,
}

impl Stream {
    fn new() -> Self {
        Self { assembler: Assembler::new(), blocks: Blocks::new() }
    }

    fn insert(&mut self, range: Range<u64>) -> u64 {
        self.assembler.insert(range.start, &bytes(range.clone()), &mut self.blocks)
    }

    fn consume(&mut self, count: u64) {
        self.assembler.consume(count, &mut self.blocks);
    }

    /// Reads what there is, slice by slice, and checks it.
    fn read_all(&mut self) -> u64 {
        let start = self.assembler.read;
        while self.assembler.readable() > 0 {
            let (first, second) = self.assembler.slices();
            let read = [first, second].concat();
            assert!(!first.is_empty());
            assert_eq!(read, bytes(self.assembler.read..self.assembler.read + read.len() as u64));
            self.consume(read.len() as u64);
        }
        self.assembler.read - start
    }
}

#[test]
fn the_peak_of_early_bytes_counts_what_all_streams_hold_at_once() {
    let mut one = Stream::new();
    one.insert(100..150);
    one.insert(100..120);
    assert_eq!(one.blocks.early_peak(), 50, "repeats wait once");
    let mut other = Assembler::new();
    other.insert(1_000, &bytes(1_000..1_030), &mut one.blocks);
    assert_eq!(one.blocks.early_peak(), 80);
    one.insert(0..100);
    one.read_all();
    other.insert(2_000, &bytes(2_000..2_040), &mut one.blocks);
    assert_eq!(one.blocks.early_peak(), 80, "30 + 40 wait now");
    other.clear(&mut one.blocks);
    one.insert(200..281);
    assert_eq!(one.blocks.early_peak(), 81, "what was given up waits no more");
}

#[test]
fn bytes_in_order_are_readable_at_once() {
    let mut stream = Stream::new();
    assert_eq!(stream.insert(0..1000), 1000);
    assert_eq!(stream.insert(1000..1500), 500);
    assert_eq!(stream.read_all(), 1500);
    assert_eq!(stream.assembler.slices(), (&[][..], &[][..]));
}

#[test]
fn a_gap_holds_back_what_is_behind_it_until_it_closes() {
    let mut stream = Stream::new();
    assert_eq!(stream.insert(100..200), 100);
    assert_eq!(stream.insert(300..400), 100);
    assert_eq!(stream.assembler.readable(), 0);
    assert_eq!(stream.insert(0..100), 100);
    assert_eq!(stream.assembler.readable(), 200);
    assert_eq!(stream.insert(150..350), 100);
    assert_eq!(stream.read_all(), 400);
}

#[test]
fn repeats_count_nothing_wherever_they_lie() {
    let mut stream = Stream::new();
    stream.insert(0..100);
    stream.insert(200..300);
    assert_eq!((stream.insert(0..100), stream.insert(20..30), stream.insert(200..300)), (0, 0, 0));
    assert_eq!(stream.insert(50..250), 100);
    assert_eq!(stream.read_all(), 300);
    assert_eq!((stream.insert(0..300), stream.insert(299..301)), (0, 1));
}

#[test]
fn an_empty_frame_changes_nothing_even_far_ahead() {
    let mut stream = Stream::new();
    assert_eq!((stream.insert(0..0), stream.insert(1 << 40..1 << 40)), (0, 0));
    assert_eq!(stream.assembler.blocks.len(), 0);
}

#[test]
fn slices_end_at_blocks_and_any_length_can_be_consumed() {
    let mut stream = Stream::new();
    stream.insert(0..3 * BLOCK);
    let (first, second) = stream.assembler.slices();
    assert_eq!((first.len(), second.len()), (BLOCK_BYTES, BLOCK_BYTES));
    stream.consume(BLOCK - 1);
    let (first, second) = stream.assembler.slices();
    assert_eq!((first.len(), second.len()), (1, BLOCK_BYTES));
    stream.consume(2 * BLOCK);
    assert_eq!(stream.read_all(), 1);
}

#[test]
fn a_gap_that_closes_across_blocks_is_followed_to_its_end() {
    let mut stream = Stream::new();
    assert_eq!(stream.insert(1..5 * BLOCK + 7), 5 * BLOCK + 6);
    assert_eq!(stream.insert(0..1), 1);
    assert_eq!(stream.read_all(), 5 * BLOCK + 7);
}

#[test]
fn a_run_that_ends_on_a_block_border_does_not_count_the_next_block() {
    let mut stream = Stream::new();
    stream.insert(1..BLOCK);
    stream.insert(BLOCK + 1..BLOCK + 2);
    stream.insert(0..1);
    assert_eq!(stream.assembler.next(), BLOCK);
    assert_eq!(stream.assembler.beyond, 1);
}

#[test]
fn a_reader_that_keeps_up_uses_one_block_over_and_over() {
    let mut stream = Stream::new();
    for turn in 0..1000 {
        stream.insert(turn * 1400..(turn + 1) * 1400);
        assert!(stream.assembler.blocks_used() <= 2);
        stream.read_all();
        assert_eq!(stream.assembler.blocks_used(), 0);
    }
    assert!(stream.blocks.free.len() <= 2);
}

#[test]
fn one_byte_far_ahead_costs_one_block_however_often_it_comes() {
    let window = 16 << 20;
    let mut stream = Stream::new();
    for _ in 0..1000 {
        stream.insert(window - 1..window);
    }
    assert_eq!(stream.assembler.blocks_used(), 1);
    assert_eq!(stream.assembler.blocks.len() as u64, window / BLOCK);
}

#[test]
fn scattered_bytes_never_cost_more_than_the_window() {
    let window = 64 * BLOCK;
    let mut stream = Stream::new();
    for offset in (1..window).step_by(2) {
        assert_eq!(stream.insert(offset..offset + 1), 1);
    }
    assert_eq!(stream.assembler.blocks_used() as u64, window / BLOCK);
    assert_eq!(stream.assembler.beyond, window / 2);
    for offset in (0..window).step_by(2) {
        assert_eq!(stream.insert(offset..offset + 1), 1);
    }
    assert_eq!(stream.read_all(), window);
}

#[test]
fn a_reused_block_remembers_nothing() {
    let mut stream = Stream::new();
    stream.insert(10..20);
    stream.insert(0..10);
    stream.read_all();
    assert_eq!(stream.blocks.free.len(), 1);
    assert_eq!(stream.insert(30..40), 10);
    assert_eq!(stream.insert(20..30), 10);
    assert_eq!(stream.assembler.next(), 40);
}

#[test]
fn what_is_cleared_goes_back_and_free_blocks_are_few() {
    let mut stream = Stream::new();
    stream.insert(5..100 * BLOCK);
    stream.assembler.clear(&mut stream.blocks);
    assert_eq!((stream.assembler.blocks_used(), stream.assembler.blocks.capacity()), (0, 0));
    assert_eq!(stream.blocks.free.len(), BLOCKS_KEPT);
    stream.blocks.trim();
    assert_eq!(stream.blocks.free.capacity(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn frames_in_any_order_become_the_stream(
        frames in prop::collection::vec((0..5 * BLOCK, 0..3000u64, 0..4u8), 1..120),
    ) {
        let mut stream = Stream::new();
        let mut model = vec![false; 6 * BLOCK_BYTES];
        for (start, len, reads) in frames {
            let range = start..start + len;
            let fresh = range.clone().filter(|&at| !model[at as usize]).count() as u64;
            range.clone().for_each(|at| model[at as usize] = true);
            prop_assert_eq!(stream.insert(range), fresh);
            let next = model.iter().position(|there| !there).unwrap() as u64;
            prop_assert_eq!(stream.assembler.next(), next);
            if reads == 0 {
                stream.read_all();
            } else {
                stream.consume(stream.assembler.readable() / u64::from(reads));
            }
        }
        let end = model.len() as u64;
        stream.insert(0..end);
        prop_assert_eq!((stream.assembler.next(), stream.assembler.beyond), (end, 0));
        stream.read_all();
        prop_assert_eq!(stream.assembler.blocks_used(), 0);
    }
}
