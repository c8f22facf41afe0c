//! Cases that once failed, as short as they became.
//!
//! Owns no rule: each test names what went wrong. All are played as random ones are.

use super::operation::{Case, Odd, Operation};
use super::play::play;
use crate::id::Role;

fn played(paths: u32, operations: &[Operation]) {
    play(&Case { paths, operations: operations.to_vec() });
}

#[test]
fn a_datagram_that_left_in_time_leaves_no_deadline_behind() {
    let by = Role::Client;
    played(1, &[Operation::Datagram { by, bytes: 0, on_path: None, lifetime_ms: Some(1) }]);
}

#[test]
fn the_size_of_a_path_that_was_given_up_is_no_news() {
    played(
        1,
        &[
            Operation::Open { line: 1, if_absent: false, backup: false },
            Operation::Wait { ms: 11 },
            Operation::Abandon { by: Role::Server, path: 1, code: 0 },
        ],
    );
}

#[test]
fn nothing_is_told_of_paths_behind_the_end_of_their_connection() {
    let by = Role::Server;
    played(4, &[Operation::Close { by }, Operation::Abandon { by, path: 0, code: 0 }]);
}

#[test]
fn what_arrives_for_a_stopped_stream_across_a_gap_counts_no_more_than_it_is() {
    let (client, server) = (Role::Client, Role::Server);
    played(
        5,
        &[
            Operation::Wait { ms: 1 },
            Operation::Write { by: client, stream: 6, bytes: 1 },
            Operation::Hold { from: client },
            Operation::Wait { ms: 1020 },
            Operation::Wait { ms: 1 },
            Operation::Stop { by: server, stream: 4 },
            Operation::Open { line: 0, if_absent: false, backup: false },
            Operation::Write { by: client, stream: 4, bytes: 12_731 },
            Operation::Cut { line: 4, up: true, down: false },
            Operation::Wait { ms: 1 },
        ],
    );
}

#[test]
fn a_probe_that_an_unproven_address_gives_no_credit_for_is_not_due() {
    played(
        2,
        &[
            Operation::Rebind { line: 1, port: 5001 },
            Operation::Hold { from: Role::Server },
            Operation::Open { line: 0, if_absent: false, backup: false },
            Operation::Wait { ms: 143 },
            Operation::Cut { line: 1, up: true, down: false },
            Operation::Wait { ms: 2190 },
        ],
    );
}

#[test]
fn ends_that_gave_up_the_only_way_of_each_other_find_out() {
    let (client, server) = (Role::Client, Role::Server);
    played(
        2,
        &[
            Operation::Wait { ms: 2 },
            Operation::Cut { line: 1, up: false, down: true },
            Operation::Open { line: 1, if_absent: false, backup: false },
            Operation::Wait { ms: 5317 },
            Operation::Open { line: 0, if_absent: false, backup: false },
            Operation::Abandon { by: client, path: 1, code: 0 },
            Operation::Wait { ms: 557 },
            Operation::Datagram { by: server, bytes: 0, on_path: None, lifetime_ms: None },
            Operation::Drop { from: client, count: 3 },
            Operation::Write { by: client, stream: 1, bytes: 0 },
            Operation::Wait { ms: 1 },
            Operation::Hold { from: client },
            Operation::Cut { line: 2, up: true, down: false },
            Operation::Wait { ms: 551 },
            Operation::Open { line: 5, if_absent: false, backup: false },
            Operation::Open { line: 1, if_absent: false, backup: false },
            Operation::Wait { ms: 459 },
            Operation::Cut { line: 5, up: true, down: false },
            Operation::Cut { line: 0, up: false, down: true },
            Operation::Wait { ms: 11_060 },
            Operation::Datagram { by: server, bytes: 0, on_path: None, lifetime_ms: None },
        ],
    );
}

#[test]
fn frames_that_left_on_a_dead_path_are_repeated_on_every_one_that_may_work() {
    let (client, server) = (Role::Client, Role::Server);
    played(
        2,
        &[
            Operation::Cut { line: 0, up: true, down: false },
            Operation::Open { line: 4, if_absent: false, backup: false },
            Operation::Wait { ms: 10 },
            Operation::Say { by: server, path: 0, what: Odd::Abandon { path: 1, code: 0 } },
            Operation::Rebind { line: 1, port: 5001 },
            Operation::Abandon { by: server, path: 0, code: 0 },
            Operation::Drop { from: client, count: 4 },
            Operation::Cut { line: 4, up: false, down: true },
            Operation::Wait { ms: 7984 },
            Operation::Wait { ms: 1 },
            Operation::Wait { ms: 2287 },
            Operation::Wait { ms: 569 },
            Operation::Wait { ms: 1264 },
            Operation::Wait { ms: 1339 },
            Operation::Wait { ms: 6566 },
            Operation::Write { by: client, stream: 0, bytes: 2839 },
            Operation::Wait { ms: 4018 },
            Operation::Wait { ms: 1086 },
            Operation::Wait { ms: 30 },
            Operation::Wait { ms: 835 },
            Operation::Wait { ms: 31 },
        ],
    );
}

#[test]
fn what_the_peer_must_know_of_given_up_paths_is_in_every_probe() {
    let (client, server) = (Role::Client, Role::Server);
    played(
        2,
        &[
            Operation::Cut { line: 0, up: true, down: false },
            Operation::Open { line: 4, if_absent: false, backup: false },
            Operation::Wait { ms: 10 },
            Operation::Say { by: server, path: 0, what: Odd::Abandon { path: 1, code: 0 } },
            Operation::Rebind { line: 1, port: 5001 },
            Operation::Abandon { by: server, path: 0, code: 0 },
            Operation::Drop { from: client, count: 1 },
            Operation::Cut { line: 4, up: false, down: true },
            Operation::Wait { ms: 5984 },
            Operation::Write { by: server, stream: 0, bytes: 0 },
            Operation::Wait { ms: 2288 },
            Operation::Wait { ms: 569 },
            Operation::Wait { ms: 1264 },
            Operation::Wait { ms: 1339 },
            Operation::Wait { ms: 6566 },
            Operation::Abandon { by: client, path: 2, code: 0 },
            Operation::Write { by: client, stream: 0, bytes: 4249 },
            Operation::Wait { ms: 4018 },
            Operation::Wait { ms: 1086 },
            Operation::Wait { ms: 30 },
            Operation::Wait { ms: 835 },
            Operation::Wait { ms: 31 },
        ],
    );
}

#[test]
fn frames_that_left_on_a_path_just_given_up_are_repeated_although_its_peer_does_not_answer() {
    let (client, server) = (Role::Client, Role::Server);
    played(
        2,
        &[
            Operation::Wait { ms: 1 },
            Operation::Wait { ms: 1 },
            Operation::Write { by: client, stream: 0, bytes: 5123 },
            Operation::Open { line: 0, if_absent: false, backup: true },
            Operation::Hold { from: client },
            Operation::Abandon { by: client, path: 0, code: 0 },
            Operation::Wait { ms: 525 },
            Operation::Open { line: 6, if_absent: false, backup: false },
            Operation::Abandon { by: server, path: 1, code: 0 },
            Operation::LocalGone { line: 6 },
            Operation::Wait { ms: 476 },
        ],
    );
}
