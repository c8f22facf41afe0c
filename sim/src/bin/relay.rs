//! The `relay` program: a relay that obeys standard input, and ends well on SIGTERM, SIGINT or `quit`.
//!
//! Owns what is printed and the exit codes: 0 for a clean end, 1 for a relay that failed, 2 for what the caller can put
//! right. Standard output has where it listens, one answer for each command, and the numbers at the end.

#![forbid(unsafe_code)]

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use braid_sim::relay::{Instead, Options, Relay, RelayError, RelayHandle, RelayStats};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The caller can put it right.
const WRONG_USE: u8 = 2;

type Shared = Arc<Mutex<Option<RelayHandle>>>;

fn main() -> ExitCode {
    let options = match Options::read(std::env::args_os()) {
        Ok(options) => options,
        Err(Instead::Show(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(Instead::Complain(sentence)) => return complain(&format!("{sentence} (see --help)"), WRONG_USE),
    };
    let (end, ended) = sync_channel(1);
    // Before anything else, so that a signal never finds a half-started relay.
    if let Err(error) = listen_to_signals(end.clone()) {
        return complain(&format!("cannot handle signals: {error}"), WRONG_USE);
    }
    let relay = match Relay::start(options.config) {
        Ok(relay) => relay,
        Err(error @ (RelayError::Config(_) | RelayError::Listen(..))) => {
            return complain(&error.to_string(), WRONG_USE);
        }
        Err(error) => return complain(&error.to_string(), 1),
    };
    for warning in relay.warnings() {
        eprintln!("relay: {warning}");
    }
    for (number, address) in relay.listen_addrs().iter().enumerate() {
        say(&format!("path {number} listens on {address}"));
    }
    let relay: Shared = Arc::new(Mutex::new(Some(relay)));
    let obeying = Arc::clone(&relay);
    std::thread::spawn(move || obey(&obeying, &end));
    let limit = options.duration.unwrap_or(Duration::MAX);
    // The sender lives as long as there may be a signal.
    let (Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected)) =
        ended.recv_timeout(limit);
    let Some(relay) = relay.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return ExitCode::SUCCESS;
    };
    match relay.stop().and_then(|stats| report(&stats, options.json.as_deref())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => complain(&sentence, 1),
    }
}

/// Obeys standard input until its end, which is not the relay's, or until `quit`.
fn obey(relay: &Shared, end: &SyncSender<()>) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        if line.trim() == "quit" {
            let _ = end.try_send(());
            return;
        }
        let relay = relay.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(relay) = &*relay else { return };
        match answer(relay, line.trim()) {
            Ok(text) => say(&text),
            Err(sentence) => say(&format!("error: {sentence}")),
        }
    }
}

fn answer(relay: &RelayHandle, line: &str) -> Result<String, String> {
    if line == "stats" {
        return json(&relay.stats()?);
    }
    relay.command(line.parse()?)?;
    Ok(format!("ok {line}"))
}

fn report(stats: &RelayStats, file: Option<&Path>) -> Result<(), String> {
    match file {
        None => say(&stats.to_string()),
        Some(file) if file.as_os_str() == "-" => say(&json(stats)?),
        Some(file) => {
            say(&stats.to_string());
            let written = std::fs::write(file, json(stats)? + "\n");
            written.map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        }
    }
    Ok(())
}

fn json(stats: &RelayStats) -> Result<String, String> {
    serde_json::to_string(stats).map_err(|error| error.to_string())
}

/// Says something for each SIGTERM or SIGINT; a second one does not wait for a clean end.
fn listen_to_signals(end: SyncSender<()>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut forever = signals.forever();
        if forever.next().is_some() {
            let _ = end.try_send(());
        }
        if forever.next().is_some() {
            std::process::exit(1);
        }
    })?;
    Ok(())
}

/// One line, at once, for whoever waits for it; a reader that is gone is no reason to stop.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn complain(sentence: &str, code: u8) -> ExitCode {
    eprintln!("relay: {sentence}");
    ExitCode::from(code)
}
