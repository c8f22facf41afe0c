//! The `server` program as its caller sees it: exit codes, sentences on standard error, signals.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_server"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> Output {
    program(arguments).output().expect("the program starts")
}

/// Asserts that the program ends with code 2 and one line that says this.
fn refuses(arguments: &[&str], why: &str) {
    let output = run(arguments);
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    assert!(said.starts_with("server: ") && said.contains(why), "{arguments:?}: {said}");
}

/// A running server, killed if a test gives up on it.
struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = program(arguments).spawn().expect("the program starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// Sends a signal, and returns the exit code and what was said.
    fn end(mut self, signal: &str) -> (Option<i32>, String) {
        let kill = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(kill.expect("kill runs").success());
        let status = self.child.wait().expect("the program ends");
        let mut said = String::new();
        self.child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
        (status.code(), said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn wrong_arguments_are_refused_in_one_sentence() {
    refuses(&["--listen", "nowhere"], "IP:PORT");
    refuses(&["--workers", "65"], "1 to 64 workers");
    refuses(&["--unknown"], "--unknown");
    refuses(&["--listen", "127.0.0.1:1", "127.0.0.1:1"], "given twice");
    refuses(&["--cert", "/nonexistent/cert.pem", "--key", "/nonexistent/key.pem"], "/nonexistent/cert.pem");
}

#[test]
fn a_busy_port_is_refused_in_one_sentence() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    refuses(&["--listen", &address], "already in use");
}

#[test]
fn signals_end_it_cleanly() {
    for signal in ["-TERM", "-INT"] {
        let mut server = Running::start(&["--listen", "127.0.0.1:0", "--workers", "2"]);
        let line = server.line();
        assert!(line.starts_with("listening on 127.0.0.1:") && !line.ends_with(":0"), "{line}");
        let (code, said) = server.end(signal);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("self-signed"), "{said}");
    }
}

#[test]
fn statistics_are_served_while_it_runs() {
    let arguments = ["--listen", "127.0.0.1:0", "[::1]:0", "--workers", "2", "--stats", "127.0.0.1:0"];
    let mut server = Running::start(&arguments);
    assert!(server.line().starts_with("listening on 127.0.0.1:"));
    assert!(server.line().starts_with("listening on [::1]:"));
    let place = server.line();
    let address = place.strip_prefix("statistics at http://").and_then(|rest| rest.strip_suffix('/'));
    let mut stream = TcpStream::connect(address.expect("an address")).expect("somebody listens");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let stats: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(stats["schema"], 1);
    assert_eq!(stats["workers"].as_array().map(Vec::len), Some(2));
    assert!(stats["workers"][1]["udp"]["enters"].is_u64() && stats["workers"][0]["cpu_s"].is_f64());
    assert!(stats["memory_resident_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20));
    assert!(stats["workers"][0]["forwards"]["gro_mix"].is_u64());
    assert_eq!(server.end("-TERM").0, Some(0));
}
