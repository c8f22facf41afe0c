//! Both engines over loopback, on one thread: what arrives is what was sent, with all that rides beside it.

mod common;

use std::net::IpAddr;
use std::os::fd::AsRawFd;

use braid_udp_uring::{
    BpfInstruction, Config, Fate, IoKind, Send, SocketConfig, SocketIndex, UdpSocket, Wait, now,
};

use common::{address, collect, engine, fate, fetch, make, plain, send, socket, to};

both!(
    a_train_arrives_merged_with_its_marks,
    a_shorter_last_segment_and_single_datagrams_arrive_whole,
    ipv6_and_dual_stack_sockets_tell_true_addresses,
    the_answer_leaves_from_the_address_that_was_hit,
    exhausted_buffers_lose_nothing,
    an_overflow_is_counted,
    a_program_picks_the_socket_by_a_payload_byte,
    a_socket_without_checksums_falls_back_to_datagrams_at_once,
    fates_of_what_was_sent_come_if_asked_for,
    buffers_that_ran_out_end_the_sleep,
    deadlines_are_kept,
    dropping_with_everything_in_flight_is_sound,
    sockets_beyond_the_limit_are_refused,
    empty_datagrams_do_no_harm,
);

fn a_train_arrives_merged_with_its_marks(kind: IoKind) {
    let (mut sender, from) = plain(kind, "127.0.0.1:0");
    let (mut receiver, there) = plain(kind, "127.0.0.1:0");
    let payload: Vec<u8> = (0..45 * 1452).map(|at| (at / 1452) as u8).collect();
    send(&mut sender, Send { ecn: 2, ..to(there, 1452) }, &payload);
    sender.submit_and_wait(Wait::Now).unwrap();
    let kept = collect(&mut receiver, 45);
    assert_eq!(kept.len(), 1, "one GRO buffer");
    assert_eq!((kept[0].segment_size, kept[0].ecn), (1452, 2));
    assert_eq!((kept[0].remote, kept[0].local), (from, Some(there.ip())));
    assert_eq!(kept[0].bytes, payload);
    let (sent, received) = (sender.stats(), receiver.stats());
    assert_eq!((sent.trains_sent, sent.datagrams_sent), (1, 45));
    assert_eq!((received.buffers_received, received.datagrams_received), (1, 45));
    assert_eq!(received.receive_errors, 0);
}

fn a_shorter_last_segment_and_single_datagrams_arrive_whole(kind: IoKind) {
    let (mut sender, _) = plain(kind, "127.0.0.1:0");
    let (mut receiver, there) = plain(kind, "127.0.0.1:0");
    let payload = [7; 2500];
    send(&mut sender, to(there, 1000), &payload);
    send(&mut sender, to(there, 2500), &payload);
    send(&mut sender, to(there, 9000), &payload);
    sender.submit_and_wait(Wait::Now).unwrap();
    let kept = collect(&mut receiver, 5);
    assert!(kept.iter().all(|kept| kept.bytes == payload && kept.ecn == 0));
    assert_eq!(kept.iter().map(|kept| kept.segment_size).collect::<Vec<_>>(), [1000, 2500, 2500]);
}

