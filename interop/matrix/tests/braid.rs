//! Our server and our loadgen with other people's stacks.

use interop_perf::report::Report;
use matrix::Stack::{self, Braid, Iroh, Noq, Quinn};
use matrix::{LoadgenRun, show_shares};

const DOWNLOAD_BYTES: u64 = 100_000_000;

/// Two seconds of requests that are small enough that many are complete.
const LOAD: [&str; 6] = ["--paths", "4", "--duration", "2s", "--download", "10M"];

#[track_caller]
fn download_from_us(client: Stack, server_options: &[&str], options: &[&str]) -> Report {
    let mut server = Braid.serve(server_options);
    let report = client.ask(&mut server, options);
    show_shares(&format!("{client:?} from Braid {}", options.join(" ")), &report);
    assert_eq!((report.requests, report.bytes_received), (1, DOWNLOAD_BYTES));
    report
}

/// Loads a peer's server with our loadgen.
#[track_caller]
fn load(server: Stack, options: &[&str]) -> LoadgenRun {
    let mut process = server.serve(&[]);
    let run = process.loadgen(options);
    run.report.show(&format!("loadgen from {server:?}"));
    assert_eq!(run.report.schema, 2);
    assert!(run.report.duration_s > 1.9, "{run:?}");
    assert!(run.report.goodput_bps > 0, "{run:?}");
    assert!(run.report.requests.completed > 0, "{run:?}");
    assert_eq!(run.report.requests.failed, 0, "{run:?}");
    let shares: f64 = run.report.paths.iter().map(|path| path.share).sum();
    assert!((shares - 1.0).abs() < 0.01, "{run:?}");
    assert!(
        !process.notes().iter().any(|note| note.contains("the connection from")),
        "{:?}",
        process.notes()
    );
    run
}

#[test]
fn quinn_downloads_from_us() {
    let _ = download_from_us(Quinn, &[], &[]);
}

#[test]
fn a_client_of_an_older_draft_gets_one_path_and_no_error() {
    let report = download_from_us(Iroh, &[], &[]);
    assert!(!report.multipath);
}

#[test]
fn we_use_one_path_with_a_server_of_an_older_draft_and_say_why() {
    one_path_for_four(Iroh);
}

#[test]
fn noq_downloads_from_us() {
    let report = download_from_us(Noq, &[], &[]);
    assert!(!report.multipath);
}

#[test]
fn noq_downloads_from_us_over_four_paths() {
    let report = download_from_us(Noq, &["--scheduler", "round-robin"], &["--paths", "4"]);
    assert!(report.multipath);
    assert_eq!(report.paths.len(), 4);
    assert!(report.paths.iter().all(|path| path.share_of(&report.paths) > 0.1), "{report:?}");
}

/// MP-017
#[test]
fn noq_gets_one_path_where_we_have_multipath_switched_off() {
    let report = download_from_us(Noq, &["--max-paths", "1"], &["--paths", "4"]);
    assert!(!report.multipath);
    assert_eq!(report.paths.len(), 1);
}

#[test]
fn both_directions_of_many_streams_work_with_our_server() {
    let both = ["--streams", "20", "--download", "2000000", "--upload", "1000000"];
    for (client, paths) in [(Quinn, "1"), (Noq, "4")] {
        let mut server = Braid.serve(&[]);
        let report = client.ask(&mut server, &[&both[..], &["--paths", paths]].concat());
        show_shares(&format!("{client:?}, 20 streams both ways with Braid"), &report);
        assert_eq!(report.requests, 20);
        assert_eq!((report.bytes_received, report.bytes_sent), (40_000_000, 20_000_000));
    }
}

#[test]
fn we_download_from_quinn_over_one_path_and_say_why() {
    one_path_for_four(Quinn);
}

#[track_caller]
fn one_path_for_four(server: Stack) {
    let run = load(server, &LOAD);
    let reasons = run.notes.iter().filter(|note| note.contains("no multipath")).count();
    assert_eq!(reasons, 1, "{:?}", run.notes);
    assert_eq!(run.report.open_paths(), 1);
    assert!(run.report.paths[0].share > 0.99, "{run:?}");
}

#[test]
fn we_download_from_noq_over_four_paths() {
    let run = load(Noq, &LOAD);
    assert!(!run.notes.iter().any(|note| note.contains("no multipath")), "{:?}", run.notes);
    assert_eq!(run.report.paths.len(), 4);
    assert_eq!(run.report.open_paths(), 4, "{run:?}");
    // Which path carries how much is noq's choice: it fills the first before it takes another.
    assert!(run.report.paths.iter().all(|path| path.packets_received > 0), "{run:?}");
}
