//! quinn and its forks: the endpoints, streams and loops that are the same in all of them.
//!
//! Each peer has this file as a module of its own, for its own `crate::stack`: the types are others, their names and
//! methods are not. Where these differ (`crate::read`) and what a stack adds (paths) is the peer's. Tuned as users would for
//! bulk transfer: large windows and socket buffers; GSO, path MTU discovery and CUBIC are the stacks' defaults.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use interop_perf::protocol::{Opening, Receiving, Sending};
use interop_perf::{
    CONNECTION_WINDOW_BYTES, Failure, IDLE_TIMEOUT, STREAM_WINDOW_BYTES, protocol, socket, tls, with_causes,
};

use crate::stack::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use crate::stack::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, Incoming, RecvStream, SendStream,
    ServerConfig, TokioRuntime, TransportConfig,
};

/// The sending half of a stream.
#[derive(Debug)]
pub struct Out(pub SendStream);

/// The receiving half of a stream.
#[derive(Debug)]
pub struct In(pub RecvStream);

/// A client's connection.
#[derive(Clone, Debug)]
pub struct Client(pub Connection);

/// An endpoint that accepts connections.
pub fn server(listen: SocketAddr, transport: TransportConfig) -> Result<Endpoint, Failure> {
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls::server()?)?));
    config.transport_config(Arc::new(transport));
    endpoint(listen, Some(config))
}

/// A connection to `target`, and its endpoint.
pub async fn connect(
    local: SocketAddr,
    target: SocketAddr,
    transport: TransportConfig,
) -> Result<(Endpoint, Client), Failure> {
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls::client()?)?));
    config.transport_config(Arc::new(transport));
    let endpoint = endpoint(local, None)?;
    let connection = endpoint.connect_with(config, target, tls::SERVER_NAME)?.await?;
    Ok((endpoint, Client(connection)))
}

fn endpoint(local: SocketAddr, server: Option<ServerConfig>) -> Result<Endpoint, Failure> {
    let socket = socket(local)?;
    Ok(Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime))?)
}

/// The settings that all have in common.
pub fn tuned() -> Result<TransportConfig, Failure> {
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(CONNECTION_WINDOW_BYTES.into())
        .send_window(CONNECTION_WINDOW_BYTES.into())
        .max_idle_timeout(Some(IDLE_TIMEOUT.try_into()?));
    Ok(config)
}

/// Serves all connections, and says in `name` what goes wrong.
pub async fn serve(name: &'static str, endpoint: &Endpoint) -> Result<(), Failure> {
    println!("listening on {}", endpoint.local_addr()?);
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(connection(name, incoming));
    }
    Ok(())
}

async fn connection(name: &'static str, incoming: Incoming) {
    let remote = incoming.remote_address();
    let end = match incoming.await {
        Ok(connection) => streams(name, &connection).await,
        Err(error) => error,
    };
    tell_end(name, remote, &end);
}

/// Answers all requests on a connection until it ends.
pub async fn streams(name: &'static str, connection: &Connection) -> ConnectionError {
    loop {
        match connection.accept_bi().await {
            Ok((send, receive)) => drop(tokio::spawn(stream(name, Out(send), In(receive)))),
            Err(error) => return error,
        }
    }
}

async fn stream(name: &str, send: Out, receive: In) {
    if let Err(failure) = protocol::answer(send, receive).await {
        eprintln!("{name}: a stream ended: {}", with_causes(failure.as_ref()));
    }
}

/// Says how a connection ended, unless its client was done with it.
pub fn tell_end(name: &str, remote: SocketAddr, end: &ConnectionError) {
    match end {
        ConnectionError::ApplicationClosed(close) if close.error_code == 0u32.into() => {}
        error => eprintln!("{name}: the connection from {remote} ended: {}", with_causes(error)),
    }
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
        crate::read(&mut self.0).await
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
