//! How far the encoding of a stored response has come: which codings were requested, and which are
//! made or declined.

use crate::rules::accept_encoding::Coding;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The requests for each coding of one stored response, and the claim to encode it.
///
/// ```text
/// counting requests ──► claimed ─┬─ made ────────► closed
///         ▲                      ├─ no gain ─────► closed
///         └── no room for work ──┘
/// ```
#[derive(Debug, Default)]
pub(crate) struct EncodingProgress {
    /// For each coding, the number of requests, or [`CLOSED`].
    requests: [AtomicU32; Coding::COUNT],
    /// Whether a coding is being made. Only one is made at a time, so that no variant is lost when
    /// another one is stored.
    is_claimed: AtomicBool,
}

/// The coding is not made again: it is made already, or its encoder declined.
const CLOSED: u32 = u32::MAX;

impl EncodingProgress {
    /// Counts a request for a coding. Returns the claim to make the coding if this is at least
    /// request number `after`, no coding of the response is being made, and the coding is open.
    pub(crate) fn claim(self: &Arc<Self>, coding: Coding, after: u32) -> Option<EncodingClaim> {
        let counter = &self.requests[coding.index()];
        let add = |count: u32| (count < CLOSED - 1).then(|| count + 1);
        let before = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        if before + 1 < after || self.is_claimed.swap(true, Ordering::Acquire) {
            return None;
        }
        // The coding may have been closed before the claim.
        let is_open = self.is_open(coding);
        let claim = EncodingClaim { progress: Arc::clone(self), coding, closes: is_open };
        is_open.then_some(claim)
    }

    /// Returns `true` if a coding is neither made nor declined.
    pub(crate) fn is_open(&self, coding: Coding) -> bool {
        self.requests[coding.index()].load(Ordering::Relaxed) != CLOSED
    }
}

/// The claim to make one coding. When the claim is dropped, the coding is closed, also after a
/// panic. A [released](Self::release) coding stays open.
#[derive(Debug)]
pub(crate) struct EncodingClaim {
    progress: Arc<EncodingProgress>,
    coding: Coding,
    closes: bool,
}

impl EncodingClaim {
    pub(crate) fn coding(&self) -> Coding {
        self.coding
    }

    /// Returns `true` if the claim is on a response with this progress.
    pub(crate) fn is_on(&self, progress: &Arc<EncodingProgress>) -> bool {
        Arc::ptr_eq(&self.progress, progress)
    }

    /// Ends the claim. A later request may claim the coding again.
    pub(crate) fn release(mut self) {
        self.closes = false;
    }
}

impl Drop for EncodingClaim {
    fn drop(&mut self) {
        if self.closes {
            self.progress.requests[self.coding.index()].store(CLOSED, Ordering::Relaxed);
        }
        self.progress.is_claimed.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Coding::{Brotli, Gzip};

    #[test]
    fn nth_request_for_a_coding_claims_it_once() {
        let progress = Arc::new(EncodingProgress::default());
        assert!(progress.claim(Gzip, 3).is_none() && progress.claim(Gzip, 3).is_none());
        assert!(progress.claim(Brotli, 2).is_none(), "codings are counted separately");
        let claim = progress.claim(Gzip, 3).expect("the third request");
        assert!(claim.is_on(&progress) && claim.coding() == Gzip);
        assert!(progress.claim(Brotli, 2).is_none(), "one coding is made at a time");
        drop(claim);
        assert!(!progress.is_open(Gzip) && progress.claim(Gzip, 3).is_none());
        assert!(progress.claim(Brotli, 2).is_some());
    }

    #[test]
    fn released_claim_leaves_the_coding_open() {
        let progress = Arc::new(EncodingProgress::default());
        progress.claim(Gzip, 1).expect("a claim").release();
        assert!(progress.is_open(Gzip));
        assert!(progress.claim(Gzip, 1).is_some());
    }
}
