//! The memory budget for messages in flight. A message reserves its bytes as they arrive, and releases them when it has been
//! handled; when the budget is exhausted, the message is refused, and the sender may retry after [`RETRY_AFTER`].
//!
//! The budget bounds the memory for slow senders of large messages. Such senders delay each other and do not displace the
//! store.
//!
//! Considered: `tower`'s load shedding and concurrency limits. They count requests; here the bytes count, and a request's
//! length is unknown until it has arrived and is decompressed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::otlp::MAX_MESSAGE;

/// Time after which a refused sender may retry.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Minimum budget, in messages of the maximum size. The JSON form of a message may take as much again.
const MIN_MESSAGES: usize = 3;

/// Size above which a message counts as large.
pub(super) const LARGE_MESSAGE: usize = 1 << 20;

/// Maximum number of compressed or JSON messages that are decoded at once: each decoding thread retains some memory.
const DECODE_PERMITS: usize = 2;

/// Maximum number of large messages that are decompressed, converted from JSON or ingested at once: each takes several times
/// its size.
const LARGE_MESSAGE_PERMITS: usize = 1;

/// Maximum wait for a permit.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(3);

/// Size of the budget, as a divisor of the store's size.
const STORE_DIVISOR: usize = 8;

/// The budget, shared by all receivers.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    max_bytes: usize,
    reserved: AtomicUsize,
    decode_permits: Arc<Semaphore>,
    large_message_permits: Arc<Semaphore>,
}

/// The budget is exhausted.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("collector overloaded: retry in {} s", RETRY_AFTER.as_secs())]
pub(crate) struct Overloaded;

/// The bytes reserved for one message. Released on drop.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<MemoryBudget>,
    bytes: AtomicUsize,
}

/// A body that reserves each frame before returning it.
#[derive(Debug)]
pub(crate) struct BudgetedBody<B> {
    body: B,
    reservation: Arc<Reservation>,
}

impl MemoryBudget {
    /// Returns the budget beside a store of `store_max_bytes`.
    pub(crate) fn for_store(store_max_bytes: usize) -> Self {
        Self {
            max_bytes: (store_max_bytes / STORE_DIVISOR).max(MIN_MESSAGES * MAX_MESSAGE),
            reserved: AtomicUsize::new(0),
            decode_permits: Arc::new(Semaphore::new(DECODE_PERMITS)),
            large_message_permits: Arc::new(Semaphore::new(LARGE_MESSAGE_PERMITS)),
        }
    }

    /// Returns the size of the budget in bytes.
    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Returns the number of reserved bytes.
    pub(crate) fn reserved(&self) -> usize {
        self.reserved.load(Relaxed)
    }

    /// Waits for a permit to decompress a message or to parse its JSON. Fails after a timeout.
    pub(super) async fn decode_permit(&self) -> Result<OwnedSemaphorePermit, Overloaded> {
        self.permit(&self.decode_permits).await
    }

    /// Waits for a permit to decompress, parse or ingest a large message. Fails like [`Self::decode_permit`].
    pub(super) async fn large_message_permit(&self) -> Result<OwnedSemaphorePermit, Overloaded> {
        self.permit(&self.large_message_permits).await
    }

    async fn permit(&self, permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Overloaded> {
        let permit = timeout(PERMIT_TIMEOUT, Arc::clone(permits).acquire_owned()).await;
        permit.ok().and_then(Result::ok).ok_or(Overloaded)
    }

    /// Returns an empty reservation for a message.
    pub(super) fn reservation(self: &Arc<Self>) -> Arc<Reservation> {
        Arc::new(Reservation { budget: Arc::clone(self), bytes: AtomicUsize::new(0) })
    }
}

impl Reservation {
    /// Reserves more bytes; fails if the budget is exhausted.
    pub(super) fn grow(&self, bytes: usize) -> Result<(), Overloaded> {
        let MemoryBudget { max_bytes, reserved, .. } = &*self.budget;
        let is_large = self.bytes.load(Relaxed) + bytes > LARGE_MESSAGE;
        // Large messages leave a quarter of the budget to small ones.
        let max_bytes = if is_large { *max_bytes / 4 * 3 } else { *max_bytes };
        if reserved.fetch_add(bytes, Relaxed) + bytes > max_bytes {
            reserved.fetch_sub(bytes, Relaxed);
            return Err(Overloaded);
        }
        self.bytes.fetch_add(bytes, Relaxed);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.reserved.fetch_sub(self.bytes.load(Relaxed), Relaxed);
    }
}

impl<B> BudgetedBody<B> {
    /// Wraps a body.
    pub(super) fn new(body: B, reservation: Arc<Reservation>) -> Self {
        Self { body, reservation }
    }
}

impl<B> Body for BudgetedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else { return Poll::Ready(None) };
        Poll::Ready(Some(match frame {
            Ok(frame) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.reservation.grow(bytes).map(|()| frame).map_err(Into::into)
            }
            Err(error) => Err(error.into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    fn budget(max_bytes: usize) -> Arc<MemoryBudget> {
        Arc::new(MemoryBudget { max_bytes, ..MemoryBudget::for_store(0) })
    }

    #[test]
    fn large_messages_leave_a_quarter_to_small_ones() {
        let budget = budget(8 * LARGE_MESSAGE);
        let (large, small) = (budget.reservation(), budget.reservation());
        large.grow(6 * LARGE_MESSAGE).unwrap();
        assert!(large.grow(1).is_err());
        small.grow(LARGE_MESSAGE).unwrap();
        budget.reservation().grow(LARGE_MESSAGE).unwrap();
        assert!(small.grow(1).is_err(), "it is large now");
    }

    #[tokio::test]
    async fn releases_reservations_and_reserves_nothing_when_overloaded() {
        let budget = budget(100);
        let body = |budget: &Arc<MemoryBudget>| {
            BudgetedBody::new(Full::new(Bytes::from(vec![0; 60])), budget.reservation())
        };
        let reservation = budget.reservation();
        reservation.grow(50).unwrap();
        let refused = body(&budget).collect().await.unwrap_err();
        assert!(refused.is::<Overloaded>(), "{refused}");
        assert_eq!(budget.reserved(), 50);
        drop(reservation);
        let collected = body(&budget).collect().await.unwrap().to_bytes();
        assert_eq!((collected.len(), budget.reserved()), (60, 0));
    }
}
