//! Blocks of memory that the kernel may write to or read from while we run.
//!
//! Owns their allocation and nothing of who may touch a block when: that is the promise of whoever holds the arena.
//! Everything goes by raw pointers, so no reference covers bytes that the kernel has.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// `count` zeroed blocks of the same size, at an address that never changes.
#[derive(Debug)]
pub(crate) struct Arena {
    base: NonNull<u8>,
    layout: Layout,
    block_bytes: usize,
    count: usize,
    leaked: bool,
}

impl Arena {
    /// Allocates; pages nobody touches cost no memory. `alignment` is a power of two that divides `block_bytes`.
    pub(crate) fn new(count: usize, block_bytes: usize, alignment: usize) -> Self {
        assert!(count > 0 && block_bytes > 0 && block_bytes.is_multiple_of(alignment));
        let layout =
            Layout::from_size_align(count * block_bytes, alignment).expect("a layout below isize::MAX");
        // SAFETY: the layout is not empty, as asserted above.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else { handle_alloc_error(layout) };
        Self { base, layout, block_bytes, count, leaked: false }
    }

    /// Where block `index` begins. It is `block_bytes` long and lives as long as the arena.
    pub(crate) fn block(&self, index: usize) -> *mut u8 {
        assert!(index < self.count);
        // SAFETY: by the assertion the result lies within the allocation.
        unsafe { self.base.as_ptr().add(index * self.block_bytes) }
    }

    /// Never frees the memory: the kernel would not give it back.
    pub(crate) fn leak(&mut self) {
        self.leaked = true;
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if !self.leaked {
            // SAFETY: `base` came from the allocator with this layout and is freed only here.
            unsafe { dealloc(self.base.as_ptr(), self.layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_zeroed_aligned_and_apart() {
        let arena = Arena::new(3, 192, 64);
        for index in 0..3 {
            let block = arena.block(index);
            assert_eq!(block.addr() % 64, 0);
            // SAFETY: the block is 192 bytes, ours alone, and zeroed, so initialised.
            let bytes = unsafe { std::slice::from_raw_parts_mut(block, 192) };
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes.fill(index as u8 + 1);
        }
        for index in 0..3 {
            // SAFETY: as above; nobody holds another reference.
            assert_eq!(unsafe { arena.block(index).add(191).read() }, index as u8 + 1);
        }
    }

    #[test]
    #[should_panic(expected = "index < self.count")]
    fn there_is_no_block_behind_the_last() {
        Arena::new(3, 192, 64).block(3);
    }
}
