-- A booking survives a crash of any process: its reply and its events are committed with it.

-- The first reply to each key, repeated for 24 hours. Only replies with status 200 are kept.
CREATE TABLE idempotency_keys (
    student_id  BIGINT NOT NULL CONSTRAINT idempotency_keys_student_fkey REFERENCES students (id),
    key         TEXT NOT NULL,
    -- What was requested, in one canonical form: the same key with another request is refused.
    fingerprint TEXT NOT NULL,
    -- The body of the reply, byte for byte.
    reply       TEXT NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (student_id, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- The trace of the request that made the booking, 32 hexadecimal digits.
ALTER TABLE bookings ADD COLUMN trace_id TEXT;

-- Events that are committed with the change that they announce and published afterwards. A row is deleted when the effect of
-- its event is recorded, by the transaction that records it; so what is here is unfinished.
CREATE TABLE outbox (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- `booking_notification` goes to the queue, `cache_delete` to the cache.
    kind         TEXT NOT NULL,
    -- JSON, as it is published.
    payload      TEXT NOT NULL,
    -- The trace context of the transaction, a JSON object.
    otel         TEXT NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    -- When it is to be published next: at once, and again if its effect is not recorded in time.
    due_at       TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    publications INTEGER NOT NULL DEFAULT 0
)
-- Every row is deleted soon, and each claim reads the index from its start: dead rows must not gather there.
WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX outbox_by_due ON outbox (kind, due_at);

-- Events whose task was moved to the queue's dead letters. A redriven task removes its row when it succeeds.
CREATE TABLE parked_events (
    event_id   BIGINT PRIMARY KEY,
    booking_id BIGINT CONSTRAINT parked_events_booking_fkey REFERENCES bookings (id) ON DELETE CASCADE,
    reason     TEXT NOT NULL,
    parked_at  TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX parked_events_by_booking ON parked_events (booking_id);

-- One row for each notification that was sent, without a unique key: counts duplicates. Appended in the transaction that
-- inserts the row of `notifications`, whose key removes them.
CREATE TABLE notification_effects (
    booking_id BIGINT NOT NULL CONSTRAINT notification_effects_booking_fkey REFERENCES bookings (id) ON DELETE CASCADE,
    -- The instance that sent it.
    worker     TEXT NOT NULL,
    sent_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX notification_effects_by_booking ON notification_effects (booking_id);
INSERT INTO notification_effects (booking_id, worker, sent_at)
SELECT booking_id, 'migration', sent_at FROM notifications, generate_series(1, deliveries);
ALTER TABLE notifications DROP COLUMN deliveries;
