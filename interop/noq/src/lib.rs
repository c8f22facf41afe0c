//! noq as a peer: its settings, its streams and its endpoint, for the server and the client.
//!
//! Tuned as its users would for bulk transfer: large windows and socket buffers, multipath on; GSO, path MTU discovery
//! and CUBIC are its defaults.

mod paths;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use interop_perf::protocol::{Opening, Receiving, Sending};
use interop_perf::{CONNECTION_WINDOW_BYTES, Failure, IDLE_TIMEOUT, STREAM_WINDOW_BYTES, socket, tls};
use noq::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use noq::{Connection, Endpoint, EndpointConfig, RecvStream, SendStream, TokioRuntime, TransportConfig};

pub use crate::paths::{ScriptedPaths, listen, path_report};

/// A path on which nothing came for this long is pinged, so that the peer learns of a new address of ours.
const PATH_KEEP_ALIVE: Duration = Duration::from_millis(200);
/// What is read at once.
const READ_BYTES: usize = 1 << 20;

/// The sending half of a stream.
#[derive(Debug)]
pub struct Out(pub SendStream);

/// The receiving half of a stream.
#[derive(Debug)]
pub struct In(pub RecvStream);

/// A client's connection.
#[derive(Clone, Debug)]
pub struct Client(pub Connection);

/// An endpoint that accepts connections with up to `paths` paths; with 1 it offers no multipath.
pub fn server(listen: SocketAddr, paths: u32) -> Result<Endpoint, Failure> {
    let mut config = noq::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls::server()?)?));
    config.transport_config(transport(paths)?);
    endpoint(listen, Some(config))
}

/// An endpoint that makes connections with up to `paths` paths; with 1 it offers no multipath.
pub fn client(local: SocketAddr, paths: u32) -> Result<Endpoint, Failure> {
    let mut config = noq::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls::client()?)?));
    config.transport_config(transport(paths)?);
    let endpoint = endpoint(local, None)?;
    endpoint.set_default_client_config(config);
    Ok(endpoint)
}

fn endpoint(local: SocketAddr, server: Option<noq::ServerConfig>) -> Result<Endpoint, Failure> {
    let socket = socket(local)?;
    Ok(Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime))?)
}

fn transport(paths: u32) -> Result<Arc<TransportConfig>, Failure> {
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(CONNECTION_WINDOW_BYTES.into())
        .send_window(CONNECTION_WINDOW_BYTES.into())
        .max_idle_timeout(Some(IDLE_TIMEOUT.try_into()?));
    if paths > 1 {
        config.max_concurrent_multipath_paths(paths);
        config.default_path_keep_alive_interval(Some(PATH_KEEP_ALIVE));
    }
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
        Ok(self.0.read_chunk(READ_BYTES).await?)
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
