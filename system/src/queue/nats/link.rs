//! The connection to NATS, and the stream, bucket and consumer of the queue there.
//!
//! The client connects again by itself, to the same address. While there is no connection, calls fail at once; a call during
//! which it is lost fails then. Whatever is missing when a call fails is created again, and the call is repeated once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::{ContextBuilder, PublishErrorKind};
use async_nats::jetstream::kv::{EntryErrorKind, Store, UpdateErrorKind};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{self, DirectGetErrorKind, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{Context, Message};
use async_nats::{Client, ConnectError, ConnectOptions, Event, Request, ServerAddr};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::entry::Entry;
use crate::queue::limits::Limits;
use crate::queue::storage::StorageError;
use crate::queue::task::TaskId;

const STREAM: &str = "WORKBENCH_TASKS";
const BUCKET: &str = "WORKBENCH_LEASES";

/// Subjects of the tasks: this and the key of the task.
const SUBJECT: &str = "workbench.tasks.";

/// Time after which NATS delivers a message again whose delivery led to no lease, because the process ended in between.
const ACK_WAIT: Duration = Duration::from_secs(5);

/// Maximum time of one exchange with NATS. NATS does not answer a read of a stream or bucket that is gone, so an exchange without an
/// answer is repeated.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum time of all exchanges of a call. Shorter than the minimum request timeout (3 s), so that a NATS that is stopped leads to
/// a 503.
const CALL_TIMEOUT: Duration = Duration::from_millis(2500);

/// Time after the end of its wait in which NATS answers a request for messages.
const FETCH_TIMEOUT: Duration = Duration::from_millis(700);

/// Pause between two attempts to connect; doubled with each further attempt, up to the maximum.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Time between two messages that check whether the connection is alive.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Wraps an error of the client.
pub(super) fn failed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(error: E) -> StorageError {
    StorageError::Failed(error.into())
}

/// The connection.
#[derive(Debug)]
pub(super) struct Link {
    jetstream: Context,
    limits: Limits,
    is_connected: watch::Receiver<bool>,
    /// `None` until the first call, and after a call failed.
    handles: Mutex<Option<Arc<Handles>>>,
    /// Held while the stream, bucket and consumer are created, so that one call creates them.
    creation: tokio::sync::Mutex<()>,
}

impl Link {
    /// Connects to `server` in the background.
    pub(super) async fn open(server: ServerAddr, limits: Limits) -> Result<Self, ConnectError> {
        let (connected, is_connected) = watch::channel(false);
        let options = ConnectOptions::new()
            .name("workbench queue")
            .retry_on_initial_connect()
            .connection_timeout(EXCHANGE_TIMEOUT)
            .request_timeout(Some(EXCHANGE_TIMEOUT))
            .ping_interval(PING_INTERVAL)
            .reconnect_delay_callback(|attempts| {
                let doublings = u32::try_from(attempts.saturating_sub(1).min(10)).unwrap_or(10);
                FIRST_PAUSE.saturating_mul(1 << doublings).min(MAX_PAUSE)
            })
            .event_callback(move |event| {
                let connected = connected.clone();
                async move {
                    match event {
                        Event::Connected => _ = connected.send_replace(true),
                        Event::Disconnected | Event::Closed => _ = connected.send_replace(false),
                        _ => {}
                    }
                    tracing::info!(event = event.to_string(), "connection to NATS");
                }
            });
        let client = options.connect(server).await?;
        let jetstream =
            ContextBuilder::new().timeout(EXCHANGE_TIMEOUT).backpressure_on_inflight(true).build(client);
        let (handles, creation) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self { jetstream, limits, is_connected, handles, creation })
    }

    /// Runs `operation`. If it fails, creates what is missing and runs it once more.
    pub(super) async fn call<T, F>(
        &self,
        operation: impl Fn(Arc<Handles>) -> F + Send,
    ) -> Result<T, StorageError>
    where
        T: Send,
        F: Future<Output = Result<T, StorageError>> + Send,
    {
        let attempts = async {
            let first = operation(self.handles().await?).await;
            let Err(StorageError::Failed(_) | StorageError::TimedOut) = first else { return first };
            self.forget();
            operation(self.handles().await?).await
        };
        tokio::select! {
            biased;
            () = self.disconnected() => Err(StorageError::Disconnected),
            result = timeout(CALL_TIMEOUT, attempts) => result.unwrap_or(Err(StorageError::TimedOut)),
        }
    }

    /// Waits until there is no connection.
    pub(super) async fn disconnected(&self) {
        let mut is_connected = self.is_connected.clone();
        let _closed = is_connected.wait_for(|is_connected| !is_connected).await;
    }

    /// Makes the next call create what is missing.
    pub(super) fn forget(&self) {
        *self.handles.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn existing(&self) -> Option<Arc<Handles>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn handles(&self) -> Result<Arc<Handles>, StorageError> {
        if let Some(handles) = self.existing() {
            return Ok(handles);
        }
        let _creation = self.creation.lock().await;
        if let Some(handles) = self.existing() {
            return Ok(handles);
        }
        let handles = Arc::new(Handles::create(&self.jetstream, &self.limits).await?);
        *self.handles.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&handles));
        Ok(handles)
    }
}

