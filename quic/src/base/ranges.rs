//! A set of numbers, kept as ranges: packet numbers received, stream bytes lost, path IDs abandoned.
//!
//! Owns the merging and splitting of ranges. Sets no limit on how many there are: the owner of a set that a peer can
//! grow watches `len` and drops from the front. Appending, extending the end and taking from the front are O(1); no
//! allocation once the set has reached its usual size.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

/// One range of the set: not empty, neither overlapping nor touching its neighbours.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Span {
    start: u64,
    end: u64,
}

impl Span {
    #[inline]
    const fn len(self) -> u64 {
        self.end - self.start
    }

    #[inline]
    const fn range(self) -> Range<u64> {
        self.start..self.end
    }
}

/// A set of `u64` as ascending, disjoint, non-adjacent half-open ranges. (`u64::MAX` itself cannot be a member.)
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct RangeSet {
    spans: VecDeque<Span>,
    total: u64,
}

impl RangeSet {
    /// The empty set; allocates nothing.
    #[inline]
    pub(crate) const fn new() -> Self {
        Self { spans: VecDeque::new(), total: 0 }
    }

    /// Adds all of `range`; returns how many numbers were new.
    #[inline]
    pub(crate) fn insert(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let added = match self.spans.back_mut() {
            Some(last) if range.start < last.start => self.insert_before_end(&range),
            Some(last) if range.start <= last.end => {
                let added = range.end.saturating_sub(last.end);
                last.end += added;
                added
            }
            _ => {
                self.spans.push_back(Span { start: range.start, end: range.end });
                range.end - range.start
            }
        };
        self.total += added;
        added
    }

    /// Removes all of `range`; returns how many numbers were members.
    pub(crate) fn remove(&mut self, range: Range<u64>) -> u64 {
        let from = self.spans.partition_point(|span| span.end <= range.start);
        let to = self.spans.partition_point(|span| span.start < range.end);
        if range.is_empty() || from >= to {
            return 0;
        }
        let left = Span { start: self.spans[from].start, end: range.start };
        let right = Span { start: range.end, end: self.spans[to - 1].end };
        let held: u64 = self.spans.range(from..to).map(|span| span.len()).sum();
        let mut kept = 0;
        let mut next = from;
        for piece in [left, right] {
            if piece.start >= piece.end {
                continue;
            }
            kept += piece.len();
            if next < to {
                self.spans[next] = piece;
            } else {
                self.spans.insert(next, piece);
            }
            next += 1;
        }
        if next < to {
            self.spans.drain(next..to);
        }
        self.total -= held - kept;
        held - kept
    }

    /// Removes every number below `bound`.
    pub(crate) fn drop_below(&mut self, bound: u64) {
        while let Some(first) = self.spans.front_mut() {
            if first.start >= bound {
                return;
            }
            let dropped = first.end.min(bound) - first.start;
            first.start += dropped;
            self.total -= dropped;
            if first.start < first.end {
                return;
            }
            self.spans.pop_front();
        }
    }

    /// Takes the lowest range out of the set.
    #[inline]
    pub(crate) fn pop_front(&mut self) -> Option<Range<u64>> {
        let first = self.spans.pop_front()?;
        self.total -= first.len();
        Some(first.range())
    }

    /// The lowest range.
    #[inline]
    pub(crate) fn peek_front(&self) -> Option<Range<u64>> {
        self.spans.front().map(|span| span.range())
    }

    /// The smallest member.
    #[inline]
    pub(crate) fn min(&self) -> Option<u64> {
        self.spans.front().map(|span| span.start)
    }

    /// The largest member (not the end of its range, which is one more).
    #[cfg(test)]
    #[inline]
    pub(crate) fn max(&self) -> Option<u64> {
        self.spans.back().map(|span| span.end - 1)
    }

    /// Is `number` a member?
    #[inline]
    pub(crate) fn contains(&self, number: u64) -> bool {
        match self.spans.back() {
            Some(last) if number < last.start => {
                let at = self.spans.partition_point(|span| span.end <= number);
                self.spans[at].start <= number
            }
            Some(last) => number < last.end,
            None => false,
        }
    }

    /// Is every number of `range` a member? The empty range always is.
    #[cfg(test)]
    #[inline]
    pub(crate) fn covers(&self, range: &Range<u64>) -> bool {
        if range.is_empty() {
            return true;
        }
        let at = self.spans.partition_point(|span| span.end <= range.start);
        self.spans.get(at).is_some_and(|span| span.start <= range.start && range.end <= span.end)
    }

    /// How many ranges there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Is no number a member?
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// How many numbers are members.
    #[inline]
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The ranges, ascending.
    #[inline]
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + ExactSizeIterator + Clone {
        self.spans.iter().map(|span| span.range())
    }

    /// The parts of `range` that are no members, ascending.
    pub(crate) fn missing_in(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let from = self.spans.partition_point(|span| span.end <= range.start);
        let mut spans = self.spans.range(from..);
        let mut start = range.start;
        std::iter::from_fn(move || {
            while start < range.end {
                let next = spans.next().map_or(range.end..range.end, |span| span.range());
                let gap = start..next.start.min(range.end);
                start = next.end;
                if !gap.is_empty() {
                    return Some(gap);
                }
            }
            None
        })
    }

    /// Adds a `range` that starts before the last range does; returns how many numbers were new.
    fn insert_before_end(&mut self, range: &Range<u64>) -> u64 {
        let from = self.spans.partition_point(|span| span.end < range.start);
        let to = self.spans.partition_point(|span| span.start <= range.end);
        if from == to {
            self.spans.insert(from, Span { start: range.start, end: range.end });
            return range.end - range.start;
        }
        let held: u64 = self.spans.range(from..to).map(|span| span.len()).sum();
        let merged = Span {
            start: range.start.min(self.spans[from].start),
            end: range.end.max(self.spans[to - 1].end),
        };
        self.spans[from] = merged;
        if to - from > 1 {
            self.spans.drain(from + 1..to);
        }
        merged.len() - held
    }
}

