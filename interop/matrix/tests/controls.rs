//! The peers among themselves: what fails here is not our fault.

use interop_perf::report::Report;
use matrix::Stack::{self, Iroh, Noq, Quinn};
use matrix::show_shares;

const DOWNLOAD_BYTES: u64 = 100_000_000;

#[track_caller]
fn download(server: Stack, client: Stack, options: &[&str]) -> Report {
    let mut server_process = server.serve(&[]);
    let report = client.ask(&mut server_process, options);
    show_shares(&format!("{client:?} from {server:?}"), &report);
    assert_eq!((report.requests, report.bytes_received), (1, DOWNLOAD_BYTES));
    assert!(
        !server_process.notes().iter().any(|note| note.contains("ended")),
        "{:?}",
        server_process.notes()
    );
    report
}

#[test]
fn quinn_downloads_from_quinn() {
    let _ = download(Quinn, Quinn, &[]);
}

#[test]
fn quinn_downloads_from_noq() {
    let _ = download(Noq, Quinn, &[]);
}

#[test]
fn noq_downloads_from_quinn() {
    let _ = download(Quinn, Noq, &[]);
}

#[test]
fn noq_downloads_from_noq() {
    let report = download(Noq, Noq, &[]);
    assert!(!report.multipath);
}

#[test]
fn noq_downloads_from_noq_over_four_paths() {
    let report = download(Noq, Noq, &["--paths", "4"]);
    assert!(report.multipath);
    assert_eq!(report.paths.len(), 4);
    assert!(report.paths.iter().all(|path| path.bytes_received > 0), "{report:?}");
}

#[test]
fn noq_makes_do_with_one_path_where_the_server_has_no_multipath() {
    let report = download(Quinn, Noq, &["--paths", "4"]);
    assert!(!report.multipath);
    assert_eq!(report.paths.len(), 1);
}

#[test]
fn an_older_draft_speaks_multipath_with_itself_and_with_nobody_else() {
    assert!(download(Iroh, Iroh, &[]).multipath);
    assert!(!download(Noq, Iroh, &[]).multipath);
}
