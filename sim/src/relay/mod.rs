//! A relay: UDP datagrams of any peers over the simulator's links, on real sockets and the real clock.
//!
//! Owns the thread, the way commands reach it, and the handle that tests and the `relay` program hold. Each path is a
//! pair of addresses: what a client sends to `listen` goes over the way up to `target`, answers go over the way down.
//! To the target every client has an address of its own, as behind a NAT. Never looks inside a datagram.

mod cli;
mod clock;
mod command;
mod departures;
mod ends;
mod engine;
mod pipe;
mod sessions;
mod settings;
mod stats;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

pub use self::cli::{Instead, Options};
pub use self::command::{Command, Ways, Which};
use self::engine::Engine;
pub use self::pipe::{Drops, PipeStats, Traffic};
pub use self::sessions::SESSIONS_MAX;
pub use self::settings::{Change, LaneSettings};
pub use self::stats::{Applied, Lateness, PathStats as RelayPathStats, RelayStats};
use crate::network::Way;

/// Paths of one relay.
pub const PATHS_MAX: usize = 64;
/// Commands of a script.
pub const SCRIPT_MAX: usize = 1_024;
/// Commands that wait for the relay's thread; whoever has one more waits with it.
const MESSAGES_MAX: usize = 16;

/// What a relay does.
#[derive(Clone, Debug, Default)]
pub struct RelayConfig {
    /// Its paths; commands name them by their place here, from 0.
    pub paths: Vec<RelayPath>,
    /// Commands with their times after the first datagram.
    pub script: Vec<(Duration, Command)>,
    /// Decides which datagrams are lost, as far as their order repeats.
    pub seed: u64,
}

/// One path of a relay.
#[derive(Clone, Debug)]
pub struct RelayPath {
    /// Where clients send; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The server.
    pub target: SocketAddr,
    /// The address that the server sees; the system's choice unless given.
    pub source: Option<IpAddr>,
    /// From the clients to the server.
    pub up: LaneSettings,
    /// From the server to the clients.
    pub down: LaneSettings,
}

impl RelayPath {
    /// A path without limits from a port of the system's choice to `target`.
    pub fn to(listen: SocketAddr, target: SocketAddr) -> Self {
        let free = LaneSettings::default();
        Self { listen, target, source: None, up: free.clone(), down: free }
    }

    /// Changes both ways, or one.
    pub fn apply(&mut self, change: Change) {
        for way in change.ways().iter() {
            match way {
                Way::Up => self.up.apply(change),
                Way::Down => self.down.apply(change),
            }
        }
    }
}

/// A relay, before it runs.
#[derive(Debug)]
pub struct Relay;

/// A relay that runs; it ends when this is dropped.
#[derive(Debug)]
pub struct RelayHandle {
    messages: SyncSender<Message>,
    waker: Arc<OwnedFd>,
    listens: Vec<SocketAddr>,
    warnings: Vec<String>,
    thread: Option<JoinHandle<RelayStats>>,
}

/// What the thread is asked; the answer comes by the channel inside.
enum Message {
    Do(Command, SyncSender<Result<(), String>>),
    Describe(SyncSender<RelayStats>),
    Stop,
}

/// Why a relay does not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum RelayError {
    /// The configuration makes no sense.
    Config(String),
    /// An address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// The system refuses something else.
    System(io::Error),
}

impl Relay {
    /// Binds all sockets and starts the relay's thread; when this returns, datagrams are relayed.
    ///
    /// # Errors
    /// A configuration that makes no sense, or an address or thread that the system refuses.
    pub fn start(config: RelayConfig) -> Result<RelayHandle, RelayError> {
        let waker = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).map_err(system)?);
        let (messages, inbox): (_, Receiver<Message>) = sync_channel(MESSAGES_MAX);
        let engine = Engine::new(config, Arc::clone(&waker), inbox)?;
        let (listens, warnings) = (engine.listens(), engine.warnings().to_vec());
        let thread = std::thread::Builder::new().name("relay".to_owned()).spawn(|| engine.run());
        Ok(RelayHandle {
            messages,
            waker,
            listens,
            warnings,
            thread: Some(thread.map_err(RelayError::System)?),
        })
    }
}

impl RelayHandle {
    /// Where the relay listens, in the order of its paths, with the ports that the system chose.
    pub fn listen_addrs(&self) -> &[SocketAddr] {
        &self.listens
    }

    /// What its owner should know, though it works.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Does what the command says; when this returns, it is done.
    ///
    /// # Errors
    /// A path or session that is not there, an address that cannot be bound, or a relay that has ended.
    pub fn command(&self, command: Command) -> Result<(), String> {
        self.ask(|answer| Message::Do(command, answer)).ok_or("the relay has ended")?
    }

    /// Both ways of a path go dark: what waits and what comes is dropped, and nobody is told.
    ///
    /// # Errors
    /// As `command`.
    pub fn cut(&self, path: usize) -> Result<(), String> {
        self.command(Command::Cut(Which::One(path), Ways::Both))
    }

    /// One way of a path goes dark.
    ///
    /// # Errors
    /// As `command`.
    pub fn cut_way(&self, path: usize, way: Way) -> Result<(), String> {
        self.command(Command::Cut(Which::One(path), way.into()))
    }

    /// Both ways of a path work again.
    ///
    /// # Errors
    /// As `command`.
    pub fn restore(&self, path: usize) -> Result<(), String> {
        self.command(Command::Restore(Which::One(path), Ways::Both))
    }

    /// Every client of a path gets a new port towards the server; what comes to the old one is lost.
    ///
    /// # Errors
    /// As `command`.
    pub fn rebind(&self, path: usize) -> Result<(), String> {
        self.command(Command::Rebind { path: Which::One(path), client: None, source: None })
    }

    /// Changes settings of a path from now on; what waits leaves at a new rate too.
    ///
    /// # Errors
    /// As `command`.
    pub fn set(&self, path: usize, changes: Vec<Change>) -> Result<(), String> {
        self.command(Command::Set(Which::One(path), changes))
    }

    /// All numbers at this moment.
    ///
    /// # Errors
    /// A relay that has ended.
    pub fn stats(&self) -> Result<RelayStats, String> {
        self.ask(Message::Describe).ok_or_else(|| "the relay has ended".to_owned())
    }

    /// Ends the relay; what is on its way is dropped. Returns the last numbers.
    ///
    /// # Errors
    /// A relay whose thread failed.
    pub fn stop(mut self) -> Result<RelayStats, String> {
        self.end().unwrap_or_else(|| Err("the relay has ended".to_owned()))
    }

    fn ask<T>(&self, message: impl FnOnce(SyncSender<T>) -> Message) -> Option<T> {
        let (answer, wait) = sync_channel(1);
        self.messages.send(message(answer)).ok()?;
        self.wake();
        wait.recv().ok()
    }

    fn wake(&self) {
        // Fails only when the counter is full, and then the thread is about to wake anyway.
        let _ = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
    }

    fn end(&mut self) -> Option<Result<RelayStats, String>> {
        let thread = self.thread.take()?;
        let _ = self.messages.send(Message::Stop);
        self.wake();
        Some(thread.join().map_err(|_| "the relay's thread failed".to_owned()))
    }
}

impl Drop for RelayHandle {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

impl fmt::Display for RelayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(sentence) => f.write_str(sentence),
            Self::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::System(error) => write!(f, "the system refuses: {error}"),
        }
    }
}

impl std::error::Error for RelayError {}

fn system(error: rustix::io::Errno) -> RelayError {
    RelayError::System(error.into())
}