impl fmt::Debug for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "sets of one range are meant")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set(ranges: &[Range<u64>]) -> RangeSet {
        let mut set = RangeSet::new();
        for range in ranges {
            set.insert(range.clone());
        }
        set
    }

    fn ranges(set: &RangeSet) -> Vec<Range<u64>> {
        set.iter().collect()
    }

    #[test]
    fn touching_ranges_become_one() {
        let mut set = set(&[0..3, 5..8]);
        assert_eq!(set.insert(3..5), 2);
        assert_eq!(ranges(&set), [0..8]);
        assert_eq!(set.total(), 8);
    }

    #[test]
    fn a_range_over_everything_counts_only_what_was_new() {
        let mut set = set(&[2..4, 6..8, 10..12]);
        assert_eq!(set.insert(0..20), 14);
        assert_eq!(ranges(&set), [0..20]);
        assert_eq!(set.insert(3..9), 0);
    }

    #[test]
    fn a_removal_inside_a_range_splits_it() {
        let mut set = set(&[0..10]);
        assert_eq!(set.remove(3..5), 2);
        assert_eq!(ranges(&set), [0..3, 5..10]);
        assert_eq!(set.remove(1..7), 4);
        assert_eq!(ranges(&set), [0..1, 7..10]);
        assert_eq!((set.total(), set.min(), set.max()), (4, Some(0), Some(9)));
    }

    #[test]
    fn empty_ranges_change_nothing() {
        let mut set = set(&[5..9]);
        assert_eq!((set.insert(7..7), set.remove(7..7), set.insert(1..1)), (0, 0, 0));
        assert_eq!(ranges(&set), [5..9]);
        assert!(set.covers(&(100..100)));
        assert_eq!(set.missing_in(6..6).count(), 0);
    }

    #[test]
    fn gaps_are_reported_with_the_edges_of_the_question() {
        let set = set(&[2..4, 6..8]);
        assert_eq!(set.missing_in(0..10).collect::<Vec<_>>(), [0..2, 4..6, 8..10]);
        assert_eq!(set.missing_in(3..7).collect::<Vec<_>>(), [4..6]);
        assert_eq!(set.missing_in(2..4).count(), 0);
        assert_eq!(RangeSet::new().missing_in(1..3).collect::<Vec<_>>(), [1..3]);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let mut set = set(&[0..1, u64::MAX - 2..u64::MAX]);
        assert_eq!(set.insert(0..u64::MAX), u64::MAX - 3);
        assert_eq!((set.total(), set.max()), (u64::MAX, Some(u64::MAX - 1)));
        set.drop_below(u64::MAX);
        assert!(set.is_empty());
    }

    const SPACE: u64 = 64;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(Range<u64>),
        Remove(Range<u64>),
        DropBelow(u64),
        PopFront,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let range = || (0..SPACE, 0..12u64).prop_map(|(start, len)| start..(start + len).min(SPACE));
        let step = prop_oneof![
            6 => range().prop_map(Step::Insert),
            3 => range().prop_map(Step::Remove),
            1 => (0..SPACE).prop_map(Step::DropBelow),
            1 => Just(Step::PopFront),
        ];
        prop::collection::vec(step, 1..60)
    }

    /// Applies `step` to both and compares what it returns.
    fn apply(step: Step, set: &mut RangeSet, model: &mut BTreeSet<u64>) {
        match step {
            Step::Insert(range) => {
                let new = range.clone().filter(|&number| model.insert(number)).count();
                assert_eq!(set.insert(range), new as u64);
            }
            Step::Remove(range) => {
                let gone = range.clone().filter(|number| model.remove(number)).count();
                assert_eq!(set.remove(range), gone as u64);
            }
            Step::DropBelow(bound) => {
                set.drop_below(bound);
                model.retain(|&number| number >= bound);
            }
            Step::PopFront => {
                let front = set.peek_front();
                assert_eq!(set.pop_front(), front);
                assert_eq!(front.is_some(), !model.is_empty());
                model.retain(|number| !front.clone().unwrap().contains(number));
            }
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_set_of_single_numbers(steps in steps(), from in 0..SPACE, len in 0..SPACE) {
            let (mut set, mut model) = (RangeSet::new(), BTreeSet::new());
            for step in steps {
                apply(step, &mut set, &mut model);
                prop_assert!(set.iter().flatten().eq(model.iter().copied()));
                prop_assert!(set.iter().all(|range| !range.is_empty()));
                prop_assert!(set.iter().zip(set.iter().skip(1)).all(|(low, high)| low.end < high.start));
                prop_assert_eq!(set.total(), model.len() as u64);
                prop_assert_eq!((set.min(), set.max()), (model.first().copied(), model.last().copied()));
                prop_assert_eq!((set.len(), set.is_empty()), (set.iter().len(), model.is_empty()));
            }
            let question = from..from + len;
            prop_assert!((0..SPACE).all(|number| set.contains(number) == model.contains(&number)));
            prop_assert_eq!(set.covers(&question), question.clone().all(|number| model.contains(&number)));
            let missing = question.clone().filter(|number| !model.contains(number));
            prop_assert!(set.missing_in(question).flatten().eq(missing));
            prop_assert!(set.iter().rev().eq(ranges(&set).into_iter().rev()));
        }
    }
}
