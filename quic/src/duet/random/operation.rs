//! What can happen to two endpoints: operations with small parameters, and how they are drawn.
//!
//! Owns the vocabulary. Every operation may come at any time; what it means when there is no such path or stream is
//! `play`'s to say. Those that mean less come first in each choice, for failures shrink towards them.

use proptest::prelude::*;

use crate::id::Role;

/// Lines, and so client addresses, that there are.
pub(super) const LINES: u16 = 8;

/// Path IDs that operations name: some more than are ever open at once, so that new ones are among them.
const PATHS: u32 = 14;

/// Streams that operations name: two of each kind of each end.
pub(super) const STREAMS: u8 = 8;

/// A case: paths that are open at the start, and what happens then.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) paths: u32,
    pub(super) operations: Vec<Operation>,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    Wait { ms: u64 },
    Open { line: u16, if_absent: bool, backup: bool },
    Abandon { by: Role, path: u32, code: u64 },
    Backup { by: Role, path: u32, backup: bool },
    Migrate { path: u32, line: u16 },
    AddLocal { line: u16 },
    LocalGone { line: u16 },
    UpdateKeys { by: Role },
    Close { by: Role },
    Write { by: Role, stream: u8, bytes: usize },
    Finish { by: Role, stream: u8 },
    Reset { by: Role, stream: u8 },
    Stop { by: Role, stream: u8 },
    Read { by: Role, stream: u8 },
    Datagram { by: Role, bytes: usize, on_path: Option<u32>, lifetime_ms: Option<u64> },
    Cut { line: u16, up: bool, down: bool },
    Delay { line: u16, up_ms: u64, down_ms: u64 },
    Mtu { line: u16, bytes: usize },
    Rebind { line: u16, port: u16 },
    Unreachable { by: Role, line: u16, unreachable: bool },
    Drop { from: Role, count: u32 },
    Repeat { from: Role, count: u32 },
    Hold { from: Role },
    Release { reversed: bool },
    Say { by: Role, path: u32, what: Odd },
}

/// What an end says without meaning it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Odd {
    Ping,
    Challenges {
        count: u8,
    },
    PathsBlocked {
        maximum: u64,
    },
    CidsBlocked {
        path: u64,
    },
    Status {
        path: u64,
        sequence: u64,
        backup: bool,
    },
    Abandon {
        path: u64,
        code: u64,
    },
    /// A new connection ID that is to take the place of all before it.
    Rotation {
        path: u32,
    },
    /// A lie: it does not take so many. The peer may be misled into a violation.
    MaxPathId {
        maximum: u64,
    },
    /// A lie: it goes on using the ID, or never had it.
    Retire {
        path: u64,
        sequence: u64,
    },
}

pub(super) fn cases() -> impl Strategy<Value = Case> {
    (1..=8_u32, prop::collection::vec(operation(), 1..120))
        .prop_map(|(paths, operations)| Case { paths, operations })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![12 => wait(), 12 => of_paths(), 14 => of_data(), 14 => of_wire(), 5 => of_mouth()]
}

fn role() -> impl Strategy<Value = Role> {
    any::<bool>().prop_map(|server| if server { Role::Server } else { Role::Client })
}

fn path() -> impl Strategy<Value = u32> {
    // Low ones are more often there.
    prop_oneof![4 => 0..4_u32, 2 => 0..8_u32, 1 => 0..PATHS]
}

fn code() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0x3e75..=0x3e77_u64, any::<u32>().prop_map(u64::from)]
}

fn wait() -> impl Strategy<Value = Operation> {
    let ms = prop_oneof![6 => 1..50_u64, 4 => 50..1000_u64, 2 => 1000..8000_u64, 1 => 8000..40_000_u64];
    ms.prop_map(|ms| Operation::Wait { ms })
}

