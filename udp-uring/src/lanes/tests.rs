//! The order of trains, told with literal answers of the kernel.

use super::*;

fn piece(slot: u16, index: u16) -> Piece {
    Piece { slot, index }
}

fn lanes(count: u16) -> Lanes {
    let mut lanes = Lanes::new(8);
    (0..count).for_each(|_| lanes.open());
    lanes
}

fn take(lanes: &mut Lanes, limit: usize) -> (u16, Mood, Vec<Piece>) {
    let lane = lanes.next_ready().expect("a lane is ready");
    let mut pieces = Vec::new();
    let mood = lanes.take(lane, limit, &mut pieces);
    (lane, mood, pieces)
}

fn over(slot: u16) -> Finished {
    Finished { slot, failure: None }
}

#[test]
fn trains_leave_in_order_and_finish_in_order() {
    let mut lanes = lanes(1);
    lanes.push(0, 3, 1);
    lanes.push(0, 1, 2);
    let (_, mood, pieces) = take(&mut lanes, 100);
    assert_eq!((mood, &pieces[..]), (Mood::Eager, &[piece(3, 0), piece(1, 0), piece(1, 1)][..]));
    assert_eq!(lanes.eager_with_kernel(), 3);
    assert_eq!(lanes.on_outcome(piece(3, 0), mood, Outcome::Sent), Some(over(3)));
    assert_eq!(lanes.on_outcome(piece(1, 0), mood, Outcome::Sent), None);
    assert_eq!(lanes.on_outcome(piece(1, 1), mood, Outcome::Sent), Some(over(1)));
    assert!(!lanes.any_ready() && lanes.eager_with_kernel() == 0);
}

#[test]
fn nothing_is_handed_out_while_the_kernel_has_not_answered() {
    let mut lanes = lanes(1);
    lanes.push(0, 0, 1);
    lanes.push(0, 1, 1);
    let (_, mood, _) = take(&mut lanes, 1);
    lanes.push(0, 2, 1);
    assert!(!lanes.any_ready(), "slot 1 must not overtake slot 0");
    lanes.on_outcome(piece(0, 0), mood, Outcome::Sent);
    let (_, _, pieces) = take(&mut lanes, 100);
    assert_eq!(pieces, [piece(1, 0), piece(2, 0)]);
}

#[test]
fn a_full_socket_gets_one_patient_piece_and_then_the_rest() {
    let mut lanes = lanes(1);
    (0..3).for_each(|slot| lanes.push(0, slot, 1));
    let (_, eager, _) = take(&mut lanes, 100);
    assert_eq!(lanes.on_outcome(piece(0, 0), eager, Outcome::Sent), Some(over(0)));
    assert_eq!(lanes.on_outcome(piece(1, 0), eager, Outcome::Full), None);
    assert!(!lanes.any_ready(), "slot 2 is still with the kernel");
    assert_eq!(lanes.on_outcome(piece(2, 0), eager, Outcome::Cancelled), None);
    assert!(lanes.is_patient(0));
    let (_, mood, pieces) = take(&mut lanes, 100);
    assert_eq!((mood, &pieces[..]), (Mood::Patient, &[piece(1, 0)][..]));
    assert_eq!(lanes.eager_with_kernel(), 0, "nobody waits for a patient piece");
    assert_eq!(lanes.on_outcome(piece(1, 0), mood, Outcome::Sent), Some(over(1)));
    let (_, mood, pieces) = take(&mut lanes, 100);
    assert_eq!((mood, &pieces[..]), (Mood::Eager, &[piece(2, 0)][..]));
}

#[test]
fn a_refused_train_is_cut_up_before_anything_behind_it_leaves() {
    let mut lanes = lanes(1);
    lanes.push(0, 0, 1);
    lanes.push(0, 1, 1);
    let (lane, mood, _) = take(&mut lanes, 100);
    lanes.on_outcome(piece(0, 0), mood, Outcome::Refused);
    lanes.on_outcome(piece(1, 0), mood, Outcome::Cancelled);
    assert_eq!(lanes.next_ready(), Some(lane));
    assert_eq!(lanes.take_refused(lane), Some(piece(0, 0)));
    lanes.on_cut_up(0, 3);
    let mut pieces = Vec::new();
    lanes.take(lane, 100, &mut pieces);
    assert_eq!(pieces, [piece(0, 0), piece(0, 1), piece(0, 2), piece(1, 0)]);
}

