//! quinn and its forks in the race: a server and a client on one thread each.
//!
//! Each peer has this file as a module of its own, like `family`. CUBIC, GSO and the search for a larger datagram are
//! the stacks' defaults; windows and socket buffers are large enough for loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use interop_race::client::{Link, Stack, work};
use interop_race::options::{ClientOptions, ServerOptions};
use interop_race::server::answer;
use interop_race::tls::Memory;
use interop_race::{
    CONNECTION_WINDOW_BYTES, DATAGRAM_BYTES, Failure, IDLE_TIMEOUT, STREAM_WINDOW_BYTES, STREAMS_MAX, socket,
    tls,
};

use crate::family::{Client, In, Out};
use crate::stack::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use crate::stack::{
    ClientConfig, Connection, Endpoint, EndpointConfig, Incoming, MtuDiscoveryConfig, ServerConfig,
    TokioRuntime, TransportConfig,
};

/// Tuned for one server and its clients on one machine.
fn tuned() -> Result<Arc<TransportConfig>, Failure> {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(DATAGRAM_BYTES);
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(CONNECTION_WINDOW_BYTES.into())
        .send_window(CONNECTION_WINDOW_BYTES.into())
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        .max_idle_timeout(Some(IDLE_TIMEOUT.try_into()?))
        .mtu_discovery_config(Some(discovery));
    Ok(Arc::new(config))
}

fn endpoint(local: SocketAddr, server: Option<ServerConfig>) -> Result<Endpoint, Failure> {
    Ok(Endpoint::new(EndpointConfig::default(), server, socket(local)?, Arc::new(TokioRuntime))?)
}

/// Serves until it is killed.
pub async fn serve(options: ServerOptions) -> Result<(), Failure> {
    let crypto = QuicServerConfig::try_from(tls::server(&options.cert, &options.key)?)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(tuned()?);
    let endpoint = endpoint(options.listen, Some(config))?;
    println!("listening on {}", endpoint.local_addr()?);
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(connection(incoming));
    }
    Ok(())
}

async fn connection(incoming: Incoming) {
    let Ok(connection) = incoming.await else { return };
    let echoing = tokio::spawn(echo(connection.clone()));
    while let Ok((send, receive)) = connection.accept_bi().await {
        tokio::spawn(answer(Out(send), In(receive)));
    }
    echoing.abort();
}

async fn echo(connection: Connection) {
    while let Ok(bytes) = connection.read_datagram().await {
        if connection.send_datagram(bytes).is_err() {
            return;
        }
    }
}

/// Does a client's workload.
pub async fn drive(options: ClientOptions) -> Result<(), Failure> {
    let local = if options.target.ip().is_loopback() { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
    let endpoint = endpoint((local, 0).into(), None)?;
    let (transport, forgetful) = (tuned()?, Arc::new(QuicClientConfig::try_from(tls::client()?)?));
    work(Race { endpoint, target: options.target, transport, forgetful }, options.workload).await
}

struct Race {
    endpoint: Endpoint,
    target: SocketAddr,
    transport: Arc<TransportConfig>,
    /// TLS without a memory.
    forgetful: Arc<QuicClientConfig>,
}

impl Stack for Race {
    type Link = Client;
    type Memory = Memory;

    fn memory(&self) -> Option<Memory> {
        Memory::new().ok()
    }

    async fn connect(&self, memory: Option<&Memory>) -> Result<Client, Failure> {
        let crypto = match memory {
            Some(memory) => Arc::new(QuicClientConfig::try_from(memory.config())?),
            None => Arc::clone(&self.forgetful),
        };
        let mut config = ClientConfig::new(crypto);
        config.transport_config(Arc::clone(&self.transport));
        Ok(Client(self.endpoint.connect_with(config, self.target, tls::SERVER_NAME)?.await?))
    }

    async fn remembered(&self, memory: &Memory, _: &Client) -> Result<(), Failure> {
        memory.remembered().await;
        Ok(())
    }

    fn was_resumed(&self, memory: &Memory, _: &Client) -> bool {
        memory.was_resumed()
    }
}

impl Link for Client {
    fn close(&self) {
        self.0.close(0u32.into(), b"done");
    }

    fn datagram_bytes_max(&self) -> Option<usize> {
        self.0.max_datagram_size()
    }

    fn send_datagram(&self, bytes: Bytes) -> Result<(), Failure> {
        Ok(self.0.send_datagram(bytes)?)
    }

    async fn read_datagram(&self) -> Result<Bytes, Failure> {
        Ok(self.0.read_datagram().await?)
    }
}
