//! What a client and the runner say to each other: `ready`, a line to go, a result, the end.
//!
//! Owns standard input, by a thread of its own, so that waiting for it stops no connection.

use std::io::BufRead;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::Failure;
use crate::outcome::Outcome;

/// What the runner said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing new.
    Nothing,
    /// A line: go.
    Line,
    /// There will be no more.
    End,
}

/// A client's side.
#[derive(Debug)]
pub struct Conversation(UnboundedReceiver<()>);

impl Conversation {
    /// Begins to listen.
    pub fn new() -> Self {
        let (told, lines) = unbounded_channel();
        std::thread::spawn(move || {
            for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
                if told.send(()).is_err() {
                    break;
                }
            }
        });
        Self(lines)
    }

    /// Says that everything is prepared.
    pub fn say_ready(&self) {
        println!("ready");
    }

    /// What was heard since the last call, for programs that cannot wait.
    pub fn heard(&mut self) -> Heard {
        match self.0.try_recv() {
            Ok(()) => Heard::Line,
            Err(TryRecvError::Empty) => Heard::Nothing,
            Err(TryRecvError::Disconnected) => Heard::End,
        }
    }

    /// Says that everything is prepared, and waits for a line.
    pub async fn ready(&mut self) -> Result<(), Failure> {
        self.say_ready();
        self.0.recv().await.ok_or("the input ended before there was a line to go")?;
        Ok(())
    }

    /// Says the result.
    pub fn tell(&self, outcome: &Outcome) -> Result<(), Failure> {
        println!("{}", serde_json::to_string(outcome)?);
        Ok(())
    }

    /// Waits until the input ends.
    pub async fn over(mut self) {
        while self.0.recv().await.is_some() {}
    }
}

impl Default for Conversation {
    fn default() -> Self {
        Self::new()
    }
}