/// The stream, the bucket and the consumer, which exist when this is created.
#[derive(Debug)]
pub(super) struct Handles {
    jetstream: Context,
    client: Client,
    tasks: stream::Stream<()>,
    leases: Store,
    consumer: PullConsumer,
}

impl Handles {
    async fn create(jetstream: &Context, limits: &Limits) -> Result<Self, StorageError> {
        let info = jetstream.create_or_update_stream(task_stream(limits)).await.map_err(failed)?;
        let tasks = jetstream.get_stream_no_info(STREAM).await.map_err(failed)?;
        jetstream.create_stream(lease_bucket()).await.map_err(failed)?;
        let leases = jetstream.get_key_value(BUCKET).await.map_err(failed)?;
        // Named after the creation of the stream: a stream that was created anew counts from 1, and an acknowledgement for the
        // earlier one must not remove another task.
        let name = format!("queue-{}", info.created.unix_timestamp_nanos());
        let consumer = tasks.create_consumer(task_consumer(name)).await.map_err(failed)?;
        Ok(Self { jetstream: jetstream.clone(), client: jetstream.client(), tasks, leases, consumer })
    }

    /// Publishes a message on the subject of `key`, unless the stream has one there. Returns its sequence, or `None`.
    pub(super) async fn publish(
        &self,
        key: &str,
        publication: &str,
        task: Bytes,
    ) -> Result<Option<TaskId>, StorageError> {
        let message =
            PublishMessage::build().payload(task).message_id(publication).expected_last_subject_sequence(0);
        let published = self.jetstream.send_publish(subject(key), message).await.map_err(failed)?.await;
        let error = match published {
            Ok(ack) => return Ok(Some(ack.sequence)),
            Err(error) => error,
        };
        match error.kind() {
            PublishErrorKind::WrongLastSequence => Ok(None),
            PublishErrorKind::TimedOut => Err(StorageError::TimedOut),
            // The server has no code of its own for a stream at its limits.
            _ if error.to_string().contains("maximum ") => Err(StorageError::Full),
            _ => Err(failed(error)),
        }
    }

    /// Returns the message on the subject of `key`.
    pub(super) async fn message_of(&self, key: &str) -> Result<Option<StreamMessage>, StorageError> {
        found(self.tasks.direct_get_last_for_subject(subject(key)).await)
    }

    /// Returns the message with a sequence.
    pub(super) async fn message(&self, id: TaskId) -> Result<Option<StreamMessage>, StorageError> {
        found(self.tasks.direct_get(id).await)
    }

    /// Returns up to `max` messages: those that are available, or the first ones that become so within `wait`.
    pub(super) async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Message>, StorageError> {
        let batch = self.consumer.fetch().max_messages(max).expires(wait).messages().await;
        let mut batch = batch.map_err(failed)?;
        let deadline = Instant::now() + wait + FETCH_TIMEOUT;
        let mut messages = Vec::new();
        loop {
            match timeout_at(deadline, batch.next()).await {
                Ok(Some(Ok(message))) => messages.push(message),
                Ok(None) => break,
                // The messages that arrived are leased; the next call meets the error again.
                _ if !messages.is_empty() => break,
                Ok(Some(Err(error))) => return Err(failed(error)),
                // Nobody answers for a consumer that is gone.
                Err(elapsed) => return Err(failed(elapsed)),
            }
        }
        Ok(messages)
    }

    /// Returns the entry of `key` and its revision; revision 0 if there is none.
    pub(super) async fn entry(&self, key: &str) -> Result<(Option<Entry>, u64), StorageError> {
        match self.leases.entry(key).await {
            Ok(Some(entry)) => Ok((serde_json::from_slice(&entry.value).ok(), entry.revision)),
            Ok(None) => Ok((None, 0)),
            Err(error) => match error.kind() {
                EntryErrorKind::InvalidKey => Ok((None, 0)),
                EntryErrorKind::TimedOut => Err(StorageError::TimedOut),
                EntryErrorKind::Other => Err(failed(error)),
            },
        }
    }

