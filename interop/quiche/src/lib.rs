//! quiche in the race, with BoringSSL, and a loop of its own: quiche has no sockets.
//!
//! Owns its settings. The loop (`engine`) is the leanest that its interface allows: trains by GSO, batches by
//! GRO and `recvmmsg` (`quinn-udp`), one lookup a datagram, and only connections that changed are visited.
#![cfg(feature = "stack")]

mod client;
mod engine;
mod server;

use boring::ssl::{SslContextBuilder, SslMethod};
use interop_perf::protocol::ALPN;
use interop_race::{
    CONNECTION_WINDOW_BYTES, DATAGRAM_BYTES, Failure, IDLE_TIMEOUT, STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use quiche::{Config, CongestionControlAlgorithm, PROTOCOL_VERSION};

pub use crate::client::drive;
pub use crate::server::serve;

/// Datagrams that wait on either side.
const DATAGRAMS_MAX: usize = 1024;

/// TLS with X25519 alone.
fn tls() -> Result<SslContextBuilder, Failure> {
    let mut tls = SslContextBuilder::new(SslMethod::tls())?;
    tls.set_curves_list("X25519")?;
    Ok(tls)
}

/// Tuned for one server and its clients on one machine.
fn tuned(tls: SslContextBuilder) -> Result<Config, Failure> {
    let mut config = Config::with_boring_ssl_ctx_builder(PROTOCOL_VERSION, tls)?;
    config.set_application_protos(&[ALPN])?;
    config.set_cc_algorithm(CongestionControlAlgorithm::CUBIC);
    // Its pacing is a hint for the kernel or a timer, and there is nothing to pace for on one machine.
    config.enable_pacing(false);
    config.set_max_send_udp_payload_size(DATAGRAM_BYTES.into());
    config.set_initial_max_data(CONNECTION_WINDOW_BYTES.into());
    config.set_max_connection_window(CONNECTION_WINDOW_BYTES.into());
    config.set_initial_max_stream_data_bidi_local(STREAM_WINDOW_BYTES.into());
    config.set_initial_max_stream_data_bidi_remote(STREAM_WINDOW_BYTES.into());
    config.set_max_stream_window(STREAM_WINDOW_BYTES.into());
    config.set_initial_max_streams_bidi(STREAMS_MAX.into());
    config.set_max_idle_timeout(u64::try_from(IDLE_TIMEOUT.as_millis())?);
    config.set_disable_active_migration(true);
    config.enable_dgram(true, DATAGRAMS_MAX, DATAGRAMS_MAX);
    Ok(config)
}
