-- Lessons have a time: a booking is a range that no other booking of its tutor or of its student overlaps.

CREATE EXTENSION IF NOT EXISTS btree_gist;

-- IANA name of the zone of the tutor's weekly hours.
ALTER TABLE tutors ADD COLUMN time_zone TEXT NOT NULL DEFAULT 'UTC';

-- When a tutor teaches, in local time. A lesson starts on the hour or half past, and ends within the same interval.
CREATE TABLE weekly_hours (
    tutor_id BIGINT NOT NULL CONSTRAINT weekly_hours_tutor_fkey REFERENCES tutors (id) ON DELETE CASCADE,
    -- ISO 8601: 1 is Monday, 7 is Sunday.
    weekday  SMALLINT NOT NULL CHECK (weekday BETWEEN 1 AND 7),
    -- Minutes since local midnight; 1440 is the end of the day.
    from_minute  SMALLINT NOT NULL CHECK (from_minute BETWEEN 0 AND 1440),
    until_minute SMALLINT NOT NULL CHECK (until_minute BETWEEN 0 AND 1440),
    PRIMARY KEY (tutor_id, weekday, from_minute),
    CHECK (from_minute < until_minute)
);

-- Tutors from before this migration teach every day from 8:00 to 20:00. `workbench seed` gives them their own hours.
INSERT INTO weekly_hours (tutor_id, weekday, from_minute, until_minute)
SELECT id, weekday, 480, 1200 FROM tutors, generate_series(1, 7) AS weekday;

UPDATE tutors SET time_zone = 'Europe/Berlin' WHERE id = 1;
UPDATE tutors SET time_zone = 'America/New_York' WHERE id = 2;

-- Half-open. Bookings from before this migration have no time: their range is empty and overlaps nothing.
ALTER TABLE bookings ADD COLUMN during TSTZRANGE NOT NULL DEFAULT 'empty';
ALTER TABLE bookings ALTER COLUMN during DROP DEFAULT;
ALTER TABLE bookings ADD COLUMN cancelled_at TIMESTAMPTZ;
ALTER TABLE bookings ADD CONSTRAINT bookings_lesson
    CHECK (isempty(during) OR (lower_inc(during) AND NOT upper_inc(during)
        AND upper(during) - lower(during) = INTERVAL '60 minutes'));
ALTER TABLE bookings ADD CONSTRAINT bookings_tutor_free
    EXCLUDE USING gist (tutor_id WITH =, during WITH &&) WHERE (cancelled_at IS NULL);
ALTER TABLE bookings ADD CONSTRAINT bookings_student_free
    EXCLUDE USING gist (student_id WITH =, during WITH &&) WHERE (cancelled_at IS NULL);