#[test]
fn a_failed_train_ends_alone_and_only_when_the_kernel_is_done_with_it() {
    let mut lanes = lanes(1);
    lanes.push(0, 0, 3);
    lanes.push(0, 1, 1);
    let (_, mood, _) = take(&mut lanes, 100);
    assert_eq!(lanes.on_outcome(piece(0, 0), mood, Outcome::Failed(Fate::TooBig)), None);
    assert_eq!(lanes.on_outcome(piece(0, 1), mood, Outcome::Cancelled), None);
    let finished = lanes.on_outcome(piece(0, 2), mood, Outcome::Cancelled);
    assert_eq!(finished, Some(Finished { slot: 0, failure: Some(Fate::TooBig) }));
    assert_eq!(lanes.on_outcome(piece(1, 0), mood, Outcome::Cancelled), None);
    let (_, _, pieces) = take(&mut lanes, 100);
    assert_eq!(pieces, [piece(1, 0)]);
}

#[test]
fn a_limit_in_mid_train_goes_on_where_it_stopped() {
    let mut lanes = lanes(1);
    lanes.push(0, 0, 5);
    let (_, mood, first) = take(&mut lanes, 3);
    for piece in first {
        assert_eq!(lanes.on_outcome(piece, mood, Outcome::Sent), None);
    }
    let (_, _, rest) = take(&mut lanes, 3);
    assert_eq!(rest, [piece(0, 3), piece(0, 4)]);
}

#[test]
fn lanes_take_turns_and_do_not_wait_for_each_other() {
    let mut lanes = lanes(3);
    lanes.push(2, 0, 1);
    lanes.push(0, 1, 1);
    lanes.push(2, 2, 1);
    let (first, mood, _) = take(&mut lanes, 1);
    lanes.on_outcome(piece(0, 0), mood, Outcome::Full);
    let (second, ..) = take(&mut lanes, 1);
    assert_eq!((first, second), (2, 0));
    assert!(lanes.is_patient(2) && !lanes.is_patient(0));
}

/// Random answers for random trains: whatever the kernel says, it sees each lane's pieces in order, none twice taken.
#[test]
fn no_answers_of_the_kernel_change_the_order() {
    for seed in 1..200_u64 {
        let mut state = seed;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut lanes = lanes(2);
        let mut free: Vec<u16> = (0..8).collect();
        let (mut queued, mut sent) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        let mut names = [0_u64; 8]; // which train a slot holds
        let mut cut_from = [0_u16; 8]; // pieces sent before it was cut up
        let mut born = 0;
        for _ in 0..300 {
            if random(2) == 0 && !free.is_empty() {
                let (slot, lane) = (free.pop().unwrap(), random(2) as usize);
                born += 1;
                (names[usize::from(slot)], cut_from[usize::from(slot)]) = (born, 0);
                queued[lane].push(born);
                lanes.push(lane as u16, slot, 1 + random(4) as u16);
            }
            let Some(lane) = lanes.next_ready() else { continue };
            if let Some(refused) = lanes.take_refused(lane) {
                cut_from[usize::from(refused.slot)] += refused.index;
                lanes.on_cut_up(refused.slot, 2);
            }
            let mut pieces = Vec::new();
            let mood = lanes.take(lane, 1 + random(6) as usize, &mut pieces);
            let mut stopped = false;
            for piece in pieces {
                let outcome = match random(8) {
                    _ if stopped => Outcome::Cancelled,
                    0 if mood == Mood::Eager => Outcome::Full,
                    1 => Outcome::Refused,
                    2 => Outcome::Failed(Fate::Unreachable),
                    _ => Outcome::Sent,
                };
                stopped |= outcome != Outcome::Sent;
                if outcome == Outcome::Sent {
                    let slot = usize::from(piece.slot);
                    sent[usize::from(lane)].push((names[slot], cut_from[slot] + piece.index));
                }
                if let Some(finished) = lanes.on_outcome(piece, mood, outcome) {
                    free.push(finished.slot);
                }
            }
        }
        for lane in 0..2 {
            let ascending = sent[lane].windows(2).all(|pair| pair[0] < pair[1]);
            assert!(ascending, "seed {seed}: {:?}", sent[lane]);
            assert!(queued[lane].is_sorted() && !sent[lane].is_empty());
        }
    }
}
