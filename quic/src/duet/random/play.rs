//! Plays a case: does one operation after the other, looks at both ends in between, heals the wire and waits.
//!
//! Owns the properties that hold for every case. At the end either the connection is over, for a reason that fits what
//! happened, or all that was begun is complete.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use super::book::{Book, stream};
use super::course::Course;
use super::operation::{Case, LINES, Odd, Operation, STREAMS};
use crate::base::address::LocalId;
use crate::base::time::Instant;
use crate::config::PathOptions;
use crate::duet::{Datagram, Duet, End, Packet, Verdict, keep_no_frames, ms};
use crate::endpoint::ConnectionGuard;
use crate::error::{CloseReason, PathErrorCode, TransportErrorCode};
use crate::id::{PathId, Role};
use crate::wire::frame::Frame;

/// Between two looks.
const LOOK_EVERY: Duration = ms(250);

/// The wire is healed: then all is complete within this time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A network holds datagrams no longer than this: round trips that took half a minute make all that follows slow.
const HOLD_MAX: Duration = Duration::from_secs(1);

/// Each end may close for silence only after this much of it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Paths at once.
const PATHS_MAX: u32 = 8;

/// Connection IDs and reset tokens that an end holds for each of its paths, at most: those in use and being retired.
const IDS_PER_PATH_MAX: usize = 8;

/// Characters of a packet's frames, or of an event, in a trace.
const SHOWN_MAX: usize = 240;

/// What happens to datagrams, by the end that sends them: `true` for the server.
#[derive(Default)]
struct Faults {
    drop: [u32; 2],
    repeat: [u32; 2],
    hold: [bool; 2],
    mtu: HashMap<u16, usize>,
}

impl Faults {
    fn judge(&mut self, datagram: &Datagram) -> Verdict {
        let from = at(datagram.to.peer());
        let mtu = datagram.line.and_then(|line| self.mtu.get(&line));
        if mtu.is_some_and(|mtu| datagram.bytes.len() > *mtu) {
            return Verdict::Drop;
        }
        if self.hold[from] {
            return Verdict::Hold;
        }
        for (counts, verdict) in [(&mut self.drop, Verdict::Drop), (&mut self.repeat, Verdict::Twice)] {
            if counts[from] > 0 {
                counts[from] -= 1;
                return verdict;
            }
        }
        Verdict::Pass
    }
}

fn at(role: Role) -> usize {
    usize::from(role == Role::Server)
}

const BOTH: [Role; 2] = [Role::Client, Role::Server];

pub(super) struct Play {
    duet: Duet,
    faults: Rc<RefCell<Faults>>,
    book: Book,
    courses: [Course; 2],
    /// When each end last opened a packet.
    heard_at: [Instant; 2],
    closed_by_app: [bool; 2],
    /// The reason for which each end closed was looked at.
    judged: [bool; 2],
    /// An end lied in a way that its own logic cannot keep up with: the connection may break.
    lied: bool,
    rotations: HashMap<(usize, u32), u32>,
    hold_until: Instant,
    healed_at: Option<Instant>,
}

/// Is everything to be shown that is said, heard and told?
fn traced() -> bool {
    std::env::var_os("BRAID_TRACE").is_some()
}

fn show(end: &End) {
    let lines = |what: &str, packets: &[Packet]| {
        for packet in packets {
            let (at, path) = (packet.at.since(Instant::ZERO), packet.path);
            let mut frames = format!("{:?}", packet.frames);
            frames.truncate(SHOWN_MAX);
            eprintln!("{:12.6} {:?} {what} {path}: {frames}", at.as_secs_f64(), end.role);
        }
    };
    lines("says on", &end.said);
    lines("hears on", &end.heard);
    for event in &end.events {
        let mut event = format!("{event:?}");
        event.truncate(SHOWN_MAX);
        eprintln!("{:12} {:?} is told: {event}", "", end.role);
    }
}

/// Plays a case to its end.
pub(super) fn play(case: &Case) {
    let mut play = Play::begin(case.paths);
    for operation in &case.operations {
        if traced() {
            eprintln!("{operation:?}");
        }
        play.perform(operation);
        play.look();
    }
    play.finish();
}

