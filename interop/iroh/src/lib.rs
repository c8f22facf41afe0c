//! iroh-quinn 0.15 as a peer: multipath by the provisional code points of an older draft, from before it became noq.
//!
//! It offers several paths by the transport parameter 0x0f739bbc1b666d0c and knows no other, so a peer of today has to
//! take it for a stack without multipath. Tuned like the others.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use interop_perf::protocol::{Opening, Receiving, Sending};
use interop_perf::{CONNECTION_WINDOW_BYTES, Failure, IDLE_TIMEOUT, STREAM_WINDOW_BYTES, socket, tls};
use iroh_quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use iroh_quinn::{
    Connection, Endpoint, EndpointConfig, RecvStream, SendStream, TokioRuntime, TransportConfig,
};

/// Paths that it offers.
const PATHS: u32 = 8;
/// What is read at once.
const READ_BYTES: usize = 1 << 20;

/// The sending half of a stream.
#[derive(Debug)]
pub struct Out(pub SendStream);

/// The receiving half of a stream.
#[derive(Debug)]
pub struct In(pub RecvStream);

/// A client's connection.
#[derive(Debug)]
pub struct Client(pub Connection);

/// An endpoint that accepts connections.
pub fn server(listen: SocketAddr) -> Result<Endpoint, Failure> {
    let mut config =
        iroh_quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls::server()?)?));
    config.transport_config(transport()?);
    endpoint(listen, Some(config))
}

/// An endpoint that makes connections.
pub fn client(local: SocketAddr) -> Result<Endpoint, Failure> {
    let mut config = iroh_quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls::client()?)?));
    config.transport_config(transport()?);
    let mut endpoint = endpoint(local, None)?;
    endpoint.set_default_client_config(config);
    Ok(endpoint)
}

fn endpoint(local: SocketAddr, server: Option<iroh_quinn::ServerConfig>) -> Result<Endpoint, Failure> {
    let socket = socket(local)?;
    Ok(Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime))?)
}

fn transport() -> Result<Arc<TransportConfig>, Failure> {
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(CONNECTION_WINDOW_BYTES.into())
        .send_window(CONNECTION_WINDOW_BYTES.into())
        .max_idle_timeout(Some(IDLE_TIMEOUT.try_into()?))
        .max_concurrent_multipath_paths(PATHS);
    Ok(Arc::new(config))
}

impl Sending for Out {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Failure> {
        Ok(self.0.write_chunk(bytes).await?)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        Ok(self.0.finish()?)
    }
}

impl Receiving for In {
    async fn read(&mut self) -> Result<Option<Bytes>, Failure> {
        Ok(self.0.read_chunk(READ_BYTES).await?.map(|chunk| chunk.bytes))
    }
}

impl Opening for Client {
    type Send = Out;
    type Receive = In;

    async fn open(&self) -> Result<(Out, In), Failure> {
        let (send, receive) = self.0.open_bi().await?;
        Ok((Out(send), In(receive)))
    }
}