fn of_paths() -> impl Strategy<Value = Operation> {
    prop_oneof![
        5 => (0..LINES, any::<bool>(), any::<bool>())
            .prop_map(|(line, if_absent, backup)| Operation::Open { line, if_absent, backup }),
        5 => (role(), path(), code()).prop_map(|(by, path, code)| Operation::Abandon { by, path, code }),
        3 => (role(), path(), any::<bool>())
            .prop_map(|(by, path, backup)| Operation::Backup { by, path, backup }),
        2 => (path(), 0..LINES).prop_map(|(path, line)| Operation::Migrate { path, line }),
        1 => (0..LINES).prop_map(|line| Operation::AddLocal { line }),
        1 => (0..LINES).prop_map(|line| Operation::LocalGone { line }),
        2 => role().prop_map(|by| Operation::UpdateKeys { by }),
    ]
}

fn of_data() -> impl Strategy<Value = Operation> {
    let stream = || 0..STREAMS;
    let bytes = prop_oneof![2 => 0..100_usize, 3 => 100..20_000_usize, 1 => 20_000..300_000_usize];
    let on_path = prop_oneof![Just(None), path().prop_map(Some)];
    let lifetime = prop_oneof![3 => Just(None), 1 => (0..500_u64).prop_map(Some)];
    prop_oneof![
        6 => (role(), stream(), bytes).prop_map(|(by, stream, bytes)| Operation::Write { by, stream, bytes }),
        3 => (role(), stream()).prop_map(|(by, stream)| Operation::Finish { by, stream }),
        1 => (role(), stream()).prop_map(|(by, stream)| Operation::Reset { by, stream }),
        1 => (role(), stream()).prop_map(|(by, stream)| Operation::Stop { by, stream }),
        3 => (role(), stream()).prop_map(|(by, stream)| Operation::Read { by, stream }),
        4 => (role(), 0..1450_usize, on_path, lifetime).prop_map(|(by, bytes, on_path, lifetime_ms)| {
            Operation::Datagram { by, bytes, on_path, lifetime_ms }
        }),
    ]
}

fn of_wire() -> impl Strategy<Value = Operation> {
    prop_oneof![
        5 => (0..LINES, any::<bool>(), any::<bool>())
            .prop_map(|(line, up, down)| Operation::Cut { line, up, down }),
        1 => (0..LINES, 0..300_u64, 0..300_u64)
            .prop_map(|(line, up_ms, down_ms)| Operation::Delay { line, up_ms, down_ms }),
        1 => (0..LINES, 1200..1500_usize).prop_map(|(line, bytes)| Operation::Mtu { line, bytes }),
        2 => (0..LINES, 5000..5100_u16).prop_map(|(line, port)| Operation::Rebind { line, port }),
        2 => (role(), 0..LINES, any::<bool>())
            .prop_map(|(by, line, unreachable)| Operation::Unreachable { by, line, unreachable }),
        3 => (role(), 1..20_u32).prop_map(|(from, count)| Operation::Drop { from, count }),
        2 => (role(), 1..20_u32).prop_map(|(from, count)| Operation::Repeat { from, count }),
        2 => role().prop_map(|from| Operation::Hold { from }),
        3 => any::<bool>().prop_map(|reversed| Operation::Release { reversed }),
    ]
}

fn of_mouth() -> impl Strategy<Value = Operation> {
    let any_path = || path().prop_map(u64::from);
    let what = prop_oneof![
        2 => Just(Odd::Ping),
        2 => (1..60_u8).prop_map(|count| Odd::Challenges { count }),
        2 => (0..8_u64).prop_map(|maximum| Odd::PathsBlocked { maximum }),
        2 => (0..8_u64).prop_map(|path| Odd::CidsBlocked { path }),
        3 => (0..8_u64, 0..100_u64, any::<bool>())
            .prop_map(|(path, sequence, backup)| Odd::Status { path, sequence, backup }),
        3 => (0..8_u64, code()).prop_map(|(path, code)| Odd::Abandon { path, code }),
        2 => path().prop_map(|path| Odd::Rotation { path }),
        1 => (7..40_u64).prop_map(|maximum| Odd::MaxPathId { maximum }),
        1 => (any_path(), 0..5_u64).prop_map(|(path, sequence)| Odd::Retire { path, sequence }),
    ];
    prop_oneof![
        20 => (role(), path(), what).prop_map(|(by, path, what)| Operation::Say { by, path, what }),
        1 => role().prop_map(|by| Operation::Close { by }),
    ]
}
