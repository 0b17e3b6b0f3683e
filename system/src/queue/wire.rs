//! The queue's own types on the wire; consumers have theirs.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::line::{Handout, TaskId};
use crate::error::{Code, Problem, Result};

/// Longest that `POST /lease` waits for a task.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(30);

/// Longest that a task can be kept from others, by a lease or by a delay.
const MAX_HOLD_MS: u64 = 600_000;

/// A task as it travels through the line.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) id: TaskId,
    pub(super) task_type: String,
    pub(super) payload: Box<RawValue>,
    pub(super) otel: BTreeMap<String, String>,
    pub(super) attempts: u32,
    pub(super) enqueued_at: SystemTime,
}

impl Task {
    #[cfg(test)]
    pub(super) fn for_test() -> Self {
        Self {
            id: 0,
            task_type: "test".into(),
            payload: RawValue::from_string("{}".into()).unwrap(),
            otel: BTreeMap::new(),
            attempts: 0,
            enqueued_at: SystemTime::UNIX_EPOCH,
        }
    }
}

/// Reply of `GET /dequeue`.
#[derive(Debug, Serialize)]
pub(super) struct Dequeued {
    id: String,
    task_type: String,
    payload: Box<RawValue>,
    otel: BTreeMap<String, String>,
}

impl From<Task> for Dequeued {
    fn from(task: Task) -> Self {
        Self { id: task.id.to_string(), task_type: task.task_type, payload: task.payload, otel: task.otel }
    }
}

/// `POST /lease`.
#[derive(Debug, Deserialize)]
pub(super) struct LeaseRequest {
    pub(super) max: usize,
    pub(super) visibility_ms: u64,
    #[serde(default)]
    pub(super) wait_ms: u64,
}

impl LeaseRequest {
    pub(super) fn check(&self) -> Result<()> {
        let within = (1..=1000).contains(&self.max)
            && (1..=MAX_HOLD_MS).contains(&self.visibility_ms)
            && Duration::from_millis(self.wait_ms) <= MAX_WAIT;
        let bounds = "`max` is 1 to 1000, `visibility_ms` 1 to 600000, `wait_ms` at most 30000.";
        if within { Ok(()) } else { Err(Problem::with_detail(Code::InvalidRequest, bounds)) }
    }
}

/// Reply of `POST /lease`.
#[derive(Debug, Serialize)]
pub(super) struct LeaseReply {
    pub(super) tasks: Vec<LeasedTask>,
}

/// One task of a [`LeaseReply`].
#[derive(Debug, Serialize)]
pub(super) struct LeasedTask {
    id: String,
    lease: String,
    task_type: String,
    payload: Box<RawValue>,
    otel: BTreeMap<String, String>,
    attempts: u32,
    enqueued_at: DateTime<Utc>,
}

impl From<Handout> for LeasedTask {
    fn from(Handout { task, lease, .. }: Handout) -> Self {
        Self {
            id: task.id.to_string(),
            lease: lease.to_string(),
            task_type: task.task_type,
            payload: task.payload,
            otel: task.otel,
            attempts: task.attempts,
            enqueued_at: task.enqueued_at.into(),
        }
    }
}

/// `POST /ack`, and `POST /nack` with its delay.
#[derive(Debug, Deserialize)]
pub(super) struct Settlement {
    id: String,
    lease: String,
    #[serde(default)]
    delay_ms: u64,
}

impl Settlement {
    pub(super) fn delay(&self) -> Result<Duration> {
        if self.delay_ms > MAX_HOLD_MS {
            return Err(Problem::with_detail(Code::InvalidRequest, "`delay_ms` is at most 600000."));
        }
        Ok(Duration::from_millis(self.delay_ms))
    }

    /// Ids are opaque to consumers: one that we never gave is simply not held.
    pub(super) fn held(&self) -> Result<(TaskId, u64)> {
        let held = self.id.parse().ok().zip(self.lease.parse().ok());
        held.ok_or_else(|| Problem::with_detail(Code::NotFound, "This lease is not held."))
    }
}
