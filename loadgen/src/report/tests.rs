//! The report against its published schema, by a validator for exactly the keywords that the schema uses.

use serde_json::{Value, json};

use super::*;

/// Two paths of one connection; the second end told nothing about the second path.
pub(crate) fn example() -> Report {
    let us = Duration::from_micros;
    let counts =
        Counts { packets_sent: 900, packets_lost: 12, stream_bytes_sent: 1 << 30, ..Counts::default() };
    let side = Side { counts, rtt: Rtt::new(Some(us(30)), Some(us(85)), Some(us(412))) };
    let path = |id: u32, share: f64, packets: (u64, u64), lost, rtt_us, state, sender| Path {
        id,
        local: Some(format!("127.0.0.{}:{}", id + 1, 40_001 + id)),
        remote: Some("127.0.0.1:4433".into()),
        goodput_bps: (share * 8e9) as u64,
        share,
        packets_received: packets.0,
        packets_sent: packets.1,
        packets_lost: lost,
        rtt_us,
        state,
        sender,
        receiver: End::new(Some(&side)),
    };
    let rtt = |min, smoothed, p99| RttUs { min: Some(min), smoothed: Some(smoothed), p99: Some(p99) };
    Report {
        schema: SCHEMA,
        workload: "requests",
        goodput_bps: 8_000_000_000,
        duration_s: 5.0,
        requests: Requests { completed: 4, failed: 0, per_second: 0.8 },
        latency_us: Latency {
            p50: Some(1_010_000),
            p90: Some(1_200_000),
            p99: Some(1_200_000),
            p999: Some(1_200_000),
            max: Some(1_200_000),
        },
        paths: vec![
            path(0, 0.75, (300_000, 900), Some(12), rtt(30, 85, 412), "open", End::new(Some(&side))),
            path(1, 0.25, (100_000, 300), Some(0), rtt(31, 92, 1500), "suspect", End::new(None)),
        ],
        longest_stall_us: 1234,
        cpu: Cpu {
            client_s: Some(4.5),
            server_s: Some(5.0),
            client_busiest: Some(0.9),
            server_busiest: Some(1.0),
            client_waiting: Some(0.02),
            server_waiting: None,
        },
        limited_by: Some(LimitedBy::Both),
        server: Some(Server {
            same_process: true,
            packet_protection: Some("ring".into()),
            totals: Totals {
                packets_received: 1200,
                packets_sent: 400_000,
                enters: 4_000,
                other_syscalls: 12,
                ..Totals::default()
            },
            memory_resident_bytes: Some(48 << 20),
            memory_before_bytes: Some(20 << 20),
            memory_per_connection_bytes: None,
        }),
        open_loop: None,
        datagrams: None,
        handshakes: None,
        ceiling: None,
        series: Series::default(),
        settings: Settings::example(),
        environment: Environment {
            kernel: Some("6.18.0".into()),
            cpu: Some("AMD EPYC".into()),
            cores: 2,
            io: "uring",
            gso: true,
            git: None,
        },
    }
}

/// A report in which nothing is left out, whether it goes together or not.
pub(crate) fn everything() -> Report {
    let open_loop = OpenLoop {
        offered: 5000,
        lag_us: Lag { p50: Some(3), p99: Some(12), max: Some(40) },
        backlog_peak: 7,
        unstarted: 1,
        unfinished: 2,
        refused: 3,
    };
    let ceiling = CeilingShare {
        packet_protection: "ring".into(),
        datagram_bytes: 1452,
        gb_per_sender_cpu_s: Some(10.2),
        gb_per_receiver_cpu_s: Some(12.0),
        aws_lc_rs_gb_per_sender_cpu_s: Some(8.8),
        aws_lc_rs_gb_per_receiver_cpu_s: Some(9.6),
        sender: Some(0.53),
        receiver: Some(0.4),
        sender_of_aws_lc_rs: Some(0.61),
        receiver_of_aws_lc_rs: Some(0.5),
    };
    let mut report = Report {
        workload: "datagrams",
        open_loop: Some(open_loop),
        datagrams: Some(Datagrams { sent: 6, acked: 4, lost: 1, loss: Some(0.2) }),
        handshakes: Some(Handshakes { full: 1, resumed: 3 }),
        ceiling: Some(ceiling),
        ..example()
    };
    if let Some(server) = &mut report.server {
        (server.same_process, server.memory_per_connection_bytes) = (false, Some(8192.0));
    }
    report
}

fn schema() -> Value {
    serde_json::from_str(include_str!("../../schema/report-2.json")).expect("the schema is JSON")
}

fn as_value(report: &Report) -> Value {
    serde_json::from_str(&report.to_json()).expect("the report is JSON")
}

#[test]
fn a_full_report_obeys_the_schema() {
    for report in [example(), everything()] {
        assert_eq!(faults(&schema(), &as_value(&report)), Vec::<String>::new());
    }
    let runs = |count| metrics::summarize((0..count).map(|_| everything()).collect()).unwrap();
    for report in [runs(1), runs(6)] {
        assert!(!report.series.metrics.is_empty());
        assert_eq!(faults(&schema(), &as_value(&report)), Vec::<String>::new());
    }
}