impl Play {
    fn begin(paths: u32) -> Self {
        if !traced() {
            keep_no_frames();
        }
        let mut duet = Duet::confirmed_set(|client, server| {
            client.keep_alive = Some(Duration::from_secs(5));
            for config in [client, server] {
                config.max_paths = PATHS_MAX;
                config.datagram_receive_max = u16::MAX;
                config.idle_timeout = IDLE_TIMEOUT;
            }
        });
        for line in 1..paths {
            duet.open(line as u16);
        }
        let heard_at = [duet.now; 2];
        let mut play = Self {
            duet,
            faults: Rc::default(),
            book: Book::default(),
            courses: BOTH.map(Course::new),
            heard_at,
            closed_by_app: [false; 2],
            judged: [false; 2],
            lied: false,
            rotations: HashMap::new(),
            hold_until: Instant::NEVER,
            healed_at: None,
        };
        play.filter();
        play.run_for(ms(100));
        play
    }

    fn filter(&mut self) {
        let faults = Rc::clone(&self.faults);
        self.duet.filter(move |datagram| faults.borrow_mut().judge(datagram));
    }

    /// Does something at an end, unless its connection is gone.
    fn with(&mut self, by: Role, act: impl FnOnce(&mut Book, &mut ConnectionGuard<'_>)) {
        let now = self.duet.now;
        let end = self.duet.end(by);
        if let Some(key) = end.key
            && let Some(mut connection) = end.endpoint.connection(key, now)
        {
            act(&mut self.book, &mut connection);
        }
    }

    fn perform(&mut self, operation: &Operation) {
        match *operation {
            Operation::Wait { ms: span } => self.run_for(ms(span)),
            Operation::Open { line, if_absent, backup } => {
                let route = self.duet.line(line).at_client(line);
                let options = PathOptions { backup, ..PathOptions::default() };
                self.with(Role::Client, |_, connection| {
                    let _ = if if_absent {
                        connection.open_path_if_absent(route, &options)
                    } else {
                        connection.open_path_with(route, &options)
                    };
                });
            }
            Operation::Abandon { by, path, code } => self.with(by, |_, connection| {
                let _ = connection.abandon_path(PathId(path), PathErrorCode(code));
            }),
            Operation::Backup { by, path, backup } => self.with(by, |_, connection| {
                let _ = connection.set_path_backup(PathId(path), backup);
            }),
            Operation::Migrate { path, line } => {
                let route = self.duet.line(line).at_client(line);
                self.with(Role::Client, |_, connection| {
                    let _ = connection.migrate_path(PathId(path), route);
                });
            }
            Operation::AddLocal { line } => {
                self.duet.cut(line, false);
                let route = self.duet.line(line).at_client(line);
                self.with(Role::Client, |_, connection| connection.add_local(route));
            }
            Operation::LocalGone { line } => {
                self.duet.cut(line, true);
                self.with(Role::Client, |_, connection| connection.local_gone(LocalId(line)));
            }
            Operation::UpdateKeys { by } => self.with(by, |_, connection| {
                let _ = connection.update_keys();
            }),
            Operation::Close { by } => {
                self.with(by, |_, connection| connection.close(9, b"enough"));
                self.closed_by_app[at(by)] = true;
            }
            Operation::Say { by, path, what } => self.say(by, path, what),
            _ => self.perform_of_data_or_wire(operation),
        }
    }

    fn perform_of_data_or_wire(&mut self, operation: &Operation) {
        match *operation {
            Operation::Write { by, stream: number, bytes } => {
                self.with(by, |book, connection| book.write(connection, stream(number), bytes));
            }
            Operation::Finish { by, stream: number } => {
                self.with(by, |book, connection| book.finish(connection, stream(number)));
            }
            Operation::Reset { by, stream: number } => {
                self.with(by, |book, connection| book.reset(connection, stream(number)));
            }
            Operation::Stop { by, stream: number } => {
                self.with(by, |book, connection| book.stop(connection, stream(number)));
            }
            Operation::Read { by, stream: number } => {
                self.with(by, |book, connection| book.read(connection, stream(number)));
            }
            Operation::Datagram { by, bytes, on_path, lifetime_ms } => {
                self.with(by, |book, connection| book.send(connection, bytes, on_path, lifetime_ms));
            }
            Operation::Cut { line, up, down } => {
                let line = self.duet.line(line);
                (line.cut_up, line.cut_down) = (up, down);
            }
            Operation::Delay { line, up_ms, down_ms } => {
                let line = self.duet.line(line);
                (line.up, line.down) = (ms(up_ms), ms(down_ms));
            }
            Operation::Mtu { line, bytes } => {
                self.faults.borrow_mut().mtu.insert(line, bytes);
            }
            Operation::Rebind { line, port } => self.duet.line(line).outside.set_port(port),
            Operation::Unreachable { by, line: number, unreachable } => {
                let line = self.duet.line(number);
                let way = match by {
                    Role::Client => (LocalId(number), line.server),
                    Role::Server => (LocalId(0), line.outside),
                };
                let ways = &mut self.duet.end(by).unreachable;
                ways.retain(|known| *known != way);
                ways.extend(unreachable.then_some(way));
            }
            Operation::Drop { from, count } => self.faults.borrow_mut().drop[at(from)] = count,
            Operation::Repeat { from, count } => self.faults.borrow_mut().repeat[at(from)] = count,
            Operation::Hold { from } => {
                self.faults.borrow_mut().hold[at(from)] = true;
                self.hold_until = self.hold_until.min(self.duet.now + HOLD_MAX);
            }
            Operation::Release { reversed } => self.release(reversed),
            _ => unreachable!("{operation:?} is of another kind"),
        }
    }

    fn release(&mut self, reversed: bool) {
        self.faults.borrow_mut().hold = [false; 2];
        self.hold_until = Instant::NEVER;
        if reversed {
            self.duet.release_reversed();
        } else {
            self.duet.release();
        }
        self.filter();
    }

    /// Puts a packet into a mouth, if this end could send one on that path.
    fn say(&mut self, by: Role, path: u32, what: Odd) {
        let speaks = |end: &mut End, path: u32| {
            end.is_alive()
                && end.path(path).is_some_and(|path| {
                    path.running().is_some()
                        && path.remote.current().is_some()
                        && !path.stage().is_abandoned()
                })
        };
        let rotations = self.rotations.entry((at(by), path)).or_default();
        let end = self.duet.end(by);
        if !speaks(end, path) {
            return;
        }
        let frames = match what {
            Odd::Ping => vec![Frame::Ping],
            Odd::Challenges { count } => (0..count).map(|it| Frame::PathChallenge([it; 8])).collect(),
            Odd::PathsBlocked { maximum } => vec![Frame::PathsBlocked(maximum)],
            Odd::CidsBlocked { path } => vec![Frame::PathCidsBlocked { path, next_sequence: 0 }],
            Odd::Status { path, sequence, backup } => vec![Frame::PathStatus { path, sequence, backup }],
            Odd::Abandon { path, code } => {
                self.courses[at(by.peer())].odd_abandons = true;
                self.courses[at(by)].odd_abandons = true;
                vec![Frame::PathAbandon { path, code }]
            }
            Odd::Rotation { path: rotated } => {
                // More of them at once than the peer has room for would be an attack.
                if rotated != path || *rotations == 2 {
                    return;
                }
                *rotations += 1;
                vec![end.rotation(path)]
            }
            Odd::MaxPathId { maximum } => {
                self.lied = true;
                vec![Frame::MaxPathId(maximum)]
            }
            Odd::Retire { path, sequence } => {
                self.lied = true;
                vec![Frame::RetireConnectionId { path, plain: false, sequence }]
            }
        };
        end.says(path, &frames);
        self.run_for(Duration::ZERO);
    }
}

/// Looking, and judging.
impl Play {
    fn run_for(&mut self, span: Duration) {
        let end = self.duet.now + span;
        loop {
            if self.hold_until <= self.duet.now {
                self.release(false);
            }
            let next = end.min(self.duet.now + LOOK_EVERY).min(self.hold_until);
            while self.duet.step(next) {
                let now = self.duet.now;
                for role in BOTH {
                    let late = self.duet.end(role).endpoint.deadline().filter(|at| *at <= now);
                    assert!(late.is_none(), "{role:?}: what was served is due again at {late:?}");
                }
            }
            self.look();
            if next == end {
                return;
            }
        }
    }

