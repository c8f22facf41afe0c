//! The relay between real sockets on loopback: what comes through, what does not, and what it says about it.
//!
//! Waits are for a datagram or a condition, with a generous limit. Of times only the lower bound is tested: a busy
//! machine may be late, but a relay must never be early.

use std::io::{BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command as Program, Stdio};
use std::time::{Duration, Instant as Clock};

use braid_sim::relay::{
    Change, Command, Relay, RelayConfig, RelayError, RelayHandle, RelayPath, RelayStats, Ways, Which,
};
use braid_sim::{Rate, Way, bps, mbps, ms, us};
use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};

const PATIENCE: Duration = Duration::from_secs(20);
const LOCALHOST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A socket that waits, but not for ever.
fn socket() -> UdpSocket {
    let socket = UdpSocket::bind(LOCALHOST).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A relay of one path to `server`.
fn relay(server: &UdpSocket, changes: &[Change]) -> (RelayHandle, SocketAddr) {
    let mut path = RelayPath::to(LOCALHOST, server.local_addr().unwrap());
    for change in changes {
        path.apply(*change);
    }
    let relay = Relay::start(RelayConfig { paths: vec![path], ..RelayConfig::default() }).unwrap();
    let listen = relay.listen_addrs()[0];
    (relay, listen)
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = [0; 2000];
    let (count, from) = socket.recv_from(&mut bytes).unwrap();
    (bytes[..count].to_vec(), from)
}

/// Waits until the relay's numbers are as they should be.
#[track_caller]
fn until(relay: &RelayHandle, wanted: impl Fn(&RelayStats) -> bool) -> RelayStats {
    let limit = Clock::now() + PATIENCE;
    loop {
        let stats = relay.stats().unwrap();
        if wanted(&stats) {
            return stats;
        }
        assert!(Clock::now() < limit, "{stats:?}");
        std::thread::yield_now();
    }
}

#[test]
fn datagrams_go_there_and_back_and_each_client_has_a_port_of_its_own() {
    let (server, clients) = (socket(), [socket(), socket()]);
    let (relay, listen) = relay(&server, &[]);
    let mut ports = Vec::new();
    for (client, word) in clients.iter().zip([b"one", b"two"]) {
        client.send_to(word, listen).unwrap();
        let (heard, from) = receive(&server);
        assert_eq!(heard, word);
        ports.push(from);
    }
    assert_ne!(ports[0], ports[1]);
    for (client, port) in clients.iter().zip(&ports).rev() {
        server.send_to(port.to_string().as_bytes(), port).unwrap();
        assert_eq!(receive(client), (port.to_string().into_bytes(), listen));
    }
    let stats = relay.stop().unwrap();
    let path = &stats.paths[0];
    assert_eq!((path.sessions, path.up.received, path.up.sent.datagrams), (2, path.up.sent, 2));
    assert_eq!((path.up.sent.bytes, path.down.sent.datagrams, path.down.dropped.total()), (6, 2, 0));
}

#[test]
fn nothing_arrives_before_its_link_would_have_carried_it() {
    let (server, client) = (socket(), socket());
    // 1250 bytes at 10 Mb/s take 1 ms; the tenth has waited for nine.
    let (_relay, listen) = relay(
        &server,
        &[
            Change::rate(Ways::Both, mbps(10)),
            Change::delay(Ways::Up, ms(30)),
            Change::delay(Ways::Down, ms(20)),
        ],
    );
    let start = Clock::now();
    for number in 0..10 {
        client.send_to(&[number; 1250], listen).unwrap();
    }
    let mut from = LOCALHOST;
    for number in 0..10 {
        let heard;
        (heard, from) = receive(&server);
        assert_eq!(heard, [number; 1250], "in their order");
        assert!(start.elapsed() >= ms(31) + ms(1) * u32::from(number), "{number}: {:?}", start.elapsed());
    }
    server.send_to(&[0; 1250], from).unwrap();
    receive(&client);
    assert!(start.elapsed() >= ms(40 + 21), "{:?}", start.elapsed());
}

#[test]
fn a_full_queue_drops_and_counts() {
    let (server, client) = (socket(), socket());
    let queue = "set 0 queue=2500 rate=100k".parse().unwrap();
    let (relay, listen) = relay(&server, &[]);
    relay.command(queue).unwrap();
    for _ in 0..5 {
        client.send_to(&[0; 1250], listen).unwrap();
    }
    let stats = until(&relay, |stats| stats.paths[0].up.received.datagrams == 5);
    assert!(stats.paths[0].up.dropped.queue >= 2, "a datagram takes 100 ms: {stats:?}");
}

#[test]
fn what_waits_leaves_at_a_new_rate_too() {
    let (server, client) = (socket(), socket());
    // A kilobit a second: the third datagram would come after half a minute, and nobody waits for so long here.
    let (relay, listen) = relay(&server, &[Change::rate(Ways::Both, bps(1_000))]);
    for number in 0..3 {
        client.send_to(&[number; 1250], listen).unwrap();
    }
    until(&relay, |stats| stats.paths[0].up.received.datagrams == 3);
    relay.set(0, vec![Change::rate(Ways::Both, Rate::UNLIMITED)]).unwrap();
    for number in 0..3 {
        assert_eq!(receive(&server).0, [number; 1250], "in their order");
    }
}

#[test]
fn a_datagram_above_the_mtu_is_dropped_and_counted() {
    let (server, client) = (socket(), socket());
    let (relay, listen) = relay(&server, &[Change::mtu(Ways::Up, 1300)]);
    client.send_to(&[1; 1301], listen).unwrap();
    client.send_to(&[2; 1300], listen).unwrap();
    assert_eq!(receive(&server).0, [2; 1300]);
    assert_eq!(relay.stats().unwrap().paths[0].up.dropped.too_big, 1);
}

#[test]
fn a_cut_way_is_silent_until_it_is_restored() {
    let (server, client) = (socket(), socket());
    let (relay, listen) = relay(&server, &[]);
    client.send_to(b"before", listen).unwrap();
    let (_, from) = receive(&server);
    relay.cut_way(0, Way::Up).unwrap();
    client.send_to(b"lost", listen).unwrap();
    server.send_to(b"down works", from).unwrap();
    assert_eq!(receive(&client).0, b"down works");
    until(&relay, |stats| stats.paths[0].up.dropped.cut == 1 && stats.paths[0].up.is_cut);
    relay.cut(0).unwrap();
    server.send_to(b"lost", from).unwrap();
    until(&relay, |stats| stats.paths[0].down.dropped.cut == 1);
    relay.restore(0).unwrap();
    client.send_to(b"after", listen).unwrap();
    assert_eq!(receive(&server), (b"after".to_vec(), from));
    assert!(relay.cut(1).unwrap_err().contains("no path 1"));
}

#[test]
fn what_is_lost_and_what_arrives_is_all_that_was_sent() {
    let (server, client) = (socket(), socket());
    let (relay, listen) = relay(&server, &[Change::loss(Ways::Up, 0.5)]);
    for sent in 1..=400 {
        client.send_to(b"maybe", listen).unwrap();
        until(&relay, |stats| stats.paths[0].up.received.datagrams == sent);
    }
    let up = until(&relay, |stats| stats.paths[0].up.sent.datagrams + stats.paths[0].up.dropped.lost == 400)
        .paths[0]
        .up;
    assert!((140..260).contains(&up.dropped.lost), "{up:?}");
    assert_eq!(up.dropped.total(), up.dropped.lost);
}

#[test]
fn after_a_rebinding_the_server_hears_another_port_and_the_old_one_is_deaf() {
    let (server, client) = (socket(), socket());
    let (relay, listen) = relay(&server, &[]);
    client.send_to(b"before", listen).unwrap();
    let (_, old) = receive(&server);
    relay.rebind(0).unwrap();
    client.send_to(b"after", listen).unwrap();
    let (heard, new) = receive(&server);
    assert_eq!(heard, b"after");
    assert_ne!(old, new);
    server.send_to(b"to the old", old).unwrap();
    server.send_to(b"to the new", new).unwrap();
    assert_eq!(receive(&client).0, b"to the new");
    let one = Command::Rebind {
        path: Which::All,
        client: Some(client.local_addr().unwrap()),
        source: Some([127, 0, 0, 9].into()),
    };
    relay.command(one).unwrap();
    client.send_to(b"elsewhere", listen).unwrap();
    assert_eq!(receive(&server).1.ip(), IpAddr::from([127, 0, 0, 9]));
    let stats = relay.stats().unwrap();
    assert_eq!((stats.paths[0].rebinds, stats.paths[0].sessions), (2, 1));
    let stranger = "rebind 0 client 127.0.0.1:1".parse().unwrap();
    assert!(relay.command(stranger).unwrap_err().contains("no client"));
}

#[test]
fn a_script_starts_with_the_first_datagram_and_its_deeds_are_told() {
    let (server, client) = (socket(), socket());
    let config = RelayConfig {
        paths: vec![RelayPath::to(LOCALHOST, server.local_addr().unwrap())],
        script: vec![
            (us(200), "restore 0".parse().unwrap()),
            (us(100), "cut 0".parse().unwrap()),
            (us(300), "cut 7".parse().unwrap()),
        ],
        seed: 1,
    };
    let relay = Relay::start(config).unwrap();
    assert!(relay.stats().unwrap().commands.is_empty(), "nothing was sent yet");
    client.send_to(b"go", relay.listen_addrs()[0]).unwrap();
    let stats = until(&relay, |stats| stats.commands.len() == 3);
    let told: Vec<_> = stats.commands.iter().map(|applied| applied.command.as_str()).collect();
    assert_eq!(told, ["cut 0", "restore 0", "cut 7: there is no path 7; the last is 0"]);
}

#[test]
fn marks_of_congestion_pass_both_ways() {
    let (server, client) = (socket(), socket());
    let (_relay, listen) = relay(&server, &[]);
    let ends = [&client, &server].map(|socket| UdpSocketState::new(socket.into()).unwrap());
    let send = |end: usize, socket: &UdpSocket, destination| {
        let ecn = Some(EcnCodepoint::Ect0);
        let transmit = Transmit { destination, ecn, contents: b"marked", segment_size: None, src_ip: None };
        ends[end].try_send(socket.into(), &transmit).unwrap();
    };
    let heard = |end: usize, socket: &UdpSocket| {
        socket.set_nonblocking(false).unwrap();
        let (mut bytes, mut meta) = ([0; 2000], [RecvMeta::default()]);
        let mut buffers = [std::io::IoSliceMut::new(&mut bytes)];
        ends[end].recv(socket.into(), &mut buffers, &mut meta).unwrap();
        meta[0]
    };
    send(0, &client, listen);
    let up = heard(1, &server);
    send(1, &server, up.addr);
    assert_eq!((up.ecn, heard(0, &client).ecn), (Some(EcnCodepoint::Ect0), Some(EcnCodepoint::Ect0)));
}

#[test]
fn a_relay_that_cannot_be_is_refused_in_words() {
    let refusal = |paths| Relay::start(RelayConfig { paths, ..RelayConfig::default() }).unwrap_err();
    assert!(matches!(refusal(vec![]), RelayError::Config(sentence) if sentence.contains("1 to 64")));
    let nowhere = RelayPath::to(LOCALHOST, LOCALHOST);
    assert!(refusal(vec![nowhere]).to_string().contains("needs a port"));
    let taken = socket();
    let path = RelayPath::to(taken.local_addr().unwrap(), taken.local_addr().unwrap());
    assert!(matches!(refusal(vec![path]), RelayError::Listen(..)));
}

/// The program, killed if a test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(arguments: &[&str]) -> (Running, BufReader<std::process::ChildStdout>) {
    let mut child = Program::new(env!("CARGO_BIN_EXE_relay"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (Running(child), out)
}

fn line(out: &mut impl std::io::BufRead) -> String {
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[test]
fn the_program_obeys_standard_input_and_reports_as_json() {
    let (server, client) = (socket(), socket());
    let target = server.local_addr().unwrap().to_string();
    let (mut running, mut out) = program(&[
        "--path",
        "127.0.0.1:0",
        &target,
        "delay=1ms",
        "--json",
        "-",
        "--at",
        "1us",
        "cut-up",
        "0",
    ]);
    let listens = line(&mut out);
    let listen: SocketAddr = listens.strip_prefix("path 0 listens on ").unwrap().parse().unwrap();
    client.send_to(b"starts the script", listen).unwrap();
    let mut say = running.0.stdin.take().unwrap();
    for (word, answer) in [
        ("restore 0", "ok restore 0"),
        ("cut 1", "error: there is no path 1; the last is 0"),
        ("dance", "error: `dance` is no command; I know cut, cut-up, cut-down, restore, rebind and set"),
    ] {
        writeln!(say, "{word}").unwrap();
        assert_eq!(line(&mut out), answer);
    }
    let limit = Clock::now() + PATIENCE;
    let mut json = || serde_json::from_str::<serde_json::Value>(&line(&mut out)).unwrap();
    loop {
        writeln!(say, "stats").unwrap();
        if json()["paths"][0]["up"]["received"]["datagrams"] == 1 {
            break;
        }
        assert!(Clock::now() < limit, "the datagram never came");
    }
    writeln!(say, "quit").unwrap();
    let report = json();
    assert_eq!(report["schema"], 1);
    assert_eq!(report["paths"][0]["up"]["received"]["datagrams"], 1);
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
}

#[test]
fn the_program_ends_well_when_it_is_asked_to_and_says_what_is_wrong() {
    let target = socket().local_addr().unwrap().to_string();
    let (mut running, mut out) = program(&["--path", "127.0.0.1:0", &target]);
    assert!(line(&mut out).contains("listens"));
    drop(running.0.stdin.take()); // the end of its input is not its end
    let killed = Program::new("kill").arg("-TERM").arg(running.0.id().to_string()).status().unwrap();
    assert!(killed.success());
    assert!(line(&mut out).starts_with("path"), "a table");
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    let (mut running, _) = program(&["--path", "127.0.0.1:0"]);
    assert_eq!(running.0.wait().unwrap().code(), Some(2));
}
