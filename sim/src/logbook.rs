//! A log kept in memory, for tests and for tools that write it where they like.
//!
//! Owns the bytes of one or several connections' logs, in the order in which chunks were handed over, and a limit. What
//! is in them is `braid_quic::log::qlog`'s.

use std::sync::{Arc, Mutex, PoisonError};

use braid_quic::log::qlog::{Chunk, Outlet};

/// Lines that connections handed over. Copies share the lines.
#[derive(Clone, Debug)]
pub struct Logbook {
    bytes: Arc<Mutex<Vec<u8>>>,
    bytes_max: usize,
}

impl Logbook {
    /// An empty book that takes chunks as long as they make no more than `bytes_max`; the log then says what is missing.
    pub fn with_room(bytes_max: usize) -> Self {
        Self { bytes: Arc::default(), bytes_max }
    }

    /// Takes out what was written so far.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Outlet for Logbook {
    fn offer(&self, chunk: Chunk) -> Result<(), Chunk> {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes.len() + chunk.as_bytes().len() > self.bytes_max {
            return Err(chunk);
        }
        bytes.extend_from_slice(chunk.as_bytes());
        Ok(())
    }
}
