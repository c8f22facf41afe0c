//! The perf protocol over any stack (draft-banks-quic-performance §2).
//!
//! A client opens a bidirectional stream and starts it with eight octets, the bytes it wants, big endian; the rest is
//! upload. The server answers with that many bytes. Ours are zeros, as Braid's are, and clients check every one.
//! Owns no connection: a stack lends its streams through two small traits.

use std::future::Future;
use std::time::Instant;

use bytes::Bytes;

use crate::options::ClientOptions;
use crate::report::Report;
use crate::script::Log;
use crate::{Failure, with_causes};

/// The name by which both ends agree on this protocol.
pub const ALPN: &[u8] = b"perf";

/// Octets of a request.
const REQUEST_LEN: usize = 8;
/// What is written at once.
const CHUNK: Bytes = Bytes::from_static(&[0; CHUNK_BYTES]);
const CHUNK_BYTES: usize = 64 << 10;

/// The sending half of a stream.
pub trait Sending: Send + 'static {
    /// Waits until all `bytes` are taken.
    fn write(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Says that this was all.
    fn finish(&mut self) -> Result<(), Failure>;
}

/// The receiving half of a stream.
pub trait Receiving: Send + 'static {
    /// The next bytes in order; `None` at the end.
    fn read(&mut self) -> impl Future<Output = Result<Option<Bytes>, Failure>> + Send;
}

/// A client's connection.
pub trait Opening {
    /// The sending halves of its streams.
    type Send: Sending;
    /// Their receiving halves.
    type Receive: Receiving;

    /// Opens a bidirectional stream, as soon as the server allows one more.
    fn open(&self) -> impl Future<Output = Result<(Self::Send, Self::Receive), Failure>>;
}

/// Serves one stream.
pub async fn answer(mut send: impl Sending, mut receive: impl Receiving) -> Result<(), Failure> {
    let mut request = Vec::with_capacity(REQUEST_LEN);
    while request.len() < REQUEST_LEN {
        let bytes = receive.read().await?.ok_or("a stream ended within its request")?;
        let taken = bytes.len().min(REQUEST_LEN - request.len());
        request.extend_from_slice(&bytes[..taken]);
    }
    let wanted = u64::from_be_bytes(request.as_slice().try_into()?);
    // Both directions at once: a client may read nothing before its upload is through, or the other way round.
    let upload = tokio::spawn(async move {
        while receive.read().await?.is_some() {}
        Ok::<(), Failure>(())
    });
    write_zeros(&mut send, wanted).await?;
    send.finish()?;
    upload.await?
}

/// Makes all requests of a run at once and checks the answers; the report has no paths yet.
pub async fn ask<O: Opening>(connection: &O, options: &ClientOptions) -> Result<Report, Failure> {
    let start = Instant::now();
    let mut requests = Vec::new();
    for _ in 0..options.streams {
        let (send, receive) = connection.open().await?;
        requests.push(tokio::spawn(request(send, receive, options.download_bytes, options.upload_bytes)));
    }
    let mut report = Report::default();
    for request in requests {
        report.bytes_received += request.await??;
        report.bytes_sent += options.upload_bytes;
        report.requests += 1;
    }
    Ok(report.over(start.elapsed()))
}

/// Makes one request of a script, and tells `log` how it goes.
pub async fn download<O: Opening>(connection: &O, download_bytes: u64, log: &Log) {
    let result = async {
        let (mut send, receive) = connection.open().await?;
        send.write(Bytes::copy_from_slice(&download_bytes.to_be_bytes())).await?;
        send.finish()?;
        check_answer(receive, download_bytes, |bytes| log.on_received(bytes)).await
    };
    log.on_done(result.await.map_err(|failure| with_causes(failure.as_ref())));
}

/// Makes one request; returns the bytes of the answer once it is complete and as it should be.
async fn request(
    mut send: impl Sending,
    receive: impl Receiving,
    download_bytes: u64,
    upload_bytes: u64,
) -> Result<u64, Failure> {
    let upload = tokio::spawn(async move {
        send.write(Bytes::copy_from_slice(&download_bytes.to_be_bytes())).await?;
        write_zeros(&mut send, upload_bytes).await?;
        send.finish()
    });
    check_answer(receive, download_bytes, |_| {}).await?;
    upload.await??;
    Ok(download_bytes)
}

/// Reads an answer to its end; it must be zeros, and as many as were asked for.
async fn check_answer(
    mut receive: impl Receiving,
    download_bytes: u64,
    mut on_bytes: impl FnMut(u64),
) -> Result<(), Failure> {
    let mut received_bytes = 0;
    while let Some(bytes) = receive.read().await? {
        if !is_zeros(&bytes) {
            return Err(format!("the answer is not all zeros, from byte {received_bytes} on").into());
        }
        received_bytes += bytes.len() as u64;
        on_bytes(bytes.len() as u64);
    }
    if received_bytes == download_bytes {
        Ok(())
    } else {
        Err(format!("asked for {download_bytes} bytes and got {received_bytes}").into())
    }
}

async fn write_zeros(send: &mut impl Sending, bytes: u64) -> Result<(), Failure> {
    let mut left = bytes;
    while left > 0 {
        let chunk = CHUNK.slice(..usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES)));
        left -= chunk.len() as u64;
        send.write(chunk).await?;
    }
    Ok(())
}

/// Are all `bytes` zeros? Compared in large pieces, which costs next to nothing.
pub fn is_zeros(bytes: &[u8]) -> bool {
    bytes.chunks(CHUNK_BYTES).all(|piece| *piece == CHUNK[..piece.len()])
}

#[cfg(test)]
mod tests;
