//! What a connection tells whoever wants to look on, and to whom.
//!
//! Owns the plug (`Log`), its factory, the decision which connections are logged, and the `Journal` of one connection.
//! Never changes what a connection does. Reads no clock and writes no file: `qlog` and `text` make bytes of records, and
//! the owner of a sink carries them off. Off, it costs a branch where a record would be made.

mod congestion;
pub mod qlog;
mod record;
pub mod text;

use std::fmt;
use std::sync::Arc;

use crate::base::address::RouteId;
use crate::base::time::Instant;
use crate::id::Role;
use crate::schedule::{Decision, Demand, Reason};

pub(crate) use congestion::Cause;
pub use record::{
    CongestionState, CongestionTrigger, Decided, DropReason, Initiator, LossTrigger, Metrics, Packet,
    PacketType, Parameters, Payload, Record, RttMetrics, Started, SuspectTrigger,
};

/// Takes the records of one connection.
///
/// Called in the order of time from within the connection, so it must be quick and must not block.
pub trait Log: Send {
    /// Something happened at `at`.
    fn record(&mut self, at: Instant, record: &Record<'_>);

    /// There was no connection: its first packet was not authentic. Strangers must not fill logs.
    fn withdraw(&mut self) {}
}

/// A connection that begins, and may be logged.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// Which end this is.
    pub role: Role,
    /// The destination connection ID of the client's first packet.
    pub original: &'a [u8],
    /// Where it runs.
    pub route: RouteId,
    /// When it begins.
    pub at: Instant,
}

/// Decides which connections are logged, and makes their logs.
#[derive(Clone)]
pub struct LogFactory {
    open: Arc<Open>,
}

type Open = dyn Fn(&Opening<'_>) -> Option<Box<dyn Log>> + Send + Sync;

impl LogFactory {
    /// A factory that asks `open` about each connection; `None` leaves it unlogged.
    pub fn new(open: impl Fn(&Opening<'_>) -> Option<Box<dyn Log>> + Send + Sync + 'static) -> Self {
        Self { open: Arc::new(open) }
    }

    /// The log of a connection that begins.
    pub fn open(&self, opening: &Opening<'_>) -> Option<Box<dyn Log>> {
        (self.open)(opening)
    }
}

impl fmt::Debug for LogFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogFactory")
    }
}

/// Is the connection with this original destination connection ID among one in `every`? Both ends know the ID, so both
/// log the same connections. 1 logs all, 0 none.
pub fn is_sampled(original: &[u8], every: u64) -> bool {
    // FNV-1a, and a finisher that lets every bit of the ID reach every bit of the remainder.
    let hash = original.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (hash ^ hash >> 33).checked_rem(every) == Some(0)
}

/// The log of one connection, if it has one.
#[derive(Default)]
pub(crate) struct Journal {
    book: Option<Box<Book>>,
}

/// What is kept only for a connection that is logged.
struct Book {
    log: Box<dyn Log>,
    now: Instant,
    congestion: congestion::Watch,
    waiting: Option<(bool, Reason)>,
}

impl Journal {
    /// The journal of a connection that begins.
    pub(crate) fn open(factory: Option<&LogFactory>, opening: &Opening<'_>) -> Self {
        let log = factory.and_then(|factory| factory.open(opening));
        let book =
            |log| Book { log, now: opening.at, congestion: congestion::Watch::default(), waiting: None };
        Self { book: log.map(|log| Box::new(book(log))) }
    }

    /// It is `now`, for all records until this is called again.
    #[inline]
    pub(crate) fn set_now(&mut self, now: Instant) {
        if let Some(book) = &mut self.book {
            book.now = book.now.max(now);
        }
    }

    /// Tells the log, if there is one; only then is the record made.
    #[inline]
    pub(crate) fn record<'a>(&mut self, record: impl FnOnce() -> Record<'a>) {
        if let Some(book) = &mut self.book {
            book.record(record);
        }
    }

    /// Nothing of it is to be kept.
    pub(crate) fn withdraw(&mut self) {
        if let Some(book) = &mut self.book {
            book.log.withdraw();
        }
    }

    /// The numbers of a path after `cause`, and what they say about its congestion controller.
    #[inline]
    pub(crate) fn measured(&mut self, cause: Cause, metrics: impl FnOnce() -> Option<Metrics>) {
        if let Some(book) = &mut self.book {
            book.measured(cause, metrics);
        }
    }

    /// A decision of the scheduler. That it waits on for the same reason is told once.
    #[inline]
    pub(crate) fn decided<'a>(&mut self, decided: impl FnOnce() -> Decided<'a>) {
        if let Some(book) = &mut self.book {
            book.decided(decided);
        }
    }
}

