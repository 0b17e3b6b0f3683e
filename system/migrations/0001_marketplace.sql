-- The marketplace: who teaches, who learns, who booked whom, and who was told.

CREATE TABLE tutors (
    id      BIGINT PRIMARY KEY,
    name    TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- Double precision prints 4.9 as 4.9, as the wire does; one decimal digit is all it ever holds.
    rating  DOUBLE PRECISION NOT NULL CHECK (rating BETWEEN 0 AND 5)
);

-- Search asks for one subject, best first: the index answers it in that order, without a sort.
CREATE INDEX tutors_by_subject ON tutors (subject, rating DESC, id);

CREATE TABLE students (
    id   BIGINT PRIMARY KEY,
    name TEXT NOT NULL
);

-- A log-in belongs to one student. Apart from students, so that a search of people never reads a hash.
CREATE TABLE users (
    username      TEXT PRIMARY KEY,
    password_hash TEXT NOT NULL,
    student_id    BIGINT NOT NULL CONSTRAINT users_student_fkey REFERENCES students (id)
);

CREATE TABLE bookings (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    student_id BIGINT NOT NULL CONSTRAINT bookings_student_fkey REFERENCES students (id),
    tutor_id   BIGINT NOT NULL CONSTRAINT bookings_tutor_fkey REFERENCES tutors (id),
    -- clock_timestamp, not now(): the moment of the insert, from which the notification's delay is measured.
    created_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);

-- A student's bookings, newest first, a page at a time.
CREATE INDEX bookings_by_student ON bookings (student_id, id DESC);

CREATE TABLE notifications (
    -- The key makes a notification recorded once for each booking, however often its task arrives.
    booking_id BIGINT PRIMARY KEY CONSTRAINT notifications_booking_fkey REFERENCES bookings (id) ON DELETE CASCADE,
    sent_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    -- How often it was recorded as sent: more than once when a second worker sent it before the first had recorded it.
    -- What a worker sent and died before recording leaves no trace here.
    deliveries INTEGER NOT NULL DEFAULT 1
);
