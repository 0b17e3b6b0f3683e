//! Leases the messages that NATS delivers, if their tasks are available.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::Message;
use chrono::Utc;
use futures::future::join_all;

use super::entry::{Entry, State};
use super::link::{self, Handles};
use super::{CONFLICTS, DEAD_INTERVAL, NatsQueue, clean_up, count, log_dead, random_id};
use crate::queue::storage::StorageError;
use crate::queue::task::{Delivery, Task, TaskId};

impl NatsQueue {
    /// Leases those of `messages` that are available.
    pub(super) async fn lease_all(
        &self,
        nats: &Handles,
        messages: &[Message],
        visibility: Duration,
    ) -> Result<Vec<Delivery>, StorageError> {
        let leases = messages.iter().map(|message| self.lease_one(nats, message, visibility));
        let mut deliveries = Vec::new();
        let mut error = None;
        for lease in join_all(leases).await {
            match lease {
                Ok(delivery) => deliveries.extend(delivery),
                // NATS delivers the message again.
                Err(cause) => error = Some(cause),
            }
        }
        match error {
            Some(error) if deliveries.is_empty() => Err(error),
            _ => Ok(deliveries),
        }
    }

    /// Leases the task of a message, or removes or delays the message if the task is done, dead or held.
    async fn lease_one(
        &self,
        nats: &Handles,
        message: &Message,
        visibility: Duration,
    ) -> Result<Option<Delivery>, StorageError> {
        let Some(received) = Received::parse(message) else {
            tracing::error!(
                subject = message.subject.as_str(),
                "message removed: it is not a task of this queue"
            );
            nats.acknowledge(message.reply.as_deref().unwrap_or_default()).await?;
            return Ok(None);
        };
        for _ in 0..CONFLICTS {
            match self.try_lease(nats, &received, visibility).await? {
                Outcome::Leased(delivery) => return Ok(Some(delivery)),
                Outcome::NotAvailable => return Ok(None),
                Outcome::Conflict => {}
            }
        }
        // NATS delivers the message again.
        Ok(None)
    }

    async fn try_lease(
        &self,
        nats: &Handles,
        received: &Received<'_>,
        visibility: Duration,
    ) -> Result<Outcome, StorageError> {
        let (stored, revision) = nats.entry(received.key).await?;
        let now = Utc::now();
        let stored = stored.filter(|entry| entry.publication == received.publication);
        let was_leased = stored.as_ref().is_some_and(|entry| matches!(entry.state, State::Leased { .. }));
        let entry = stored.unwrap_or_else(|| received.first_entry()).at(now, &self.0.limits);
        let entry = Entry { reply: received.reply.to_owned(), ..entry };
        if let Some(held) = entry.held_for(now) {
            nats.delay(received.reply, held).await?;
            return Ok(Outcome::NotAvailable);
        }
        let token = random_id();
        let next = match entry.state {
            State::Done => {
                clean_up(nats, received.key, &entry, revision).await;
                return Ok(Outcome::NotAvailable);
            }
            State::Dead { .. } if !was_leased => {
                nats.delay(received.reply, DEAD_INTERVAL).await?;
                return Ok(Outcome::NotAvailable);
            }
            // Its last lease has expired.
            State::Dead { .. } => entry.clone(),
            _ => entry.clone().leased(token.clone(), visibility, now, &self.0.limits),
        };
        if nats.replace(received.key, &next, revision).await?.is_none() {
            return Ok(Outcome::Conflict);
        }
        if was_leased {
            count(&self.0.counts.expired);
        }
        // If the delay is lost, the message is delivered early, and delayed then.
        let _delayed = nats.delay(received.reply, next.held_for(now).unwrap_or(DEAD_INTERVAL)).await;
        let State::Waiting { since } = entry.state else {
            log_dead(&next);
            return Ok(Outcome::NotAvailable);
        };
        count(&self.0.counts.attempts);
        let waited = (now - since).to_std().unwrap_or_default();
        let lease = format!("{token}.{}", received.key);
        let (id, attempts, task) = (next.id, next.attempts, received.task.clone());
        Ok(Outcome::Leased(Delivery { id, lease, task, attempts, waited }))
    }
}

/// What an attempt to lease a task led to.
enum Outcome {
    Leased(Delivery),
    /// It is held, dead or done.
    NotAvailable,
    /// Another process changed the task in between.
    Conflict,
}

/// A message of the stream, parsed.
struct Received<'m> {
    key: &'m str,
    publication: &'m str,
    reply: &'m str,
    id: TaskId,
    task: Task,
}

impl<'m> Received<'m> {
    fn parse(message: &'m Message) -> Option<Self> {
        Some(Self {
            key: link::key_of(message)?,
            publication: publication(message.headers.as_ref()?)?,
            reply: message.reply.as_deref()?,
            id: message.info().ok()?.stream_sequence,
            task: serde_json::from_slice(&message.payload).ok()?,
        })
    }

    /// Returns the entry of a task that was not leased before.
    fn first_entry(&self) -> Entry {
        Entry {
            publication: self.publication.to_owned(),
            id: self.id,
            reply: self.reply.to_owned(),
            attempts: 0,
            state: State::Waiting { since: self.task.enqueued_at },
        }
    }
}

/// Returns the id of the publication of a message.
pub(super) fn publication(headers: &HeaderMap) -> Option<&str> {
    headers.get(NATS_MESSAGE_ID).map(|id| id.as_str())
}
