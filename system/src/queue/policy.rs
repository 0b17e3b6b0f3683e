//! The lease policy of the queue in memory, without sockets or a clock: capacity in tasks and bytes, order, leases, expiry,
//! acknowledgements, attempts, dead letters.
//!
//! A task is always in exactly one state: waiting, delayed, leased or dead. Only an acknowledgement removes it. An attempt
//! is counted when the task is leased, so a consumer that the task kills uses up an attempt, too. A task whose last attempt
//! fails becomes a dead letter, which stays within the limits until it is redriven: at the limits the queue refuses new tasks,
//! and drops none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::limits::Limits;
use super::storage::{Counts, Depth};
use super::task::{Enqueued, FailedAttempt, Task, TaskId};

/// Id of a lease; decimal text on the wire.
pub(super) type LeaseId = u64;

/// A task that the queue holds. Shared, so that its texts are copied without the lock of the queue.
#[derive(Debug, Clone)]
struct Held {
    task: Arc<Task>,
    /// Number of leases so far.
    attempts: u32,
}

#[derive(Debug)]
struct Waiting {
    held: Held,
    /// When the task became available.
    since: Instant,
}

#[derive(Debug)]
struct Leased {
    held: Held,
    lease: LeaseId,
    until: Instant,
}

/// A task whose attempts are used up.
#[derive(Debug, Clone)]
pub(super) struct Dead {
    pub(super) task: Arc<Task>,
    pub(super) attempts: u32,
    /// Why the last attempt failed.
    pub(super) reason: String,
    pub(super) died_at: DateTime<Utc>,
}

/// A task that was just leased to a consumer.
#[derive(Debug, Clone)]
pub(super) struct Leasing {
    pub(super) id: TaskId,
    pub(super) lease: LeaseId,
    pub(super) task: Arc<Task>,
    /// Number of leases so far, this one included.
    pub(super) attempts: u32,
    /// Time for which the task was available before it was leased.
    pub(super) waited: Duration,
}

/// A bounded queue of tasks with leases.
#[derive(Debug)]
pub(super) struct LeaseQueue {
    limits: Limits,
    /// Size of all tasks.
    bytes: usize,
    next_id: TaskId,
    next_lease: LeaseId,
    /// Ids grow with time, so a task that is redelivered keeps its place in the order of arrival.
    waiting: BTreeMap<TaskId, Waiting>,
    /// By the time at which they become available.
    delayed: BTreeMap<(Instant, TaskId), Held>,
    leased: HashMap<TaskId, Leased>,
    /// The leases by the time at which they expire.
    expiries: BTreeSet<(Instant, TaskId)>,
    dead: BTreeMap<TaskId, Dead>,
    /// The tasks that have an event.
    events: HashMap<String, TaskId>,
    counts: Counts,
}

