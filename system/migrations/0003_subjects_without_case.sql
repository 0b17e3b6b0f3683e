-- Subjects are compared without regard to case: "math" finds Math.
--
-- lower(upper(…)) rather than lower(…): the upper case of "ß" is "SS", so "STRASSE" finds "Straße". ICU's rules are named
-- because those of the database depend on its locale, and in the locale C cover ASCII only.
DROP INDEX tutors_by_subject;
CREATE INDEX tutors_by_subject ON tutors (lower(upper(subject COLLATE "und-x-icu")), rating DESC, id);