#[test]
fn a_report_of_a_run_that_got_nowhere_obeys_the_schema() {
    let mut report = example();
    report.goodput_bps = 0;
    report.latency_us = Latency::default();
    report.cpu = Cpu::default();
    (report.limited_by, report.server) = (None, None);
    report.environment =
        Environment { kernel: None, cpu: None, cores: 1, io: "mmsg", gso: false, git: Some("abc") };
    let [first, _] = &mut report.paths[..] else { unreachable!() };
    (first.local, first.remote, first.packets_lost) = (None, None, None);
    (first.rtt_us, first.share, first.state) = (RttUs::default(), 0.0, "refused");
    assert_eq!(faults(&schema(), &as_value(&report)), Vec::<String>::new());
    report.paths.clear();
    assert_eq!(faults(&schema(), &as_value(&report)), Vec::<String>::new());
}

#[test]
fn the_schema_notices_what_is_wrong() {
    for (pointer, value) in [
        ("/schema", json!(1)),
        ("/workload", json!("sleep")),
        ("/limited_by", json!("nobody")),
        ("/server/packets_sent", json!(null)),
        ("/settings/load/connections", json!(-1)),
        ("/series/runs", json!("6")),
        ("/goodput_bps", json!(-1)),
        ("/goodput_bps", json!(1.5)),
        ("/duration_s", json!("5")),
        ("/requests/failed", json!(null)),
        ("/latency_us/p50", json!("1")),
        ("/paths/0/share", json!(1.01)),
        ("/paths/1/state", json!("asleep")),
        ("/paths/0/rtt_us/min", json!(-3)),
        ("/paths/0/sender", json!(null)),
        ("/environment/io", json!("epoll")),
        ("/environment/surprise", json!(1)),
        ("/surprise", json!(1)),
    ] {
        let mut report = as_value(&example());
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        report.pointer_mut(parent).unwrap()[key] = value;
        assert_eq!(faults(&schema(), &report).len(), 1, "{pointer}");
    }
    for (pointer, key) in
        [("", "paths"), ("", "longest_stall_us"), ("/cpu", "server_s"), ("/environment", "git")]
    {
        let mut report = as_value(&example());
        report.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(key);
        assert_eq!(faults(&schema(), &report).len(), 1, "{key}");
    }
}

#[test]
fn the_data_senders_loss_and_the_shares_are_where_programs_look() {
    let report = as_value(&example());
    assert_eq!(report["paths"][0]["sender"]["packets_lost"], json!(12));
    assert_eq!(report["paths"][1]["sender"]["packets_lost"], json!(null));
    assert_eq!(report["paths"][1]["share"], json!(0.25));
    assert_eq!(report["latency_us"]["p999"], json!(1_200_000));
}

#[test]
fn rates_are_bits_per_second_of_the_measured_time() {
    assert_eq!(bits_per_second(1_000_000_000, Duration::from_secs(8)), 1_000_000_000);
    assert_eq!(bits_per_second(u64::MAX, Duration::ZERO), u64::MAX);
    assert_eq!(bits_per_second(0, Duration::ZERO), 0);
    assert!((example().bytes() - 5e9).abs() < 1.0);
}

/// What about `value` breaks `schema`: one line a fault. A keyword that this validator does not know is a fault too.
fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, value, "", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let kept = match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" => true,
            "$ref" => {
                let pointer =
                    rule.as_str().and_then(|link| link.strip_prefix('#')).expect("a local reference");
                check(root, root.pointer(pointer).expect(pointer), value, at, found);
                true
            }
            "type" => match rule {
                Value::Array(types) => types.iter().any(|name| has_type(name, value)),
                name => has_type(name, value),
            },
            "const" => rule == value,
            "enum" => rule.as_array().expect("a list").contains(value),
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
            "required" => value.as_object().is_none_or(|object| {
                rule.as_array()
                    .expect("a list")
                    .iter()
                    .all(|name| object.contains_key(name.as_str().expect("a name")))
            }),
            "properties" => {
                for (name, rule) in rule.as_object().expect("an object") {
                    if let Some(value) = value.get(name) {
                        check(root, rule, value, &format!("{at}/{name}"), found);
                    }
                }
                true
            }
            "additionalProperties" => {
                assert_eq!(rule, &json!(false));
                let known = schema["properties"].as_object().expect("an object");
                value.as_object().is_none_or(|object| object.keys().all(|name| known.contains_key(name)))
            }
            "items" => {
                for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, rule, value, &format!("{at}/{index}"), found);
                }
                true
            }
            _ => false,
        };
        if !kept {
            found.push(format!("{at} breaks {keyword} {rule}"));
        }
    }
}

fn has_type(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("a name") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("no type {other}"),
    }
}
