//! How many streams there are of each kind, and how many there may be (RFC 9000 §2.1, §4.6).
//!
//! Owns the counts of streams that we open (`Ours`) and of those the peer opens (`Theirs`), one value per direction.
//! Setting up costs the same however many streams are allowed. Holds no stream.

use crate::base::ranges::RangeSet;
use crate::wire::frame::STREAMS_MAX;

/// The streams that we open.
#[derive(Default)]
pub(super) struct Ours {
    opened: u64,
    limit: u64,
    /// The application wanted a stream more than the limit allows.
    refused: bool,
    /// The limit at which we last said that it blocks us.
    reported: Option<u64>,
}

impl Ours {
    /// The index of the next stream, or `None` while the peer allows no more.
    pub(super) fn open(&mut self) -> Option<u64> {
        if self.opened == self.limit {
            self.refused = true;
            return None;
        }
        self.opened += 1;
        Some(self.opened - 1)
    }

    /// How many were opened so far.
    #[inline]
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    /// The peer allows `limit` streams in total; smaller, late values mean nothing. Is that what was waited for?
    pub(super) fn on_limit(&mut self, limit: u64) -> bool {
        if limit <= self.limit {
            return false;
        }
        self.limit = limit;
        std::mem::take(&mut self.refused)
    }

    /// Should the peer hear that its limit blocks us? Once per limit.
    #[inline]
    pub(super) fn report_due(&self) -> bool {
        self.refused && self.reported != Some(self.limit)
    }

    /// The limit that blocks us.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// The report was written.
    pub(super) fn on_reported(&mut self) {
        self.reported = Some(self.limit);
    }

    /// The report was lost.
    pub(super) fn on_report_lost(&mut self) {
        self.reported = None;
    }
}

/// What the number of a peer's stream means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is open and has no state yet: make it.
    New,
    /// It was open once.
    Gone,
    /// The peer may not open it.
    Forbidden,
}

/// The streams that the peer opens.
pub(super) struct Theirs {
    opened: u64,
    /// How many of them the application was told.
    told: u64,
    closed: u64,
    at_once: u64,
    announced: u64,
    /// Opened because a higher one was; nothing has touched them yet, so they have no state.
    dormant: RangeSet,
    /// The peer waits for credit, or our last word about it was lost.
    urgent: bool,
}

impl Theirs {
    /// Lets the peer have `at_once` streams open, as the transport parameters announced it.
    pub(super) fn new(at_once: u64) -> Self {
        let at_once = at_once.min(STREAMS_MAX);
        Self {
            opened: 0,
            told: 0,
            closed: 0,
            at_once,
            announced: at_once,
            dormant: RangeSet::new(),
            urgent: false,
        }
    }

    /// What a stream that has no state is. One that is `New` has state from now on; those below it are open too
    /// (RFC 9000 §3.2), but stay dormant.
    pub(super) fn touch(&mut self, index: u64) -> Standing {
        if index >= self.announced {
            return Standing::Forbidden;
        }
        if index >= self.opened {
            self.dormant.insert(self.opened..index);
            self.opened = index + 1;
            return Standing::New;
        }
        match self.dormant.remove(index..index + 1) {
            0 => Standing::Gone,
            _ => Standing::New,
        }
    }

    /// Is the stream open but without state?
    pub(super) fn is_dormant(&self, index: u64) -> bool {
        self.dormant.contains(index)
    }

    /// How many were opened so far.
    #[inline]
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    /// The next stream that the application should be told about, in order.
    pub(super) fn take_news(&mut self) -> Option<u64> {
        (self.told < self.opened).then(|| {
            self.told += 1;
            self.told - 1
        })
    }

    /// Is there a stream that the application was not told about?
    pub(super) fn has_news(&self) -> bool {
        self.told < self.opened
    }

    /// One of them is over; the peer may open another.
    pub(super) fn on_closed(&mut self) {
        self.closed += 1;
        debug_assert!(self.closed <= self.opened);
    }

