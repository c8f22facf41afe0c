//! Where in its life a path is.
//!
//! One enum that carries its data, so that a path cannot be validated and abandoned at once. The transitions are
//! `Path`'s; here is only what each stage allows.

use crate::base::time::Instant;
use crate::stats::PathStage;

/// The life of a path ID, from issuing connection IDs to the end of late packets.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Connection IDs may have been exchanged; nothing was sent or received.
    Reserved,
    /// Used, but the peer's address is not proven. Only challenges, their answers and acknowledgements leave, and the
    /// handshake's packets on path 0. The challenge is the route's.
    Probing,
    /// Usable.
    Open,
    /// Usable, but acknowledgements are overdue: what is in flight is sent elsewhere too, and only probes leave here.
    Suspect { since: Instant },
    /// Given up; the frame that says so has not left. It may still leave here (MP-162).
    AbandonQueued,
    /// Silent (MP-161). Late packets are still opened, and acknowledged elsewhere (MP-164, MP-170).
    Leaving { until: Instant },
}

impl Stage {
    /// May stream data and other frames leave here?
    pub(crate) fn is_usable(&self) -> bool {
        matches!(self, Self::Open | Self::Suspect { .. })
    }

    pub(crate) fn is_suspect(&self) -> bool {
        matches!(self, Self::Suspect { .. })
    }

    /// Given up by us or by the peer?
    pub(crate) fn is_abandoned(&self) -> bool {
        matches!(self, Self::AbandonQueued | Self::Leaving { .. })
    }

    /// As its owner sees it.
    pub(crate) fn shown(&self) -> PathStage {
        match self {
            Self::Reserved => PathStage::Reserved,
            Self::Probing => PathStage::Probing,
            Self::Open => PathStage::Open,
            Self::Suspect { .. } => PathStage::Suspect,
            Self::AbandonQueued | Self::Leaving { .. } => PathStage::Leaving,
        }
    }
}