    /// Replaces the entry of `key` if its revision is still `revision`. Returns the new revision, or `None`.
    pub(super) async fn replace(
        &self,
        key: &str,
        entry: &Entry,
        revision: u64,
    ) -> Result<Option<u64>, StorageError> {
        let value = serde_json::to_vec(entry).map_err(failed)?;
        match self.leases.update(key, value.into(), revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) => match error.kind() {
                UpdateErrorKind::WrongLastRevision => Ok(None),
                UpdateErrorKind::TimedOut => Err(StorageError::TimedOut),
                UpdateErrorKind::InvalidKey | UpdateErrorKind::Other => Err(failed(error)),
            },
        }
    }

    /// Removes the entry of `key` if its revision is not greater than `revision`.
    pub(super) async fn remove(&self, key: &str, revision: u64) -> Result<(), StorageError> {
        let subject = format!("$KV.{BUCKET}.{key}");
        let purged = self.leases.stream.purge().filter(subject).sequence(revision + 1).await;
        purged.map(drop).map_err(failed)
    }

    /// Returns every key with its entry and revision.
    pub(super) async fn entries(&self) -> Result<Vec<(String, Entry, u64)>, StorageError> {
        let config = pull::Config {
            ack_policy: AckPolicy::None,
            inactive_threshold: ACK_WAIT,
            memory_storage: true,
            ..pull::Config::default()
        };
        let reader = self.leases.stream.create_consumer(config).await.map_err(failed)?;
        let count = usize::try_from(reader.cached_info().num_pending).unwrap_or(usize::MAX);
        let mut entries = Vec::new();
        if count > 0 {
            let mut batch = reader.fetch().max_messages(count).messages().await.map_err(failed)?;
            while let Some(message) = batch.next().await {
                let message = message.map_err(failed)?;
                let revision = message.info().map_err(failed)?.stream_sequence;
                let key = message.subject.strip_prefix("$KV.").and_then(|rest| rest.split_once('.'));
                let entry = serde_json::from_slice(&message.payload).ok();
                entries.extend(key.zip(entry).map(|((_, key), entry)| (key.to_owned(), entry, revision)));
            }
        }
        let _removed = self.leases.stream.delete_consumer(&reader.cached_info().name).await;
        Ok(entries)
    }

    /// Acknowledges the delivery with the subject `reply`, which removes the message, and waits until NATS has done so. A
    /// delivery from an earlier stream has no recipient.
    pub(super) async fn acknowledge(&self, reply: &str) -> Result<(), StorageError> {
        self.settle(reply, "+ACK".into()).await
    }

    /// Makes NATS deliver a message again after `delay`.
    pub(super) async fn delay(&self, reply: &str, delay: Duration) -> Result<(), StorageError> {
        let delay =
            if delay.is_zero() { String::new() } else { format!(r#" {{"delay":{}}}"#, delay.as_nanos()) };
        self.settle(reply, format!("-NAK{delay}").into()).await
    }

    async fn settle(&self, reply: &str, kind: Bytes) -> Result<(), StorageError> {
        let request = Request::new().payload(kind).timeout(Some(EXCHANGE_TIMEOUT));
        match self.client.send_request(reply.to_owned(), request).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == async_nats::RequestErrorKind::NoResponders => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Returns the number and the size of all tasks.
    pub(super) async fn size(&self) -> Result<(u64, u64), StorageError> {
        let info = self.tasks.get_info().await.map_err(failed)?;
        Ok((info.state.messages, info.state.bytes))
    }
}

fn subject(key: &str) -> String {
    format!("{SUBJECT}{key}")
}

/// Returns the key of a task's message.
pub(super) fn key_of(message: &Message) -> Option<&str> {
    message.subject.strip_prefix(SUBJECT)
}

fn found(
    message: Result<StreamMessage, stream::DirectGetError>,
) -> Result<Option<StreamMessage>, StorageError> {
    match message {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Refuses new tasks at its limits, and forgets a task with its acknowledgement.
fn task_stream(limits: &Limits) -> stream::Config {
    stream::Config {
        name: STREAM.into(),
        subjects: vec![format!("{SUBJECT}>")],
        retention: RetentionPolicy::WorkQueue,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        max_messages: i64::try_from(limits.tasks).unwrap_or(i64::MAX),
        max_bytes: i64::try_from(limits.bytes).unwrap_or(i64::MAX),
        allow_direct: true,
        num_replicas: 1,
        ..stream::Config::default()
    }
}

/// The stream of a key-value bucket. `create_key_value` of the client cannot parse the account's figures of a server 2.9.
fn lease_bucket() -> stream::Config {
    stream::Config {
        name: format!("KV_{BUCKET}"),
        subjects: vec![format!("$KV.{BUCKET}.>")],
        max_messages_per_subject: 1,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        num_replicas: 1,
        ..stream::Config::default()
    }
}

fn task_consumer(name: String) -> pull::Config {
    pull::Config {
        durable_name: Some(name),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        // Attempts and their limit are the queue's own.
        max_deliver: -1,
        // Leased, delayed and dead tasks are not acknowledged.
        max_ack_pending: -1,
        ..pull::Config::default()
    }
}