    /// Should the peer be told a new limit? Once an eighth is gained, sooner if the peer is known to wait.
    #[inline]
    pub(super) fn due(&self) -> bool {
        let gain = self.target() - self.announced;
        self.urgent || (gain > 0 && gain >= self.at_once / 8)
    }

    /// The limit to announce now; the peer may use it from here on.
    pub(super) fn announce(&mut self) -> u64 {
        self.announced = self.target();
        self.urgent = false;
        self.announced
    }

    /// The limit that `announce` would announce.
    #[inline]
    pub(super) fn target(&self) -> u64 {
        (self.closed + self.at_once).min(STREAMS_MAX)
    }

    /// The announcement of `limit` was lost: says it again, unless a later one is under way.
    pub(super) fn on_lost(&mut self, limit: u64) {
        self.urgent |= limit == self.announced;
    }

    /// The peer says that it waits: any gain is worth a frame.
    pub(super) fn on_blocked(&mut self) {
        self.urgent |= self.target() > self.announced;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_stream_is_reported_once_and_told_when_it_becomes_possible() {
        let mut ours = Ours::default();
        assert!(!ours.report_due());
        assert_eq!(ours.open(), None);
        assert!(ours.report_due());
        ours.on_reported();
        assert!(!ours.report_due());
        assert!(!ours.on_limit(0));
        assert!(ours.on_limit(2));
        assert_eq!((ours.open(), ours.open(), ours.open()), (Some(0), Some(1), None));
        assert!(!ours.on_limit(1));
        assert_eq!(ours.limit(), 2);
        assert!(ours.report_due(), "blocked at another limit");
    }

    #[test]
    fn more_streams_that_nobody_waited_for_are_no_news() {
        assert!(!Ours::default().on_limit(5));
    }

    #[test]
    fn a_stream_opens_all_below_it_without_state_and_they_are_told_in_order() {
        let mut theirs = Theirs::new(1 << 40);
        assert_eq!(theirs.touch((1 << 40) - 1), Standing::New);
        assert_eq!(theirs.dormant.len(), 1);
        assert_eq!((theirs.take_news(), theirs.take_news()), (Some(0), Some(1)));
        assert_eq!((theirs.touch(7), theirs.touch(7)), (Standing::New, Standing::Gone));
        assert!(theirs.is_dormant(6) && !theirs.is_dormant(7));
    }

    #[test]
    fn the_first_stream_beyond_the_limit_is_forbidden() {
        let mut theirs = Theirs::new(4);
        assert_eq!(theirs.touch(4), Standing::Forbidden);
        assert_eq!(theirs.touch(3), Standing::New);
        assert_eq!(Theirs::new(0).touch(0), Standing::Forbidden);
    }

    #[test]
    fn closed_streams_give_credit_an_eighth_at_a_time() {
        let mut theirs = Theirs::new(16);
        theirs.touch(15);
        theirs.on_closed();
        assert!(!theirs.due());
        theirs.on_closed();
        assert!(theirs.due());
        assert_eq!(theirs.announce(), 18);
        assert!(!theirs.due());
        assert_eq!((theirs.touch(17), theirs.touch(18)), (Standing::New, Standing::Forbidden));
    }

    #[test]
    fn a_peer_that_waits_gets_each_stream_and_one_that_waits_in_vain_gets_nothing() {
        let mut theirs = Theirs::new(16);
        theirs.touch(15);
        theirs.on_blocked();
        assert!(!theirs.due());
        theirs.on_closed();
        theirs.on_blocked();
        assert!(theirs.due());
        theirs.announce();
        theirs.on_lost(16);
        assert!(!theirs.due());
        theirs.on_lost(17);
        assert!(theirs.due());
    }

    #[test]
    fn a_single_stream_at_once_is_renewed_each_time() {
        let mut theirs = Theirs::new(1);
        theirs.touch(0);
        theirs.on_closed();
        assert!(theirs.due());
        assert_eq!(theirs.announce(), 2);
    }
}
