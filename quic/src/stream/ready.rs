//! Which streams have something to do, and whose turn it is.
//!
//! Owns the order: a list of stream slots, each in it at most once, so it is never longer than there are streams.
//! Knows nothing about streams. Every operation is O(1); the links live beside the streams and are reused with their
//! slots, so nothing is allocated once the most streams so far were there.

/// The end of the list.
const END: u32 = u32::MAX;
/// The link of a slot that is not in the list.
const OUT: Link = Link { before: END - 1, after: END - 1 };

#[derive(Clone, Copy, PartialEq, Eq)]
struct Link {
    before: u32,
    after: u32,
}

/// A first-in first-out list of slots without duplicates, from whose middle a slot can be taken.
pub(super) struct Queue {
    links: Vec<Link>,
    front: u32,
    back: u32,
}

impl Queue {
    /// The empty list.
    pub(super) const fn new() -> Self {
        Self { links: Vec::new(), front: END, back: END }
    }

    /// The slot whose turn it is.
    #[inline]
    pub(super) fn front(&self) -> Option<usize> {
        (self.front != END).then_some(self.front as usize)
    }

    /// Is no slot in the list?
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.front == END
    }

    /// Is `slot` in the list?
    #[inline]
    pub(super) fn contains(&self, slot: usize) -> bool {
        self.links.get(slot).is_some_and(|link| *link != OUT)
    }

    /// Puts `slot` at the back, or takes it out. A slot that is where it should be keeps its place.
    #[inline]
    pub(super) fn set(&mut self, slot: usize, wanted: bool) {
        if self.contains(slot) != wanted {
            if wanted {
                self.push(slot);
            } else {
                self.remove(slot);
            }
        }
    }

    /// Sends the front to the back.
    #[inline]
    pub(super) fn rotate(&mut self) {
        if let Some(slot) = self.front().filter(|_| self.front != self.back) {
            self.remove(slot);
            self.push(slot);
        }
    }

    fn push(&mut self, slot: usize) {
        debug_assert!(slot < OUT.before as usize);
        if slot >= self.links.len() {
            self.links.resize(slot + 1, OUT);
        }
        self.links[slot] = Link { before: self.back, after: END };
        match self.back {
            END => self.front = slot as u32,
            back => self.links[back as usize].after = slot as u32,
        }
        self.back = slot as u32;
    }

    fn remove(&mut self, slot: usize) {
        let link = std::mem::replace(&mut self.links[slot], OUT);
        match link.before {
            END => self.front = link.after,
            before => self.links[before as usize].after = link.after,
        }
        match link.after {
            END => self.back = link.before,
            after => self.links[after as usize].before = link.before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(mut queue: Queue) -> Vec<usize> {
        std::iter::from_fn(|| {
            let front = queue.front()?;
            queue.set(front, false);
            Some(front)
        })
        .collect()
    }

    fn queue(slots: &[usize]) -> Queue {
        let mut queue = Queue::new();
        for &slot in slots {
            queue.set(slot, true);
        }
        queue
    }

    #[test]
    fn a_slot_is_in_the_list_once_and_keeps_its_place() {
        assert_eq!(drained(queue(&[3, 0, 3, 7, 0])), [3, 0, 7]);
    }

    #[test]
    fn slots_leave_from_the_front_the_middle_and_the_back() {
        for (gone, left) in [(1, [2, 3]), (2, [1, 3]), (3, [1, 2])] {
            let mut queue = queue(&[1, 2, 3]);
            queue.set(gone, false);
            queue.set(gone, false);
            assert!(!queue.contains(gone));
            assert_eq!(drained(queue), left);
        }
    }

    #[test]
    fn rotating_gives_everyone_a_turn() {
        let mut queue = queue(&[5, 6, 7]);
        let turns: Vec<_> = (0..7)
            .map(|_| {
                let front = queue.front().unwrap();
                queue.rotate();
                front
            })
            .collect();
        assert_eq!(turns, [5, 6, 7, 5, 6, 7, 5]);
    }

    #[test]
    fn rotating_none_or_one_changes_nothing() {
        let mut empty = queue(&[]);
        empty.rotate();
        assert!(empty.is_empty() && !empty.contains(0) && !empty.contains(1 << 20));
        let mut one = queue(&[4]);
        one.rotate();
        assert_eq!(drained(one), [4]);
    }

    #[test]
    fn a_slot_can_come_back_after_it_left() {
        let mut queue = queue(&[1, 2]);
        queue.set(1, false);
        queue.set(1, true);
        assert_eq!(drained(queue), [2, 1]);
    }
}
