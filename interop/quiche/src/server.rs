//! The server's side of the perf protocol over quiche, and datagrams that go back.
//!
//! Owns a small record for each open stream.

use std::collections::HashMap;
use std::time::Duration;

use interop_race::Failure;
use interop_race::options::ServerOptions;
use interop_race::server::{REQUEST_LEN, zeros};
use quiche::{Connection, Error};

use crate::engine::{Application, Batch, Engine, Key};

/// Nothing but the network wakes a server.
const LIMIT: Duration = Duration::from_secs(3600);
/// What is read of a stream at once.
const READ_BYTES: usize = 64 << 10;

/// Serves until it is killed.
pub fn serve(options: &ServerOptions) -> Result<(), Failure> {
    let mut tls = crate::tls()?;
    tls.set_certificate_chain_file(&options.cert)?;
    tls.set_private_key_file(&options.key, boring::ssl::SslFiletype::PEM)?;
    let mut engine = Engine::new(options.listen, crate::tuned(tls)?, true)?;
    println!("listening on {}", engine.local_addr());
    let mut server = Server { jobs: HashMap::new(), buffer: vec![0; READ_BYTES] };
    let mut batch = Batch::new();
    loop {
        engine.turn(&mut server, &mut batch, LIMIT)?;
    }
}

struct Server {
    jobs: HashMap<Key, HashMap<u64, Job>>,
    buffer: Vec<u8>,
}

/// One stream.
#[derive(Default)]
struct Job {
    request: [u8; REQUEST_LEN],
    request_len: usize,
    uploaded: bool,
    /// Bytes of the answer that are still to be handed over, once they are known.
    owed: Option<u64>,
    given: bool,
}

impl Application for Server {
    fn on_turn(&mut self, key: Key, connection: &mut Connection) {
        if connection.dgram_recv_queue_len() > 0 {
            while let Ok(len) = connection.dgram_recv(&mut self.buffer) {
                let _ = connection.dgram_send(&self.buffer[..len]);
            }
        }
        let jobs = self.jobs.entry(key).or_default();
        for stream in connection.readable() {
            jobs.entry(stream).or_default().read(connection, stream, &mut self.buffer);
        }
        // Those that were just asked for are writable too.
        jobs.retain(|stream, job| {
            job.write(connection, *stream);
            !(job.uploaded && job.given)
        });
    }

    fn on_gone(&mut self, key: Key) {
        self.jobs.remove(&key);
    }
}

impl Job {
    fn read(&mut self, connection: &mut Connection, stream: u64, buffer: &mut [u8]) {
        loop {
            match connection.stream_recv(stream, buffer) {
                Ok((len, fin)) => {
                    let taken = len.min(REQUEST_LEN - self.request_len);
                    self.request[self.request_len..][..taken].copy_from_slice(&buffer[..taken]);
                    self.request_len += taken;
                    if taken > 0 && self.request_len == REQUEST_LEN {
                        self.owed = Some(u64::from_be_bytes(self.request));
                    }
                    self.uploaded |= fin;
                    if fin {
                        return;
                    }
                }
                Err(Error::Done) => return,
                Err(_) => {
                    (self.uploaded, self.given) = (true, true);
                    return;
                }
            }
        }
    }

    fn write(&mut self, connection: &mut Connection, stream: u64) {
        let Some(owed) = &mut self.owed else { return };
        // Nothing to say is said when the upload is here, as the other servers do it.
        if self.given || (*owed == 0 && !self.uploaded) {
            return;
        }
        loop {
            let chunk = zeros(*owed);
            let last = chunk.len() as u64 == *owed;
            match connection.stream_send(stream, &chunk, last) {
                Ok(len) => {
                    *owed -= len as u64;
                    if last && len == chunk.len() {
                        self.given = true;
                        return;
                    }
                    if len < chunk.len() {
                        return;
                    }
                }
                Err(Error::Done) => return,
                Err(_) => {
                    self.given = true;
                    return;
                }
            }
        }
    }
}