    fn look(&mut self) {
        for role in BOTH {
            let end = self.duet.end(role);
            end.collect();
            if traced() {
                show(end);
            }
            end.endpoint.audit().unwrap();
            let heard_at = end.heard.last().map(|packet| packet.at);
            end.forget();
            let events = std::mem::take(&mut end.events);
            self.heard_at[at(role)] = heard_at.unwrap_or(self.heard_at[at(role)]);
            for event in events {
                self.courses[at(role)].on_event(&event);
            }
            self.check_bounds(role);
        }
        self.duet.lost.clear();
        for role in BOTH {
            self.check_reason(role);
            self.with(role, Book::receive);
        }
        for role in BOTH {
            // Who is gone took with it what nobody had read.
            let gone = self.courses[at(role.peer())].gone;
            self.with(role, |book, connection| book.take_results(connection, gone));
        }
    }

    fn check_bounds(&mut self, role: Role) {
        let (gone, lied) = (self.courses[at(role)].gone, self.lied);
        let end = self.duet.end(role);
        if gone || lied {
            return;
        }
        let kept = end.inside().paths().iter().count();
        assert!(kept <= 2 * PATHS_MAX as usize, "{role:?}: {kept} paths kept");
        let (ids, tokens) = end.inside().cids_held();
        let most = IDS_PER_PATH_MAX * kept;
        assert!(ids <= most && tokens <= most, "{role:?}: {ids} IDs, {tokens} tokens for {kept} paths");
    }

