//! Finds the dead letters: the entries of the bucket are read, of which there are few but for the dead letters.

use std::time::Duration;

use chrono::Utc;

use super::NatsQueue;
use super::delivery::publication;
use super::entry::{Entry, State};
use super::link::Handles;
use crate::api::DeadTask;
use crate::queue::storage::{Depth, StorageError};
use crate::queue::task::{Task, TaskId};

impl NatsQueue {
    /// Counts the tasks, and removes the entries of tasks that are done.
    pub(super) async fn measure(&self, nats: &Handles) -> Result<Depth, StorageError> {
        let (tasks, bytes) = nats.size().await?;
        let now = Utc::now();
        let (mut leased, mut dead) = (0, 0);
        for (key, entry, revision) in nats.entries().await? {
            let id = entry.id;
            match entry.at(now, &self.0.limits) {
                Entry { state: State::Leased { until, .. }, .. } if until > now => leased += 1,
                Entry { state: State::Dead { .. }, .. } => dead += 1,
                // Left by a process that ended during an acknowledgement, if its message was removed.
                Entry { state: State::Done, .. } if nats.message(id).await?.is_none() => {
                    nats.remove(&key, revision).await?;
                }
                _ => {}
            }
        }
        let waiting = usize::try_from(tasks).unwrap_or(usize::MAX).saturating_sub(leased + dead);
        Ok(Depth { waiting, leased, dead, bytes: usize::try_from(bytes).unwrap_or(usize::MAX) })
    }

    /// Returns up to `limit` dead letters whose ids are greater than `after`.
    pub(super) async fn dead_tasks(
        &self,
        nats: &Handles,
        after: TaskId,
        limit: usize,
    ) -> Result<Vec<DeadTask>, StorageError> {
        let mut tasks = Vec::new();
        for (_, entry, _) in self.dead_entries(nats).await? {
            if tasks.len() == limit {
                break;
            }
            if entry.id <= after {
                continue;
            }
            let Some(task) = current_task(nats, &entry).await? else { continue };
            if let State::Dead { reason, died_at } = entry.state {
                tasks.push(task.into_dead(entry.id, entry.attempts, reason, died_at));
            }
        }
        Ok(tasks)
    }

    /// Redrives the dead letters of `ids`, or all without `ids`.
    pub(super) async fn redrive_all(
        &self,
        nats: &Handles,
        ids: Option<&[TaskId]>,
    ) -> Result<usize, StorageError> {
        let mut redriven = 0;
        for (key, entry, revision) in self.dead_entries(nats).await? {
            if ids.is_some_and(|ids| !ids.contains(&entry.id)) {
                continue;
            }
            if current_task(nats, &entry).await?.is_none() {
                continue;
            }
            let next = Entry { attempts: 0, state: State::Waiting { since: Utc::now() }, ..entry };
            if nats.replace(&key, &next, revision).await?.is_some() {
                let _delivered = nats.delay(&next.reply, Duration::ZERO).await;
                redriven += 1;
            }
        }
        Ok(redriven)
    }

    /// Returns the dead letters, by id.
    async fn dead_entries(&self, nats: &Handles) -> Result<Vec<(String, Entry, u64)>, StorageError> {
        let now = Utc::now();
        let entries = nats.entries().await?.into_iter();
        let entries = entries.map(|(key, entry, revision)| (key, entry.at(now, &self.0.limits), revision));
        let mut dead: Vec<_> =
            entries.filter(|(_, entry, _)| matches!(entry.state, State::Dead { .. })).collect();
        dead.sort_unstable_by_key(|(_, entry, _)| entry.id);
        Ok(dead)
    }
}

/// Returns the task of an entry, or `None` if an earlier stream had it.
async fn current_task(nats: &Handles, entry: &Entry) -> Result<Option<Task>, StorageError> {
    let message = nats.message(entry.id).await?;
    let message = message.filter(|message| publication(&message.headers) == Some(&entry.publication));
    Ok(message.and_then(|message| serde_json::from_slice(&message.payload).ok()))
}
