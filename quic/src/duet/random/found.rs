//! Cases that once failed, as short as they became.
//!
//! Owns no rule: each test names what went wrong. All are played as random ones are.

use super::operation::{Case, Operation};
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
