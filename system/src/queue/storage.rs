//! What a storage of the queue promises; the routes use nothing else of it.
//!
//! Every call returns after the storage has recorded the change, so a caller's 200 survives what the storage survives. A
//! task is delivered at least once: an acknowledgement that is refused or not answered leads to another delivery.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::task::{Delivery, Enqueued, FailedAttempt, Task, TaskId};
use crate::api::DeadTask;

/// Why a storage did not do what it was called for.
#[derive(Debug, thiserror::Error)]
pub(super) enum StorageError {
    /// The maximum number or size of tasks is reached.
    #[error("the queue is full")]
    Full,
    /// The lease has expired, or is unknown.
    #[error("the lease has expired")]
    Expired,
    /// There is no connection to the server.
    #[error("not connected to NATS")]
    Disconnected,
    /// The server did not answer in time.
    #[error("no answer from NATS in time")]
    TimedOut,
    /// The server refused the call or failed.
    #[error("NATS failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Number of tasks by state, and their size.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Depth {
    /// Waiting and delayed tasks.
    pub(super) waiting: usize,
    pub(super) leased: usize,
    pub(super) dead: usize,
    /// Size of all tasks.
    pub(super) bytes: usize,
}

/// Totals since the process started.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// Tasks enqueued.
    pub(super) enqueued: u64,
    /// Tasks that were not enqueued because the queue held a task of the same event.
    pub(super) duplicates: u64,
    /// Leases.
    pub(super) attempts: u64,
    /// Tasks acknowledged.
    pub(super) acknowledged: u64,
    /// Leases that expired.
    pub(super) expired: u64,
    /// Acknowledgements and returns that were refused, because their lease had expired or was unknown.
    pub(super) stale: u64,
}

/// A bounded queue of tasks with leases, shared by its clones.
pub(super) trait Storage: Clone + Debug + Send + Sync + 'static {
    /// Appends a task, unless the queue holds a task of the same event.
    fn enqueue(&self, task: Task) -> impl Future<Output = Result<Enqueued, StorageError>> + Send;

    /// Leases up to `max` tasks for `visibility`, oldest first. If none is available, waits for one until `wait_until`.
    fn lease(
        &self,
        max: usize,
        visibility: Duration,
        wait_until: Instant,
    ) -> impl Future<Output = Result<Vec<Delivery>, StorageError>> + Send;

    /// Removes a leased task.
    fn ack(&self, id: TaskId, lease: &str) -> impl Future<Output = Result<(), StorageError>> + Send;

    /// Ends a lease. The task becomes available after its delay, or a dead letter if it was its last attempt.
    fn nack(
        &self,
        id: TaskId,
        lease: &str,
        failed: FailedAttempt,
    ) -> impl Future<Output = Result<(), StorageError>> + Send;

    /// Returns up to `limit` dead letters whose ids are greater than `after`, by id.
    fn dead(
        &self,
        after: TaskId,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<DeadTask>, StorageError>> + Send;

    /// Makes dead letters available again, with their attempts at zero: those of `ids`, or all without `ids`. Returns their
    /// number.
    fn redrive(&self, ids: Option<Vec<TaskId>>) -> impl Future<Output = Result<usize, StorageError>> + Send;

    /// Returns the figures for the metrics. Does not wait.
    fn figures(&self) -> (Depth, Counts);
}
