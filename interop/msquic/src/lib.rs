//! msquic's server in the race, over the callbacks of its own crate and with its own OpenSSL (quictls).
//!
//! Low-latency profile, on the core that the process is pinned to; no copies of what is sent, as its own benchmark has
//! it. Datagrams and a client are not here. The only `unsafe` of this workspace: what is lent to C, and handles.
#![cfg(feature = "stack")]
#![expect(unsafe_code, reason = "msquic takes buffers and handles by pointer; nothing else here does")]

use std::ffi::c_void;
use std::ptr::{from_ref, null};
use std::sync::Arc;

use interop_race::options::ServerOptions;
use interop_race::server::{REQUEST_LEN, zeros};
use interop_race::{
    CONNECTION_WINDOW_BYTES, DATAGRAM_BYTES, Failure, IDLE_TIMEOUT, STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use msquic::ffi::{
    QUIC_GLOBAL_EXECUTION_CONFIG, QUIC_PARAM_CONFIGURATION_SETTINGS, QUIC_PARAM_GLOBAL_EXECUTION_CONFIG,
};
use msquic::{
    Addr, Api, BufferRef, CertificateFile, Configuration, Connection, ConnectionEvent, ConnectionRef,
    Credential, CredentialConfig, ExecutionProfile, Listener, ListenerEvent, Registration,
    RegistrationConfig, SendFlags, ServerResumptionLevel, Settings, Status, Stream, StreamEvent, StreamRef,
    StreamShutdownFlags,
};

/// Headers of IP and UDP, which msquic counts.
const HEADERS_BYTES: u16 = 28;
/// Sends that a stream has under way.
const SENDS_MAX: usize = 4;

/// Serves until it is killed.
pub fn serve(options: &ServerOptions) -> Result<(), Failure> {
    run_on(own_core().ok_or("/proc/self/status names no core")?)?;
    let config = RegistrationConfig::new().set_execution_profile(ExecutionProfile::LowLatency);
    let registration = Registration::new(&config)?;
    let alpn = [BufferRef::from("perf")];
    let configuration = Configuration::open(&registration, &alpn, Some(&settings()?))?;
    send_without_copies(&configuration)?;
    let (cert, key) = (options.cert.display().to_string(), options.key.display().to_string());
    let credential = Credential::CertificateFile(CertificateFile::new(key, cert));
    configuration.load_credential(&CredentialConfig::new().set_credential(credential))?;
    let configuration = Arc::new(configuration);
    let listener = Listener::open(&registration, move |_, event| {
        if let ListenerEvent::NewConnection { connection, .. } = event {
            connection.set_callback_handler(on_connection);
            connection.set_configuration(&configuration)?;
        }
        Ok(())
    })?;
    listener.start(&alpn, Some(&Addr::from(options.listen)))?;
    let at = listener.get_local_addr()?.as_socket().ok_or("the listener has no address")?;
    println!("listening on {at}");
    loop {
        std::thread::park();
    }
}

fn settings() -> Result<Settings, Failure> {
    Ok(Settings::new()
        .set_PeerBidiStreamCount(STREAMS_MAX.try_into()?)
        .set_StreamRecvWindowDefault(STREAM_WINDOW_BYTES)
        .set_ConnFlowControlWindow(CONNECTION_WINDOW_BYTES)
        .set_IdleTimeoutMs(IDLE_TIMEOUT.as_millis().try_into()?)
        .set_MaximumMtu(DATAGRAM_BYTES + HEADERS_BYTES)
        .set_ServerResumptionLevel(ServerResumptionLevel::ResumeOnly))
}

/// The first core that this process may use.
fn own_core() -> Option<u16> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    list.trim().split([',', '-']).next()?.parse().ok()
}

/// One worker on this core; msquic would have one on every core of the machine.
fn run_on(core: u16) -> Result<(), Status> {
    let config = QUIC_GLOBAL_EXECUTION_CONFIG {
        Flags: 0,
        PollingIdleTimeoutUs: 0,
        ProcessorCount: 1,
        ProcessorList: [core],
    };
    let len = u32::try_from(size_of_val(&config)).unwrap_or_default();
    // SAFETY: the handle may be null for global parameters; msquic copies `config` before it returns.
    unsafe {
        Api::set_param(
            std::ptr::null_mut(),
            QUIC_PARAM_GLOBAL_EXECUTION_CONFIG,
            len,
            from_ref(&config).cast::<c_void>(),
        )
    }
}

