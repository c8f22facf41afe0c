//! s2n-quic in the race, with s2n-tls, its default on Linux.
//!
//! Tuned as `interop_race` says; CUBIC, GSO and GRO are its defaults. Datagrams and resumption are features that
//! s2n-quic calls unstable; its client has no way to bring a ticket, so that only its server is resumed.
#![cfg(feature = "stack")]

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use bytes::Bytes;
use interop_perf::protocol::{ALPN, Opening, Receiving, Sending};
use interop_race::client::{Link, Stack, work};
use interop_race::options::{ClientOptions, ServerOptions};
use interop_race::server::answer;
use interop_race::{
    CONNECTION_WINDOW_BYTES, DATAGRAM_BYTES, Failure, IDLE_TIMEOUT, STREAM_WINDOW_BYTES, STREAMS_MAX,
    Unsupported, socket, tls,
};
use s2n_quic::client::Connect;
use s2n_quic::connection::Handle;
use s2n_quic::provider::datagram::default::{Endpoint as Datagrams, Receiver, Sender};
use s2n_quic::provider::io::tokio::Provider as Io;
use s2n_quic::provider::limits::Limits;
use s2n_quic::provider::tls::s2n_tls::{Client as ClientTls, Server as ServerTls};
use s2n_quic::stream::{ReceiveStream, SendStream};
use s2n_quic::{Client, Connection, Server};
use s2n_tls::security::Policy;

/// TLS 1.3 with AES-128-GCM and X25519 first.
const POLICY: &str = "20210825";
/// Headers of IP and UDP, which s2n-quic counts.
const HEADERS_BYTES: u16 = 28;
/// Datagrams that wait on either side.
const DATAGRAMS_MAX: usize = 1024;

fn policy() -> Result<Policy, Failure> {
    Ok(Policy::from_version(POLICY)?)
}

fn limits() -> Result<Limits, Failure> {
    Ok(Limits::new()
        .with_data_window(CONNECTION_WINDOW_BYTES.into())?
        .with_bidirectional_local_data_window(STREAM_WINDOW_BYTES.into())?
        .with_bidirectional_remote_data_window(STREAM_WINDOW_BYTES.into())?
        .with_max_send_buffer_size(STREAM_WINDOW_BYTES)?
        .with_max_open_local_bidirectional_streams(STREAMS_MAX.into())?
        .with_max_open_remote_bidirectional_streams(STREAMS_MAX.into())?
        .with_max_idle_timeout(IDLE_TIMEOUT)?)
}

fn io(local: SocketAddr) -> Result<Io, Failure> {
    let socket = socket(local)?;
    let io = Io::builder().with_rx_socket(socket.try_clone()?)?.with_tx_socket(socket)?;
    Ok(io.with_max_mtu(DATAGRAM_BYTES + HEADERS_BYTES)?.build()?)
}

fn datagrams() -> Result<Datagrams, Failure> {
    let builder =
        Datagrams::builder().with_send_capacity(DATAGRAMS_MAX).map_err(|error| error.to_string())?;
    let builder = builder.with_recv_capacity(DATAGRAMS_MAX).map_err(|error| error.to_string())?;
    builder.build().map_err(|never| match never {})
}

/// Serves until it is killed.
pub async fn serve(options: ServerOptions) -> Result<(), Failure> {
    let mut tls = ServerTls::builder()
        .with_certificate(options.cert.as_path(), options.key.as_path())?
        .with_application_protocols([ALPN])?;
    // Any key will do: nobody but this process reads these tickets.
    let config = tls.config_mut().set_security_policy(&policy()?)?;
    config.enable_session_tickets(true)?.add_session_ticket_key(b"race", &[7; 32], SystemTime::now())?;
    let mut server = Server::builder()
        .with_tls(tls.build()?)?
        .with_io(io(options.listen)?)?
        .with_limits(limits()?)?
        .with_datagram(datagrams()?)?
        .start()?;
    println!("listening on {}", server.local_addr()?);
    while let Some(connection) = server.accept().await {
        tokio::spawn(serve_connection(connection));
    }
    Ok(())
}

