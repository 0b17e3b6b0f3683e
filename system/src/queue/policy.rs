//! The lease policy of the queue, without sockets or a clock: capacity in tasks and bytes, order, leases, expiry,
//! acknowledgements.
//!
//! A task is always in exactly one state: waiting, delayed or leased. Only an acknowledgement removes it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use serde_json::value::RawValue;
use tokio::time::Instant;

/// Id of a task; decimal text on the wire.
pub(super) type TaskId = u64;

/// Id of a lease; decimal text on the wire.
pub(super) type LeaseId = u64;

/// Size of a task without its texts: its fields and its places in the queue's maps, rounded up.
const TASK_OVERHEAD_BYTES: usize = 512;

/// A task of the queue.
#[derive(Debug, Clone)]
pub(super) struct Task {
    /// Set by [`LeaseQueue::enqueue`].
    pub(super) id: TaskId,
    pub(super) task_type: String,
    pub(super) payload: Box<RawValue>,
    /// The sender's trace context.
    pub(super) otel: BTreeMap<String, String>,
    /// Number of leases so far.
    pub(super) attempts: u32,
    pub(super) enqueued_at: SystemTime,
}

impl Task {
    pub(super) fn new(task_type: String, payload: Box<RawValue>, otel: BTreeMap<String, String>) -> Self {
        Self { id: 0, task_type, payload, otel, attempts: 0, enqueued_at: SystemTime::now() }
    }

    /// Returns the size of the task in memory, approximately.
    fn bytes(&self) -> usize {
        let otel = self.otel.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        TASK_OVERHEAD_BYTES + self.task_type.len() + self.payload.get().len() + otel
    }
}

#[derive(Debug)]
struct Waiting {
    task: Task,
    /// When the task became available.
    since: Instant,
}

#[derive(Debug)]
struct Leased {
    task: Task,
    lease: LeaseId,
    until: Instant,
}

/// A task that was just leased to a consumer.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) task: Task,
    pub(super) lease: LeaseId,
    /// Time for which the task was available before it was leased.
    pub(super) waited: Duration,
}

/// Totals since the queue started.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// Tasks enqueued.
    pub(super) enqueued: u64,
    /// Tasks acknowledged.
    pub(super) acknowledged: u64,
    /// Leases that expired.
    pub(super) expired: u64,
}

/// A bounded queue of tasks with leases.
#[derive(Debug)]
pub(super) struct LeaseQueue {
    capacity: usize,
    max_bytes: usize,
    /// Size of all tasks.
    bytes: usize,
    next_id: TaskId,
    next_lease: LeaseId,
    /// Ids grow with time, so a task that is redelivered keeps its place in the order of arrival.
    waiting: BTreeMap<TaskId, Waiting>,
    /// By the time at which they become available.
    delayed: BTreeMap<(Instant, TaskId), Task>,
    leased: HashMap<TaskId, Leased>,
    /// The leases by the time at which they expire.
    expiries: BTreeSet<(Instant, TaskId)>,
    counts: Counts,
}

impl LeaseQueue {
    pub(super) fn new(capacity: usize, max_bytes: usize) -> Self {
        Self {
            capacity,
            max_bytes,
            bytes: 0,
            next_id: 1,
            next_lease: 1,
            waiting: BTreeMap::new(),
            delayed: BTreeMap::new(),
            leased: HashMap::new(),
            expiries: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// Returns the number of tasks that are not leased, delayed ones included, and of leased tasks.
    pub(super) fn depth(&self) -> (usize, usize) {
        (self.waiting.len() + self.delayed.len(), self.leased.len())
    }

    /// Returns the size of all tasks, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns whether no task is available.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Appends a task and returns its id, or `None` if the queue is full. Leased tasks count, as they may be redelivered.
    pub(super) fn enqueue(&mut self, mut task: Task, now: Instant) -> Option<TaskId> {
        let (waiting, leased) = self.depth();
        let bytes = task.bytes();
        if waiting + leased >= self.capacity || self.bytes + bytes > self.max_bytes {
            return None;
        }
        self.bytes += bytes;
        let id = self.next_id;
        self.next_id += 1;
        task.id = id;
        self.waiting.insert(id, Waiting { task, since: now });
        self.counts.enqueued += 1;
        Some(id)
    }

    /// Leases up to `max` tasks for `visibility`, oldest first.
    pub(super) fn lease(&mut self, max: usize, visibility: Duration, now: Instant) -> Vec<Delivery> {
        self.advance(now);
        let until = now + visibility;
        let mut deliveries = Vec::with_capacity(max.min(self.waiting.len()));
        while deliveries.len() < max
            && let Some((id, Waiting { mut task, since })) = self.waiting.pop_first()
        {
            task.attempts += 1;
            let lease = self.next_lease;
            self.next_lease += 1;
            self.expiries.insert((until, id));
            self.leased.insert(id, Leased { task: task.clone(), lease, until });
            deliveries.push(Delivery { task, lease, waited: now.duration_since(since) });
        }
        deliveries
    }

    /// Removes a task. Returns false if the lease has expired or is unknown.
    pub(super) fn ack(&mut self, id: TaskId, lease: LeaseId, now: Instant) -> bool {
        self.advance(now);
        let Some(task) = self.release(id, lease) else { return false };
        self.bytes -= task.bytes();
        self.counts.acknowledged += 1;
        true
    }

    /// Ends a lease and makes the task available after `delay`. Returns false if the lease has expired or is unknown.
    pub(super) fn nack(&mut self, id: TaskId, lease: LeaseId, delay: Duration, now: Instant) -> bool {
        self.advance(now);
        let Some(task) = self.release(id, lease) else { return false };
        self.delayed.insert((now + delay, id), task);
        self.advance(now);
        true
    }

    /// Returns the next time at which a delay or a lease ends.
    pub(super) fn next_change(&self) -> Option<Instant> {
        let delayed = self.delayed.first_key_value().map(|((at, _), _)| *at);
        let expiry = self.expiries.first().map(|(at, _)| *at);
        delayed.into_iter().chain(expiry).min()
    }

    /// Makes the tasks available whose delay or lease has ended at `now`.
    pub(super) fn advance(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.expiries.first()
            && at <= now
        {
            self.expiries.pop_first();
            if let Some(Leased { task, .. }) = self.leased.remove(&id) {
                self.counts.expired += 1;
                self.waiting.insert(id, Waiting { task, since: at });
            }
        }
        while let Some(entry) = self.delayed.first_entry()
            && entry.key().0 <= now
        {
            let ((since, id), task) = entry.remove_entry();
            self.waiting.insert(id, Waiting { task, since });
        }
    }

    fn release(&mut self, id: TaskId, lease: LeaseId) -> Option<Task> {
        if self.leased.get(&id).is_none_or(|leased| leased.lease != lease) {
            return None;
        }
        let leased = self.leased.remove(&id)?;
        self.expiries.remove(&(leased.until, id));
        Some(leased.task)
    }
}

#[cfg(test)]
mod tests;
