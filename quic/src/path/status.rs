//! Our advice to the peer on one path and the peer's to us: available or backup (MP-140 to MP-151).
//!
//! Owns both sequence numbers. The scheduler obeys the peer's advice as data senders should; ours binds nobody here.

use crate::id::PathId;
use crate::path::cids::Post;
use crate::wire::cursor::Writer;
use crate::wire::frame::Frame;
use crate::wire::receipt::{Receipt, Receipts};

/// Status in both directions.
#[derive(Debug, Default)]
pub(crate) struct StatusPair {
    ours: Ours,
    theirs: Option<(u64, bool)>,
}

#[derive(Debug, Default)]
struct Ours {
    backup: bool,
    /// The path is suspect: the peer should avoid it too.
    doubted: bool,
    /// Number of the last frame; the first has 1, since some peers ignore 0 (MP-151).
    sequence: u64,
    /// The state of the last frame, `None` before the first.
    post: Option<Post>,
}

impl Ours {
    /// What the peer is told: to use the path only when no other is usable?
    fn advice(&self) -> bool {
        self.backup || self.doubted
    }
}

impl StatusPair {
    /// We would like the peer to treat the path so. `true` if a frame is to be sent.
    pub(crate) fn set(&mut self, backup: bool) -> bool {
        self.change(|ours| ours.backup = backup)
    }

    /// The path became suspect, or recovered (MP-143). `true` if a frame is to be sent.
    pub(crate) fn set_doubted(&mut self, doubted: bool) -> bool {
        self.change(|ours| ours.doubted = doubted)
    }

    fn change(&mut self, change: impl FnOnce(&mut Ours)) -> bool {
        let before = self.ours.advice();
        change(&mut self.ours);
        let news = self.ours.advice() != before;
        if news {
            self.ours.post = Some(Post::Queued);
        }
        news
    }

    /// The path was validated just now: peers drop what they hear of a path they do not know yet, so say it again.
    pub(crate) fn announce(&mut self) {
        if self.ours.advice() {
            self.ours.post = Some(Post::Queued);
        }
    }

    /// Takes in the peer's frame. `true` if it is newer than all before and changes the advice (MP-146).
    pub(crate) fn on_frame(&mut self, sequence: u64, backup: bool) -> bool {
        if self.theirs.is_some_and(|(newest, _)| sequence <= newest) {
            return false;
        }
        let before = self.is_backup();
        self.theirs = Some((sequence, backup));
        before != backup
    }

    /// The path is to be used only when no other is: the peer's advice, or our own wish where the peer gave none.
    pub(crate) fn is_backup(&self) -> bool {
        self.theirs.map_or(self.ours.backup, |(_, backup)| backup)
    }

    /// Our own wish, which the application set.
    pub(crate) fn is_backup_by_us(&self) -> bool {
        self.ours.backup
    }

    pub(crate) fn wants(&self) -> bool {
        self.ours.post == Some(Post::Queued)
    }

    /// Writes the current status; the number is taken now, so what is sent is always the newest (MP-145, MP-225).
    pub(crate) fn write(&mut self, w: &mut Writer<'_>, receipts: &mut Receipts, path: PathId) {
        let sequence = self.ours.sequence + 1;
        let frame = Frame::PathStatus { path: u64::from(path.0), sequence, backup: self.ours.advice() };
        if !frame.fits(w) {
            return;
        }
        frame.write(w);
        receipts.push(Receipt::path_status(path, sequence));
        self.ours.sequence = sequence;
        self.ours.post = Some(Post::Sent);
    }

    /// The frame with this number was acknowledged or lost; only the last one matters (MP-149).
    pub(crate) fn on_settled(&mut self, sequence: u64, acked: bool) {
        if self.ours.sequence == sequence && self.ours.post == Some(Post::Sent) {
            self.ours.post = Some(if acked { Post::Acked } else { Post::Queued });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(status: &mut StatusPair) -> Vec<u8> {
        let (mut buffer, mut receipts) = ([0; 16], Receipts::default());
        let mut w = Writer::new(&mut buffer);
        status.write(&mut w, &mut receipts, PathId(2));
        w.written().to_vec()
    }

    /// MP-145, MP-225
    #[test]
    fn each_frame_has_a_higher_number_and_the_newest_state() {
        let mut status = StatusPair::default();
        assert!(!status.set(false), "available is what the peer assumes");
        assert!(status.set(true));
        assert_eq!(written(&mut status), [0x7e, 0x76, 2, 1]);
        assert!(status.set(false));
        assert_eq!(written(&mut status), [0x7e, 0x77, 2, 2]);
        assert!(!status.wants());
    }

    /// MP-149
    #[test]
    fn only_the_loss_of_the_last_frame_repeats_it() {
        let mut status = StatusPair::default();
        status.set(true);
        written(&mut status);
        status.set(false);
        written(&mut status);
        status.on_settled(1, false);
        assert!(!status.wants());
        status.on_settled(2, false);
        assert!(status.wants());
        assert_eq!(written(&mut status), [0x7e, 0x77, 2, 3]);
    }

    /// MP-146, P-59
    #[test]
    fn late_and_equal_numbers_of_the_peer_are_ignored() {
        let mut status = StatusPair::default();
        assert!(status.on_frame(5, true));
        assert!(!status.on_frame(5, false));
        assert!(!status.on_frame(4, false));
        assert!(status.is_backup());
        assert!(status.on_frame(6, false));
        assert!(!status.on_frame(7, false), "newer but no change");
        assert!(!status.is_backup());
    }

    #[test]
    fn without_the_peers_advice_our_own_wish_holds() {
        let mut status = StatusPair::default();
        status.set(true);
        assert!(status.is_backup());
        status.on_frame(0, false);
        assert!(!status.is_backup());
    }

    /// MP-151
    #[test]
    fn a_backup_path_is_announced_again_once_it_is_validated() {
        let mut status = StatusPair::default();
        status.announce();
        assert!(!status.wants());
        status.set(true);
        written(&mut status);
        status.announce();
        assert!(status.wants());
    }
}