async fn serve_connection(mut connection: Connection) {
    let echoing = tokio::spawn(echo(connection.handle()));
    while let Ok(Some(stream)) = connection.accept_bidirectional_stream().await {
        let (receive, send) = stream.split();
        tokio::spawn(answer(Out(send), In(receive)));
    }
    echoing.abort();
}

async fn echo(handle: Handle) {
    while let Ok(bytes) = read_datagram(&handle).await {
        if send_datagram(&handle, bytes).is_err() {
            return;
        }
    }
}

async fn read_datagram(handle: &Handle) -> Result<Bytes, Failure> {
    poll_fn(|context| {
        let asked = handle.datagram_mut(|receiver: &mut Receiver| receiver.poll_recv_datagram(context));
        match asked {
            Ok(poll) => poll.map_err(|error| error.to_string().into()),
            Err(error) => std::task::Poll::Ready(Err(error.into())),
        }
    })
    .await
}

fn send_datagram(handle: &Handle, bytes: Bytes) -> Result<(), Failure> {
    let sent = handle.datagram_mut(|sender: &mut Sender| sender.send_datagram_forced(bytes))?;
    sent.map(drop).map_err(|error| error.to_string().into())
}

/// Does a client's workload.
pub async fn drive(options: ClientOptions) -> Result<(), Failure> {
    let cert = options.cert.ok_or("say which certificate to trust: --cert FILE")?;
    let mut tls =
        ClientTls::builder().with_certificate(cert.as_path())?.with_application_protocols([ALPN])?;
    tls.config_mut().set_security_policy(&policy()?)?;
    let local = if options.target.ip().is_loopback() { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
    let client = Client::builder()
        .with_tls(tls.build()?)?
        .with_io(io((local, 0).into())?)?
        .with_limits(limits()?)?
        .with_datagram(datagrams()?)?
        .start()?;
    work(Race { client, target: options.target }, options.workload).await
}

struct Race {
    client: Client,
    target: SocketAddr,
}

#[derive(Clone)]
struct Peer(Handle);

struct Out(SendStream);
struct In(ReceiveStream);

/// It never is.
#[derive(Clone, Copy)]
enum Memory {}

impl Stack for Race {
    type Link = Peer;
    type Memory = Memory;

    fn memory(&self) -> Option<Memory> {
        None
    }

    async fn connect(&self, _: Option<&Memory>) -> Result<Peer, Failure> {
        let to = Connect::new(self.target).with_server_name(tls::SERVER_NAME);
        Ok(Peer(self.client.connect(to).await?.handle()))
    }

    async fn remembered(&self, memory: &Memory, _: &Peer) -> Result<(), Failure> {
        match *memory {}
    }

    fn was_resumed(&self, memory: &Memory, _: &Peer) -> bool {
        match *memory {}
    }
}

impl Link for Peer {
    fn close(&self) {
        self.0.close(0u32.into());
    }

    fn datagram_bytes_max(&self) -> Option<usize> {
        // What s2n-quic does not tell, sending does.
        Some(usize::from(DATAGRAM_BYTES))
    }

    fn send_datagram(&self, bytes: Bytes) -> Result<(), Failure> {
        send_datagram(&self.0, bytes)
            .map_err(|error| Unsupported(format!("the server takes no such datagrams: {error}")).into())
    }

    async fn read_datagram(&self) -> Result<Bytes, Failure> {
        read_datagram(&self.0).await
    }
}

impl Opening for Peer {
    type Send = Out;
    type Receive = In;

    async fn open(&self) -> Result<(Out, In), Failure> {
        let (receive, send) = self.0.clone().open_bidirectional_stream().await?.split();
        Ok((Out(send), In(receive)))
    }
}

impl Sending for Out {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Failure> {
        Ok(self.0.send(bytes).await?)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        Ok(self.0.finish()?)
    }
}

impl Receiving for In {
    async fn read(&mut self) -> Result<Option<Bytes>, Failure> {
        Ok(self.0.receive().await?)
    }
}