/// Leaves what is sent where it is until it is acknowledged; the crate's own setters can only switch things on.
fn send_without_copies(configuration: &Configuration) -> Result<(), Status> {
    let mut settings = *Settings::new().as_ffi_ref();
    // SAFETY: both views of this union are plain integers, and zero is a value of either.
    unsafe { settings.__bindgen_anon_1.IsSet.set_SendBufferingEnabled(1) };
    settings.set_SendBufferingEnabled(0);
    let len = u32::try_from(size_of_val(&settings)).unwrap_or_default();
    // SAFETY: the handle is that of a live configuration; msquic copies `settings` before it returns.
    unsafe {
        let settings = from_ref(&settings).cast::<c_void>();
        Api::set_param(configuration.as_raw(), QUIC_PARAM_CONFIGURATION_SETTINGS, len, settings)
    }
}

#[expect(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "the shape of msquic's callbacks"
)]
fn on_connection(connection: ConnectionRef, event: ConnectionEvent<'_>) -> Result<(), Status> {
    match event {
        ConnectionEvent::Connected { .. } => send_ticket(&connection),
        ConnectionEvent::PeerStreamStarted { stream, .. } => {
            let mut job = Job::default();
            stream.set_callback_handler(move |stream, event| job.on_event(&stream, &event));
        }
        ConnectionEvent::ShutdownComplete { .. } => {
            // SAFETY: this is the last event of a connection that nobody else closes.
            drop(unsafe { Connection::from_raw(connection.as_raw()) });
        }
        _ => {}
    }
    Ok(())
}

/// msquic sends tickets only when it is told to.
fn send_ticket(connection: &ConnectionRef) {
    if let Some(send) = Api::get_ffi().ConnectionSendResumptionTicket {
        // SAFETY: the handle is live during its callback; there is no application data to go with the ticket.
        unsafe { send(connection.as_raw(), msquic::SEND_RESUMPTION_FLAG_NONE, 0, null()) };
    }
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
    sending: usize,
}

impl Job {
    fn on_event(&mut self, stream: &StreamRef, event: &StreamEvent<'_>) -> Result<(), Status> {
        match event {
            StreamEvent::Receive { buffers, .. } => {
                for buffer in *buffers {
                    self.read(buffer.as_bytes());
                }
            }
            StreamEvent::PeerSendShutdown => self.uploaded = true,
            StreamEvent::SendComplete { client_context, .. } => {
                // SAFETY: `write` made this box, and msquic gives it back exactly once.
                drop(unsafe { Box::from_raw(client_context.cast_mut().cast::<BufferRef>()) });
                self.sending -= 1;
            }
            StreamEvent::PeerSendAborted { .. } | StreamEvent::PeerReceiveAborted { .. } => self.given = true,
            StreamEvent::ShutdownComplete { .. } => {
                // SAFETY: this is the last event of a stream that nobody else closes.
                drop(unsafe { Stream::from_raw(stream.as_raw()) });
                return Ok(());
            }
            _ => {}
        }
        self.write(stream)
    }

    fn read(&mut self, bytes: &[u8]) {
        let taken = bytes.len().min(REQUEST_LEN - self.request_len);
        self.request[self.request_len..][..taken].copy_from_slice(&bytes[..taken]);
        self.request_len += taken;
        if taken > 0 && self.request_len == REQUEST_LEN {
            self.owed = Some(u64::from_be_bytes(self.request));
        }
    }

    fn write(&mut self, stream: &StreamRef) -> Result<(), Status> {
        let Some(owed) = &mut self.owed else { return Ok(()) };
        if *owed == 0 && self.uploaded && !self.given {
            self.given = true;
            return stream.shutdown(StreamShutdownFlags::GRACEFUL, 0);
        }
        while *owed > 0 && !self.given && self.sending < SENDS_MAX {
            let chunk = zeros(*owed);
            let last = chunk.len() as u64 == *owed;
            let buffer = Box::into_raw(Box::new(BufferRef::from(&*chunk)));
            let flags = if last { SendFlags::FIN } else { SendFlags::NONE };
            // SAFETY: `zeros` are static, and the box that points to them lives until `SendComplete`.
            let sent = unsafe { stream.send(std::slice::from_ref(&*buffer), flags, buffer.cast::<c_void>()) };
            if sent.is_err() {
                // SAFETY: msquic took nothing, so that nobody else has this box.
                drop(unsafe { Box::from_raw(buffer) });
                self.given = true;
                return sent;
            }
            self.sending += 1;
            *owed -= chunk.len() as u64;
            self.given = last;
        }
        Ok(())
    }
}