fn ipv6_and_dual_stack_sockets_tell_true_addresses(kind: IoKind) {
    let (mut receiver, wildcard) = plain(kind, "[::]:0");
    let port = wildcard.port();
    for host in ["127.0.0.1", "127.0.0.7", "::1"] {
        let ip: IpAddr = host.parse().unwrap();
        let (mut sender, from) = plain(kind, if ip.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" });
        send(&mut sender, Send { ecn: 1, ..to((ip, port).into(), 1200) }, &[1; 3600]);
        sender.submit_and_wait(Wait::Now).unwrap();
        let kept = collect(&mut receiver, 3);
        assert_eq!((kept[0].remote, kept[0].local, kept[0].ecn), (from, Some(ip), 1), "towards {host}");
        assert_eq!(kept[0].segment_size, 1200);
    }
}

fn the_answer_leaves_from_the_address_that_was_hit(kind: IoKind) {
    for (wildcard, hit, client) in [
        ("0.0.0.0:0", "127.0.0.5", "127.0.0.1:0"),
        ("[::]:0", "127.0.0.5", "127.0.0.1:0"),
        ("[::]:0", "::1", "[::1]:0"),
    ] {
        let (mut server, bound) = plain(kind, wildcard);
        let (mut client, _) = plain(kind, client);
        let hit: IpAddr = hit.parse().unwrap();
        send(&mut client, to((hit, bound.port()).into(), 100), b"hello");
        client.submit_and_wait(Wait::Now).unwrap();
        let request = collect(&mut server, 1).remove(0);
        let answer = Send { source: request.local, ecn: 2, ..to(request.remote, 600) };
        send(&mut server, answer, &[3; 1800]);
        server.submit_and_wait(Wait::Now).unwrap();
        let answer = collect(&mut client, 3).remove(0);
        assert_eq!(answer.remote, (hit, bound.port()).into(), "from {wildcard}");
        assert_eq!((answer.ecn, answer.segment_size), (2, 600));
    }
}

fn exhausted_buffers_lose_nothing(kind: IoKind) {
    let config = Config { kind, receive_buffers: 4, ..Config::default() };
    let (mut receiver, there) = engine(&config, socket("127.0.0.1:0"));
    let (mut sender, _) = plain(kind, "127.0.0.1:0");
    let mut next = 0_u32;
    for _ in 0..50 {
        for number in next..next + 20 {
            // Lengths that differ, so that nothing can be merged.
            send(&mut sender, to(there, 2000), &vec![number as u8; 500 + (number % 20) as usize]);
        }
        sender.submit_and_wait(Wait::Now).unwrap();
        for kept in collect(&mut receiver, 20) {
            assert_eq!(kept.bytes, vec![next as u8; 500 + (next % 20) as usize]);
            next += 1;
        }
    }
    let stats = receiver.stats();
    assert!(stats.no_buffers > 0, "{stats:?}");
    assert_eq!((next, stats.receive_overflow, stats.receive_errors), (1000, 0, 0));
}

fn an_overflow_is_counted(kind: IoKind) {
    let small = SocketConfig { receive_buffer_bytes: 4096, ..SocketConfig::new(address("127.0.0.1:0")) };
    let (mut receiver, there) =
        engine(&Config { kind, ..Config::default() }, UdpSocket::bind(&small).unwrap());
    let (mut sender, _) = plain(kind, "127.0.0.1:0");
    for _ in 0..50 {
        send(&mut sender, to(there, 1000), &[0; 1000]);
        sender.submit_and_wait(Wait::Now).unwrap();
    }
    let mut count = 0;
    // The count of the lost rides on a later datagram.
    for _ in 0..2 {
        receiver.submit_and_wait(Wait::Now).unwrap();
        receiver.submit_and_wait(Wait::Now).unwrap();
        count += fetch(&mut receiver).len();
        send(&mut sender, to(there, 1000), &[0; 1000]);
        sender.submit_and_wait(Wait::Now).unwrap();
    }
    count += collect(&mut receiver, 1).len();
    let overflow = receiver.stats().receive_overflow;
    assert!(overflow > 0);
    assert_eq!(count as u64 + overflow, 52);
}

fn a_program_picks_the_socket_by_a_payload_byte(kind: IoKind) {
    const SOCKETS: u16 = 3;
    let program = [
        BpfInstruction { code: 0x30, jt: 0, jf: 0, k: 0 }, // A = payload[0]
        BpfInstruction { code: 0x94, jt: 0, jf: 0, k: u32::from(SOCKETS) }, // A %= 3
        BpfInstruction { code: 0x16, jt: 0, jf: 0, k: 0 }, // return A
    ];
    let mut group = make(&Config { kind, ..Config::default() });
    let mut there = address("127.0.0.1:0");
    for number in 0..SOCKETS {
        let config = SocketConfig { reuse_port: true, ..SocketConfig::new(there) };
        let socket = UdpSocket::bind(&config).unwrap();
        there = socket.local_addr();
        if number == 0 {
            socket.attach_reuseport_cbpf(&program).unwrap();
        }
        assert_eq!(group.add_socket(socket).unwrap(), SocketIndex(number));
    }
    let (mut sender, _) = plain(kind, "127.0.0.1:0");
    for byte in 0..60_u8 {
        send(&mut sender, to(there, 100), &[byte; 40]);
        sender.submit_and_wait(Wait::Now).unwrap();
    }
    for kept in collect(&mut group, 60) {
        assert_eq!(kept.socket.0, u16::from(kept.bytes[0]) % SOCKETS);
    }
}

/// The kernel refuses segmentation on a socket that leaves checksums out, with the same error as where it has none.
fn a_socket_without_checksums_falls_back_to_datagrams_at_once(kind: IoKind) {
    let bare = socket("127.0.0.1:0");
    let on = 1_i32;
    // SAFETY: the option takes an int, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            bare.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NO_CHECK,
            (&raw const on).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0);
    let (mut sender, _) = engine(&Config { kind, ..Config::default() }, bare);
    let (mut receiver, there) = plain(kind, "127.0.0.1:0");
    send(&mut sender, Send { tag: 5, ..to(there, 100) }, &[1; 950]);
    send(&mut sender, Send { tag: 6, ..to(there, 100) }, &[2; 50]);
    send(&mut sender, Send { tag: 7, ..to(there, 100) }, &[3; 300]);
    assert_eq!(fate(&mut sender), (5, Fate::NoSegmentation));
    let third = sender.next_fate().unwrap_or_else(|| fate(&mut sender));
    assert_eq!(third, (7, Fate::NoSegmentation));
    let arrived: Vec<u8> = collect(&mut receiver, 14).into_iter().flat_map(|kept| kept.bytes).collect();
    assert_eq!(arrived, [&[1; 950][..], &[2; 50], &[3; 300]].concat(), "all of it, in order");
    let stats = sender.stats();
    assert_eq!((stats.gso_fallbacks, stats.datagrams_sent, stats.send_errors), (2, 14, 0));
}

