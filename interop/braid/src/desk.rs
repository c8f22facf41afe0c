//! Where a script's thread leaves its wishes for the worker that has the connection, and waits for the answer.
//!
//! Owns the queue between them. What is refused for now and what for ever is decided here, from Braid's errors.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use braid_quic::{
    ConnectionGuard, OpenPathError, PathErrorCode, PathId, PathStage, PathStats, RouteId, UpdateError,
};
use interop_perf::report::PathReport;
use interop_perf::script::{Paths, Refusal};

/// A script's end.
#[derive(Clone, Debug)]
pub struct Remote(Sender<Wish>);

/// The worker's end.
#[derive(Debug)]
pub struct Desk {
    wishes: Receiver<Wish>,
    /// The route over each link.
    routes: Vec<RouteId>,
    /// The last numbers of every path.
    numbers: BTreeMap<PathId, PathReport>,
}

/// What the worker has to do itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Begin a download.
    Get(u64),
}

#[derive(Debug)]
enum Wish {
    Open(u8, SyncSender<Result<u32, Refusal>>),
    Do(Deed, SyncSender<Result<(), Refusal>>),
    Get(u64),
    Tell(SyncSender<(Vec<PathReport>, u64)>),
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Abandon(u32),
    Advise(u32, bool),
    Keys,
}

/// A desk for a connection with these routes, one for each link.
pub fn desk(routes: Vec<RouteId>) -> (Remote, Desk) {
    let (remote, wishes) = channel();
    (Remote(remote), Desk { wishes, routes, numbers: BTreeMap::new() })
}

impl Remote {
    /// The numbers of all paths ever used, and the key updates so far.
    pub fn numbers(&self) -> Option<(Vec<PathReport>, u64)> {
        self.ask(Wish::Tell)
    }

    fn ask<T>(&self, wish: impl FnOnce(SyncSender<T>) -> Wish) -> Option<T> {
        let (answer, wait) = sync_channel(1);
        self.0.send(wish(answer)).ok()?;
        wait.recv().ok()
    }

    fn deed(&self, deed: Deed) -> Result<(), Refusal> {
        self.ask(|answer| Wish::Do(deed, answer)).unwrap_or_else(gone)
    }
}

impl Paths for Remote {
    fn open(&mut self, link: u8) -> Result<u32, Refusal> {
        self.ask(|answer| Wish::Open(link, answer)).unwrap_or_else(gone)
    }

    fn abandon(&mut self, path: u32) -> Result<(), Refusal> {
        self.deed(Deed::Abandon(path))
    }

    fn advise(&mut self, path: u32, backup: bool) -> Result<(), Refusal> {
        self.deed(Deed::Advise(path, backup))
    }

    fn update_keys(&mut self) -> Result<(), Refusal> {
        self.deed(Deed::Keys)
    }

    fn get(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.0.send(Wish::Get(bytes)).or_else(|_| gone())
    }
}

impl Desk {
    /// Does what is wanted; what only the application can do is returned.
    pub fn serve(&mut self, connection: &mut ConnectionGuard<'_>) -> Vec<Errand> {
        self.note(connection);
        let mut errands = Vec::new();
        while let Ok(wish) = self.wishes.try_recv() {
            match wish {
                Wish::Open(link, answer) => drop(answer.send(self.open(connection, link))),
                Wish::Do(deed, answer) => drop(answer.send(perform(connection, deed))),
                Wish::Get(bytes) => errands.push(Errand::Get(bytes)),
                Wish::Tell(answer) => {
                    let numbers = self.numbers.values().cloned().collect();
                    let _ = answer.send((numbers, connection.stats().key_updates));
                }
            }
        }
        errands
    }

    /// Remembers the numbers of paths while they exist.
    fn note(&mut self, connection: &ConnectionGuard<'_>) {
        for path in connection.paths() {
            if let Some(stats) =
                connection.path_stats(path).filter(|stats| stats.stage != PathStage::Reserved)
            {
                self.numbers.insert(path, report(&stats));
            }
        }
    }

    fn open(&self, connection: &mut ConnectionGuard<'_>, link: u8) -> Result<u32, Refusal> {
        let route = self.routes.get(usize::from(link));
        let route = *route.ok_or_else(|| Refusal::Never(format!("there is no link {link}")))?;
        connection.open_path(route).map(|path| path.0).map_err(|error| match error {
            OpenPathError::NotConfirmed | OpenPathError::PeerLimit | OpenPathError::OwnLimit => {
                Refusal::Later(error.to_string())
            }
            error => Refusal::Never(error.to_string()),
        })
    }
}

fn perform(connection: &mut ConnectionGuard<'_>, deed: Deed) -> Result<(), Refusal> {
    let never = |error: &dyn std::fmt::Display| Refusal::Never(error.to_string());
    match deed {
        Deed::Abandon(path) => connection
            .abandon_path(PathId(path), PathErrorCode::APPLICATION_ABANDON_PATH)
            .map_err(|error| never(&error)),
        Deed::Advise(path, backup) => {
            connection.set_path_backup(PathId(path), backup).map_err(|error| never(&error))
        }
        Deed::Keys => connection.update_keys().map_err(|error| match error {
            UpdateError::NotConfirmed | UpdateError::Unacknowledged | UpdateError::TooEarly { .. } => {
                Refusal::Later(error.to_string())
            }
        }),
    }
}

fn report(stats: &PathStats) -> PathReport {
    let rtt = stats.rtt_smoothed.unwrap_or_default();
    PathReport {
        id: stats.id.0.to_string(),
        bytes_sent: stats.bytes_sent,
        bytes_received: stats.bytes_received,
        packets_lost: stats.packets_lost,
        rtt_us: u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX),
    }
}

fn gone<T>() -> Result<T, Refusal> {
    Err(Refusal::Never("the connection is gone".to_owned()))
}