/// What is done for a connection that is logged, out of the way of those that are not.
impl Book {
    #[cold]
    #[inline(never)]
    fn record<'a>(&mut self, record: impl FnOnce() -> Record<'a>) {
        self.tell(&record());
    }

    #[cold]
    #[inline(never)]
    fn measured(&mut self, cause: Cause, metrics: impl FnOnce() -> Option<Metrics>) {
        let Some(metrics) = metrics() else { return };
        if let Some((old, new, trigger)) = self.congestion.on_metrics(&metrics, cause, self.now) {
            self.tell(&Record::Congestion { path: metrics.path, old, new, trigger });
        }
        self.tell(&Record::Metrics(metrics));
    }

    #[cold]
    #[inline(never)]
    fn decided<'a>(&mut self, decided: impl FnOnce() -> Decided<'a>) {
        let decided = decided();
        let repair = matches!(decided.demand, Demand::Repair { .. });
        let waits = matches!(decided.decision, Decision::Wait { .. }).then_some((repair, decided.reason));
        if waits.is_none() || waits != self.waiting {
            self.tell(&Record::Decided(decided));
        }
        self.waiting = waits;
    }

    fn tell(&mut self, record: &Record<'_>) {
        self.log.record(self.now, record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts records and remembers the kinds of decisions.
    #[derive(Clone, Default)]
    struct Counter(Arc<std::sync::Mutex<(u64, Vec<Reason>)>>);

    impl Log for Counter {
        fn record(&mut self, _: Instant, record: &Record<'_>) {
            let mut counted = self.0.lock().unwrap();
            counted.0 += 1;
            if let Record::Decided(decided) = record {
                counted.1.push(decided.reason);
            }
        }
    }

    fn opening(original: &[u8]) -> Opening<'_> {
        let addresses = ("127.0.0.1:1".parse().unwrap(), "127.0.0.2:2".parse().unwrap());
        let route = RouteId::new(crate::base::address::LocalId(0), addresses.0, addresses.1);
        Opening { role: Role::Client, original, route, at: Instant::ZERO }
    }

    fn journal() -> (Journal, Counter) {
        let counter = Counter::default();
        let log = counter.clone();
        let factory = LogFactory::new(move |_| Some(Box::new(log.clone())));
        (Journal::open(Some(&factory), &opening(b"12345678")), counter)
    }

    #[test]
    fn off_makes_no_record() {
        let refuses = LogFactory::new(|_| None);
        for factory in [None, Some(&refuses)] {
            let mut journal = Journal::open(factory, &opening(b"12345678"));
            journal.record(|| panic!("a record was made for nobody"));
            journal.measured(Cause::Sent, || panic!("numbers were asked for nobody"));
            journal.decided(|| panic!("a decision was explained to nobody"));
        }
        assert!(size_of::<Journal>() <= size_of::<usize>(), "a connection that is not logged pays a pointer");
    }

    #[test]
    fn waiting_on_for_the_same_reason_is_told_once() {
        let (mut journal, counter) = journal();
        let mut decide = |decision, reason| {
            journal.decided(|| Decided { demand: Demand::Fresh { bytes: 1 }, paths: &[], decision, reason });
        };
        let wait = Decision::Wait { until: None };
        for _ in 0..3 {
            decide(wait, Reason::Window);
        }
        decide(wait, Reason::Pacer);
        decide(Decision::Send(0), Reason::OnlyPath);
        decide(Decision::Send(0), Reason::OnlyPath);
        decide(wait, Reason::Pacer);
        let told = [Reason::Window, Reason::Pacer, Reason::OnlyPath, Reason::OnlyPath, Reason::Pacer];
        assert_eq!(counter.0.lock().unwrap().1, told);
    }

    #[test]
    fn one_in_n_connections_is_sampled_and_the_id_alone_decides() {
        let chosen = |every| (0..10_000_u64).filter(|id| is_sampled(&id.to_be_bytes(), every)).count();
        assert_eq!((chosen(1), chosen(0)), (10_000, 0));
        assert!((900..1_100).contains(&chosen(10)), "{}", chosen(10));
        assert!((60..140).contains(&chosen(100)), "{}", chosen(100));
        assert!(is_sampled(b"", 1));
    }
}
