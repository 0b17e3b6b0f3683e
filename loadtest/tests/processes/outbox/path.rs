//! The path of a booking to its notification: processes that a test starts and kills at will.

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{RoleProcess, Stack, eventually_without, free_address, get_blocking, http};

/// The roles of the stack that would take part in the path.
const STOPPED: [&str; 3] = ["booking_service", "queue", "notification_service"];

/// A role that runs at most once, always on the same port.
pub(super) struct Role {
    name: &'static str,
    address: String,
    environment: Vec<(&'static str, String)>,
    process: Option<RoleProcess>,
}

impl Role {
    /// Another role with the same settings, on another port. It does not run.
    pub(super) fn new(name: &'static str, like: &Self) -> Self {
        let environment = like.environment.clone();
        Self { name, address: free_address().to_string(), environment, process: None }
    }

    pub(super) fn set(&mut self, variable: &'static str, value: &str) -> &mut Self {
        self.environment.push((variable, value.to_owned()));
        self
    }

    /// Starts the process and waits until it is ready.
    pub(super) fn start(&mut self) {
        let process = RoleProcess::start_at(self.name, &self.address, |serve| {
            serve.envs(self.environment.iter().map(|(variable, value)| (variable, value)));
        });
        assert!(self.process.replace(process).is_none(), "{} runs", self.name);
    }

    /// Kills the process with SIGKILL.
    pub(super) fn kill(&mut self) {
        drop(self.process.take().expect("a running process"));
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The value of a series of the role's metrics.
    pub(super) fn metric(&self, series: &str) -> Option<f64> {
        let page = get_blocking(&format!("{}/metrics", self.url()))?;
        page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// Sends a POST that succeeds.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Value {
        let reply = http().post(format!("{}{path}", self.url())).json(body).send().await.unwrap();
        reply.error_for_status().unwrap().json().await.unwrap()
    }
}

/// Books the next free lesson with a booking service; returns the booking's id.
pub(super) async fn book(booking: &Role) -> i64 {
    let reply = booking.post("/book", &json!({ "student_id": 1, "tutor_id": 1 })).await;
    reply["booking_id"].as_i64().unwrap()
}

/// The processes of the path, and a stack with their database and cache.
pub(super) struct Path {
    // Dropped in this order: the processes of the test before the database.
    pub(super) notification: Role,
    pub(super) booking: Role,
    pub(super) queue: Role,
    pub(super) database: PgPool,
    stack: Stack,
}

impl Path {
    /// Starts the stack; the roles of the path do not run.
    pub(super) async fn prepare() -> Self {
        let stack = Stack::start_small();
        for role in STOPPED {
            stack.signal(role, Signal::SIGSTOP);
        }
        let database_url = stack.addresses.database_url.clone();
        let database = PgPool::connect(&database_url).await.unwrap();
        let nothing = Role { name: "", address: String::new(), environment: Vec::new(), process: None };
        let mut queue = Role::new("queue", &nothing);
        queue.set("OTEL_EXPORTER_OTLP_ENDPOINT", "").set("DRAIN_MS", "20");
        let mut notification = Role::new("notification", &queue);
        notification.set("DATABASE_URL", &database_url).set("QUEUE_URL", &queue.url());
        notification.set("NOTIFICATION_DELAY_MS", "0");
        let mut booking = Role::new("booking", &queue);
        booking.set("DATABASE_URL", &database_url).set("QUEUE_URL", &queue.url());
        booking.set("CACHE_URL", &stack.addresses.cache);
        Self { notification, booking, queue, database, stack }
    }

    /// Starts every role.
    pub(super) async fn start(&mut self) {
        self.queue.start();
        self.booking.start();
        self.notification.start();
    }

    /// Books the next free lesson; returns the booking's id.
    pub(super) async fn book(&self) -> i64 {
        book(&self.booking).await
    }

    /// Enqueues a task that has no event.
    pub(super) async fn enqueue(&self, task_type: &str, payload: Value) {
        self.queue.post("/enqueue", &json!({ "task_type": task_type, "payload": payload })).await;
    }

    /// Inserts an event as a booking does; returns its id.
    pub(super) async fn insert_event(&self, payload: &str) -> i64 {
        let insert =
            "INSERT INTO outbox (kind, payload, otel) VALUES ('booking_notification', $1, '{}') RETURNING id";
        sqlx::query_scalar(insert).bind(payload).fetch_one(&self.database).await.unwrap()
    }

    /// Inserts a booking with this id.
    pub(super) async fn insert_booking(&self, id: i64) {
        let insert = "INSERT INTO bookings (id, student_id, tutor_id, during)
            OVERRIDING SYSTEM VALUE VALUES ($1, 1, 1, 'empty')";
        sqlx::query(insert).bind(id).execute(&self.database).await.unwrap();
    }

    /// The kinds of the events in the outbox with the newest booking, deletions of cached slots only if they are all that is left.
    pub(super) async fn outbox(&self) -> Vec<(String, i64)> {
        let select = "SELECT kind, (SELECT max(id) FROM bookings) FROM outbox
            WHERE kind = 'booking_notification' OR NOT EXISTS (SELECT FROM outbox WHERE kind = 'booking_notification')
            ORDER BY id";
        sqlx::query_as(select).fetch_all(&self.database).await.unwrap()
    }

    /// The bookings that had an effect, once for each effect.
    pub(super) async fn effects(&self) -> Vec<i64> {
        let select = "SELECT booking_id FROM notification_effects ORDER BY booking_id";
        sqlx::query_scalar(select).fetch_all(&self.database).await.unwrap()
    }

    /// The bookings of student 1 and their deliveries, as the API shows them.
    pub(super) async fn deliveries(&self) -> Vec<(i64, i64)> {
        let url = format!("{}/bookings?student_id=1", self.booking.url());
        let reply: Value = http().get(url).send().await.unwrap().json().await.unwrap();
        let bookings = reply["bookings"].as_array().unwrap().iter();
        bookings.map(|it| (it["booking_id"].as_i64().unwrap(), it["deliveries"].as_i64().unwrap())).collect()
    }

    /// The parked events and their reasons.
    pub(super) async fn parked(&self) -> Vec<(i64, String)> {
        let select = "SELECT event_id, reason FROM parked_events ORDER BY event_id";
        sqlx::query_as(select).fetch_all(&self.database).await.unwrap()
    }

    /// The process of the newest connection on which a relay listens.
    pub(super) async fn listener(&self) -> i32 {
        let select = "SELECT pid FROM pg_stat_activity WHERE application_name = 'outbox listener'
            ORDER BY backend_start DESC LIMIT 1";
        sqlx::query_scalar(select).fetch_one(&self.database).await.unwrap()
    }

    /// Waits until no notification is left in the outbox.
    pub(super) async fn is_notified(&self) {
        self.has_none_of("booking_notification").await;
    }

    /// Waits until no event of this kind is left in the outbox.
    pub(super) async fn has_none_of(&self, kind: &str) {
        self.eventually(&format!("the outbox has {kind}"), async || {
            let count = "SELECT count(*) FROM outbox WHERE kind = $1";
            let left: i64 = sqlx::query_scalar(count).bind(kind).fetch_one(&self.database).await.unwrap();
            left == 0
        })
        .await;
    }

    /// Waits until `condition` holds.
    pub(super) async fn eventually(&self, what: &str, condition: impl AsyncFn() -> bool) {
        eventually_without(async || (!condition().await).then(|| what.to_owned())).await;
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        for role in STOPPED {
            self.stack.signal(role, Signal::SIGCONT);
        }
    }
}