    /// Did the connection end for a reason that is one? Asked once.
    fn check_reason(&mut self, role: Role) {
        let Some(reason) = &self.courses[at(role)].ended else { return };
        if std::mem::replace(&mut self.judged[at(role)], true) {
            return;
        }
        let peer = &self.courses[at(role.peer())];
        let silence = self.duet.now.since(self.heard_at[at(role)]);
        let fits = match reason {
            CloseReason::LocalApplication { code: 9 } => self.closed_by_app[at(role)],
            CloseReason::PeerApplication { code: 9, reason } => {
                self.closed_by_app[at(role.peer())] && reason == b"enough"
            }
            // The last path may be the one that the peer has just given up.
            CloseReason::LocalTransport(error) => {
                let pathless = self.courses[at(role)].standing() <= 1;
                self.lied || error.code == TransportErrorCode::NO_VIABLE_PATH && pathless
            }
            CloseReason::PeerTransport { code, .. } => {
                self.lied || *code == TransportErrorCode::NO_VIABLE_PATH && peer.ended.is_some()
            }
            CloseReason::IdleTimeout => {
                let healed = self.healed_at.is_some_and(|at| self.duet.now > at + IDLE_TIMEOUT);
                silence >= IDLE_TIMEOUT && (self.lied || peer.ended.is_some() || !healed)
            }
            CloseReason::StatelessReset => self.lied || peer.ended.is_some(),
            _ => false,
        };
        assert!(fits, "{role:?}: {reason}; silent for {silence:?}, the peer: {:?}", peer.ended);
    }

    /// The wire works again: all that was begun comes to its end.
    fn finish(mut self) {
        for number in 0..LINES {
            self.duet.cut(number, false);
            let line = self.duet.line(number);
            (line.up, line.down) = (ms(10), ms(10));
            let route = line.at_client(number);
            self.with(Role::Client, |_, connection| connection.add_local(route));
        }
        *self.faults.borrow_mut() = Faults::default();
        self.release(false);
        for role in BOTH {
            self.duet.end(role).unreachable.clear();
        }
        let healed_at = self.duet.now;
        self.healed_at = Some(healed_at);
        while let Some(what) = self.open_item() {
            let waited = self.duet.now.since(healed_at);
            assert!(waited < PATIENCE, "{what}, {waited:?} after all was well again");
            self.run_for(LOOK_EVERY);
            for role in BOTH {
                for number in 0..STREAMS {
                    self.with(role, |book, connection| book.read(connection, stream(number)));
                }
            }
        }
    }

    fn open_item(&self) -> Option<String> {
        let over = |course: &Course| course.ended.is_some();
        if self.courses.iter().any(over) {
            let waits = self.courses.iter().find(|course| !course.gone);
            return waits.map(|course| format!("{:?} is not gone", course.role()));
        }
        if self.lied {
            return None;
        }
        self.book.open_item().or_else(|| self.courses.iter().find_map(Course::open_item))
    }
}