fn fates_of_what_was_sent_come_if_asked_for(kind: IoKind) {
    let config = Config { kind, report_sent: true, ..Config::default() };
    let (mut sender, _) = engine(&config, socket("127.0.0.1:0"));
    let (_receiver, there) = plain(kind, "127.0.0.1:0");
    for tag in 0..10 {
        send(&mut sender, Send { tag, ..to(there, 100) }, &[0; 300]);
    }
    let mut fates = vec![fate(&mut sender)];
    fates.extend(std::iter::from_fn(|| sender.next_fate()));
    assert_eq!(fates, (0..10).map(|tag| (tag, Fate::Sent)).collect::<Vec<_>>());
}

fn buffers_that_ran_out_end_the_sleep(kind: IoKind) {
    let config = Config { kind, send_buffers: 4, ..Config::default() };
    let (mut sender, _) = engine(&config, socket("127.0.0.1:0"));
    let (_receiver, there) = plain(kind, "127.0.0.1:0");
    let deadline = now() + common::PATIENCE_NS;
    for round in 0..100 {
        let mut lent = 0;
        while sender.send_buffer().is_some() {
            sender.send(Send { bytes: 10, ..to(there, 10) });
            lent += 1;
        }
        assert_eq!(lent, 4, "round {round}");
        sender.submit_and_wait(Wait::Until(deadline)).unwrap();
    }
    assert!(now() < deadline);
    assert_eq!(sender.stats().datagrams_sent, 400);
}

fn deadlines_are_kept(kind: IoKind) {
    let (mut udp, _) = plain(kind, "127.0.0.1:0");
    for wait_ms in [0, 1, 30] {
        let deadline = now() + wait_ms * 1_000_000;
        let mut turns = 0;
        while now() < deadline {
            udp.submit_and_wait(Wait::Until(deadline)).unwrap();
            turns += 1;
        }
        let late_ms = (now() - deadline) / 1_000_000;
        assert!(late_ms < 500, "{late_ms} ms late");
        assert!(turns <= 5, "{turns} turns for one deadline");
    }
    let before = now();
    udp.submit_and_wait(Wait::Until(before.saturating_sub(1_000_000_000))).unwrap();
    udp.submit_and_wait(Wait::Until(0)).unwrap();
    udp.submit_and_wait(Wait::Now).unwrap();
    assert!(now() - before < 500_000_000, "a deadline in the past and no wait at all return at once");
}

fn dropping_with_everything_in_flight_is_sound(kind: IoKind) {
    let (mut peer, home) = plain(kind, "127.0.0.1:0");
    for round in 0..30 {
        let (mut udp, there) = plain(kind, "127.0.0.1:0");
        udp.submit_and_wait(Wait::Now).unwrap();
        for _ in 0..8 {
            send(&mut peer, to(there, 1000), &[round; 9000]);
            send(&mut udp, to(home, 1000), &[round; 9000]);
        }
        peer.submit_and_wait(Wait::Now).unwrap();
        match round % 3 {
            0 => udp.submit_and_wait(Wait::Now).unwrap(), // filled buffers, not fetched
            1 => assert!(udp.send_buffer().is_some()),    // queued trains, and a lent buffer
            _ => {
                udp.submit_and_wait(Wait::Now).unwrap();
                udp.submit_and_wait(Wait::Now).unwrap();
                assert!(udp.receive().is_some()); // a lent one
            }
        }
        let started = now();
        if round % 2 == 0 {
            drop(udp);
        } else {
            udp.close().unwrap();
        }
        assert!(now() - started < 500_000_000, "the kernel gives everything back at once");
        // The port is free, so the socket is gone.
        drop(UdpSocket::bind(&SocketConfig::new(there)).unwrap());
    }
}

fn sockets_beyond_the_limit_are_refused(kind: IoKind) {
    let mut udp = make(&Config { kind, sockets_max: 2, ..Config::default() });
    udp.add_socket(socket("127.0.0.1:0")).unwrap();
    udp.add_socket(socket("127.0.0.1:0")).unwrap();
    let error = udp.add_socket(socket("127.0.0.1:0")).unwrap_err();
    assert_eq!(error.to_string(), "no more than 2 sockets on one thread");
}

fn empty_datagrams_do_no_harm(kind: IoKind) {
    let (mut sender, _) = plain(kind, "127.0.0.1:0");
    let (mut receiver, there) = plain(kind, "127.0.0.1:0");
    for _ in 0..10 {
        send(&mut sender, to(there, 100), &[]);
        send(&mut sender, to(there, 100), b"x");
    }
    sender.submit_and_wait(Wait::Now).unwrap();
    let kept = collect(&mut receiver, 20);
    assert_eq!(kept.iter().filter(|kept| kept.bytes.is_empty()).count(), 10);
    assert!(kept.iter().all(|kept| kept.segment_size >= 1));
}