impl LeaseQueue {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            bytes: 0,
            next_id: 1,
            next_lease: 1,
            waiting: BTreeMap::new(),
            delayed: BTreeMap::new(),
            leased: HashMap::new(),
            expiries: BTreeSet::new(),
            dead: BTreeMap::new(),
            events: HashMap::new(),
            counts: Counts::default(),
        }
    }

    pub(super) fn depth(&self) -> Depth {
        let waiting = self.waiting.len() + self.delayed.len();
        Depth { waiting, leased: self.leased.len(), dead: self.dead.len(), bytes: self.bytes }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns whether no task is available.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Appends a task, unless the queue holds a task of the same event. Returns `None` if the queue is full.
    pub(super) fn enqueue(&mut self, task: Task, now: Instant) -> Option<Enqueued> {
        if let Some(&id) = task.event_id.as_ref().and_then(|event| self.events.get(event)) {
            self.counts.duplicates += 1;
            return Some(Enqueued::Duplicate(id));
        }
        let Depth { waiting, leased, dead, .. } = self.depth();
        let bytes = task.bytes();
        if waiting + leased + dead >= self.limits.tasks || self.bytes + bytes > self.limits.bytes {
            return None;
        }
        self.bytes += bytes;
        let id = self.next_id;
        self.next_id += 1;
        if let Some(event) = &task.event_id {
            self.events.insert(event.clone(), id);
        }
        let held = Held { task: Arc::new(task), attempts: 0 };
        self.waiting.insert(id, Waiting { held, since: now });
        self.counts.enqueued += 1;
        Some(Enqueued::Added(id))
    }

    /// Leases up to `max` tasks for `visibility`, oldest first.
    pub(super) fn lease(&mut self, max: usize, visibility: Duration, now: Instant) -> Vec<Leasing> {
        self.advance(now);
        let until = now + visibility;
        let mut deliveries = Vec::with_capacity(max.min(self.waiting.len()));
        while deliveries.len() < max
            && let Some((id, Waiting { mut held, since })) = self.waiting.pop_first()
        {
            held.attempts += 1;
            self.counts.attempts += 1;
            let lease = self.next_lease;
            self.next_lease += 1;
            let Held { task, attempts } = held.clone();
            self.expiries.insert((until, id));
            self.leased.insert(id, Leased { held, lease, until });
            deliveries.push(Leasing { id, lease, task, attempts, waited: now.duration_since(since) });
        }
        deliveries
    }

    /// Removes a task. Returns false if the lease has expired or is unknown.
    pub(super) fn ack(&mut self, id: TaskId, lease: LeaseId, now: Instant) -> bool {
        self.advance(now);
        let Some(Held { task, .. }) = self.release(id, lease) else { return false };
        self.bytes -= task.bytes();
        if let Some(event) = &task.event_id {
            self.events.remove(event);
        }
        self.counts.acknowledged += 1;
        true
    }

    /// Ends a lease. The task becomes available after its delay, or a dead letter if it was its last attempt. Returns false
    /// if the lease has expired or is unknown.
    pub(super) fn nack(&mut self, id: TaskId, lease: LeaseId, failed: FailedAttempt, now: Instant) -> bool {
        self.advance(now);
        let Some(held) = self.release(id, lease) else { return false };
        let delay = failed.delay.unwrap_or_else(|| self.limits.backoff(held.attempts));
        self.retry_or_bury(id, held, now + delay, || failed.into_reason());
        self.advance(now);
        true
    }

    /// Returns up to `limit` dead letters whose ids are greater than `after`, by id.
    pub(super) fn dead(&self, after: TaskId, limit: usize) -> Vec<(TaskId, Dead)> {
        let later = self.dead.range(after.saturating_add(1)..);
        later.take(limit).map(|(id, dead)| (*id, dead.clone())).collect()
    }

    /// Makes dead letters available again, with their attempts at zero: those of `ids`, or all without `ids`. Returns their
    /// number.
    pub(super) fn redrive(&mut self, ids: Option<&[TaskId]>, now: Instant) -> usize {
        let dead = match ids {
            None => std::mem::take(&mut self.dead),
            Some(ids) => ids.iter().filter_map(|id| self.dead.remove_entry(id)).collect(),
        };
        let redriven = dead.len();
        for (id, Dead { task, .. }) in dead {
            let held = Held { task, attempts: 0 };
            self.waiting.insert(id, Waiting { held, since: now });
        }
        redriven
    }

    /// Returns the next time at which a delay or a lease ends.
    pub(super) fn next_change(&self) -> Option<Instant> {
        let delayed = self.delayed.first_key_value().map(|((at, _), _)| *at);
        let expiry = self.expiries.first().map(|(at, _)| *at);
        delayed.into_iter().chain(expiry).min()
    }

    /// Ends the leases that have expired at `now`, and makes the tasks available whose delay has ended.
    pub(super) fn advance(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.expiries.first()
            && at <= now
        {
            self.expiries.pop_first();
            if let Some(Leased { held, .. }) = self.leased.remove(&id) {
                self.counts.expired += 1;
                let again = at + self.limits.backoff(held.attempts);
                self.retry_or_bury(id, held, again, || "expired".to_owned());
            }
        }
        while let Some(entry) = self.delayed.first_entry()
            && entry.key().0 <= now
        {
            let ((since, id), held) = entry.remove_entry();
            self.waiting.insert(id, Waiting { held, since });
        }
    }

    /// Delays a task whose attempt failed until `again`, or makes it a dead letter if no attempt is left.
    fn retry_or_bury(&mut self, id: TaskId, held: Held, again: Instant, reason: impl FnOnce() -> String) {
        if held.attempts < self.limits.attempts {
            self.delayed.insert((again, id), held);
            return;
        }
        let Held { task, attempts } = held;
        self.dead.insert(id, Dead { task, attempts, reason: reason(), died_at: Utc::now() });
    }

    fn release(&mut self, id: TaskId, lease: LeaseId) -> Option<Held> {
        if self.leased.get(&id).is_none_or(|leased| leased.lease != lease) {
            self.counts.stale += 1;
            return None;
        }
        let leased = self.leased.remove(&id)?;
        self.expiries.remove(&(leased.until, id));
        Some(leased.held)
    }
}

#[cfg(test)]
mod tests;
