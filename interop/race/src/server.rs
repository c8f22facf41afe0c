//! The server's side of a stream, over any stack.
//!
//! The perf protocol as in `interop_perf::protocol`, but without a task of its own for the upload: a request of
//! 1 KB should cost what the stack costs.

use bytes::Bytes;
use interop_perf::protocol::{Receiving, Sending};

use crate::Failure;

/// Octets of a request: the bytes wanted, big endian.
pub const REQUEST_LEN: usize = 8;
/// What is written at once.
const CHUNK_BYTES: usize = 256 << 10;
static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

/// Up to `bytes` zeros, which cost nothing.
pub fn zeros(bytes: u64) -> Bytes {
    let len = usize::try_from(bytes).map_or(CHUNK_BYTES, |bytes| bytes.min(CHUNK_BYTES));
    Bytes::from_static(&ZEROS[..len])
}

/// Serves one stream.
pub async fn answer(mut send: impl Sending, mut receive: impl Receiving) -> Result<(), Failure> {
    let mut request = [0; REQUEST_LEN];
    let mut filled = 0;
    while filled < REQUEST_LEN {
        let bytes = receive.read().await?.ok_or("a stream ended within its request")?;
        let taken = bytes.len().min(REQUEST_LEN - filled);
        request[filled..filled + taken].copy_from_slice(&bytes[..taken]);
        filled += taken;
    }
    let wanted = u64::from_be_bytes(request);
    let drain = async {
        while receive.read().await?.is_some() {}
        Ok::<(), Failure>(())
    };
    if wanted == 0 {
        drain.await?;
        return send.finish();
    }
    let write = async {
        write_zeros(&mut send, wanted).await?;
        send.finish()
    };
    // Both at once: a client may read nothing before its upload is through, or the other way round.
    tokio::try_join!(write, drain).map(|_| ())
}

/// Writes so many zeros.
pub async fn write_zeros(send: &mut impl Sending, bytes: u64) -> Result<(), Failure> {
    let mut left = bytes;
    while left > 0 {
        let chunk = zeros(left);
        left -= chunk.len() as u64;
        send.write(chunk).await?;
    }
    Ok(())
}
