//! The data set of the marketplace. It is deterministic, so that the load generator knows every correct reply.

use argon2::password_hash::{PasswordHasher as _, SaltString};
use sqlx::{PgConnection, PgPool};

use crate::api::Tutor;
use crate::password;

/// The subjects. Tutor `n` teaches subject `(n - 1) % 50`.
pub const SUBJECTS: [&str; 50] = [
    "Math",
    "Science",
    "Physics",
    "Chemistry",
    "Biology",
    "History",
    "Geography",
    "English",
    "French",
    "German",
    "Spanish",
    "Italian",
    "Latin",
    "Greek",
    "Russian",
    "Chinese",
    "Japanese",
    "Arabic",
    "Literature",
    "Philosophy",
    "Psychology",
    "Sociology",
    "Economics",
    "Accounting",
    "Statistics",
    "Algebra",
    "Geometry",
    "Calculus",
    "Logic",
    "Programming",
    "Databases",
    "Networks",
    "Electronics",
    "Robotics",
    "Astronomy",
    "Geology",
    "Ecology",
    "Medicine",
    "Law",
    "Politics",
    "Art",
    "Drawing",
    "Painting",
    "Music",
    "Piano",
    "Guitar",
    "Singing",
    "Dance",
    "Chess",
    "Writing",
];

/// The password of every student.
pub const PASSWORD: &str = "password";

const NAMES: [&str; 20] = [
    "Amara", "Boris", "Chloe", "Deniz", "Elena", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kaya", "Liam",
    "Mina", "Noor", "Olga", "Pavel", "Quinn", "Rosa", "Samir", "Tess",
];

/// The time zones. Tutor `n` has zone `(n - 1) % 8`. The one of Kathmandu is a quarter of an hour off the full hours in UTC.
const ZONES: [&str; 8] = [
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",
    "Europe/London",
    "America/Los_Angeles",
    "Asia/Tokyo",
    "Australia/Sydney",
    "America/Sao_Paulo",
];

/// Returns the first `count` tutors. As in the original system, 1 is Alice (Math, 4.9) and 2 is Bob (Science, 4.7).
pub fn tutors(count: u32) -> Vec<Tutor> {
    (1..=count).map(tutor).collect()
}

/// Returns the tutors of `subject` among the first `count`, in the order of a search: by rating in descending order, then
/// by id.
pub fn search(count: u32, subject: &str) -> Vec<Tutor> {
    let mut found: Vec<Tutor> = tutors(count).into_iter().filter(|tutor| tutor.subject == subject).collect();
    found.sort_by(|a, b| b.rating.total_cmp(&a.rating).then(a.id.cmp(&b.id)));
    found
}

/// Returns the user name of student `id`.
pub fn username(id: i64) -> String {
    format!("student{id}")
}

/// Returns the IANA name of the time zone of tutor `id`.
pub fn time_zone(id: i64) -> &'static str {
    // The remainder is from 0 to 7.
    ZONES[usize::try_from((id - 1).rem_euclid(8)).unwrap_or_default()]
}

/// Returns when tutor `id` teaches on each day of the week, in minutes since local midnight. Alice and Bob teach from 8:00 to
/// 20:00; the others start at 6:00, 7:00 or 8:00 and end at midnight, so that long load runs find free slots.
pub fn daily_hours(id: i64) -> (i16, i16) {
    match id {
        1 | 2 => (8 * 60, 20 * 60),
        _ if id % 3 == 0 => (6 * 60, 24 * 60),
        _ if id % 3 == 1 => (7 * 60, 24 * 60),
        _ => (8 * 60, 24 * 60),
    }
}

fn tutor(id: u32) -> Tutor {
    let (name, rating) = match id {
        1 => ("Alice".to_owned(), 4.9),
        2 => ("Bob".to_owned(), 4.7),
        // 31 and 21 are coprime, so that the ratings within a subject differ.
        _ => (
            format!("{} {id}", NAMES[id as usize % NAMES.len()]),
            f64::from(30 + (id * 31 + id / 50) % 21) / 10.0,
        ),
    };
    let subject = SUBJECTS[(id as usize - 1) % SUBJECTS.len()].to_owned();
    Tutor { id: i64::from(id), name, subject, rating }
}

/// Inserts the first `tutors` tutors, and the first `students` students with their users. Idempotent: existing tutors are
/// updated, existing students and users are kept.
pub async fn seed(pool: &PgPool, tutors: u32, students: u32) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    seed_tutors(&mut transaction, self::tutors(tutors)).await?;
    seed_students(&mut transaction, students).await?;
    transaction.commit().await
}

async fn seed_tutors(connection: &mut PgConnection, tutors: Vec<Tutor>) -> Result<(), sqlx::Error> {
    let ids: Vec<i64> = tutors.iter().map(|tutor| tutor.id).collect();
    let names: Vec<&str> = tutors.iter().map(|tutor| tutor.name.as_str()).collect();
    let subjects: Vec<&str> = tutors.iter().map(|tutor| tutor.subject.as_str()).collect();
    let ratings: Vec<f64> = tutors.iter().map(|tutor| tutor.rating).collect();
    let zones: Vec<&str> = ids.iter().map(|id| time_zone(*id)).collect();
    sqlx::query(
        "INSERT INTO tutors (id, name, subject, rating, time_zone)
         SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::float8[], $5::text[])
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, subject = excluded.subject,
             rating = excluded.rating, time_zone = excluded.time_zone",
    )
    .bind(&ids)
    .bind(names)
    .bind(subjects)
    .bind(ratings)
    .bind(zones)
    .execute(&mut *connection)
    .await?;

    let (from, until): (Vec<i16>, Vec<i16>) = ids.iter().map(|id| daily_hours(*id)).unzip();
    sqlx::query("DELETE FROM weekly_hours WHERE tutor_id = ANY($1)")
        .bind(&ids)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO weekly_hours (tutor_id, weekday, from_minute, until_minute)
         SELECT tutor_id, weekday, from_minute, until_minute
         FROM unnest($1::bigint[], $2::smallint[], $3::smallint[]) AS daily (tutor_id, from_minute, until_minute),
             generate_series(1, 7) AS weekday",
    )
    .bind(&ids)
    .bind(from)
    .bind(until)
    .execute(&mut *connection)
    .await?;
    Ok(())
}

async fn seed_students(connection: &mut PgConnection, students: u32) -> Result<(), sqlx::Error> {
    let ids: Vec<i64> = (1..=i64::from(students)).collect();
    let usernames: Vec<String> = ids.iter().copied().map(username).collect();
    sqlx::query(
        "INSERT INTO students (id, name) SELECT id, 'Student ' || id FROM unnest($1::bigint[]) AS id
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(&ids)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO users (username, password_hash, student_id)
         SELECT username, $3, id FROM unnest($1::bigint[], $2::text[]) AS users (id, username)
         ON CONFLICT (username) DO NOTHING",
    )
    .bind(&ids)
    .bind(usernames)
    .bind(seeded_hash())
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// Returns one hash for all seeded users. Their password is public, and one hash for each user would take seconds.
pub(crate) fn seeded_hash() -> String {
    SaltString::encode_b64(b"tutoring workbench")
        .and_then(|salt| {
            password::argon2().hash_password(PASSWORD.as_bytes(), &salt).map(|hash| hash.to_string())
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tutors_of_the_original_system_come_first() {
        let tutors = tutors(1000);
        assert_eq!(
            (tutors[0].name.as_str(), tutors[0].subject.as_str(), tutors[0].rating),
            ("Alice", "Math", 4.9)
        );
        assert_eq!(
            (tutors[1].name.as_str(), tutors[1].subject.as_str(), tutors[1].rating),
            ("Bob", "Science", 4.7)
        );
    }

    #[test]
    fn every_time_zone_is_known_and_the_original_tutors_have_their_own() {
        for id in 1..=8 {
            assert!(time_zone(id).parse::<chrono_tz::Tz>().is_ok(), "{}", time_zone(id));
        }
        assert_eq!([1, 2, 3].map(time_zone), ["Europe/Berlin", "America/New_York", "Asia/Kathmandu"]);
    }

    #[test]
    fn every_tutor_but_the_first_two_teaches_for_at_least_sixteen_hours_a_day() {
        for (from, until) in (3..100).map(daily_hours) {
            assert!(until - from >= 16 * 60 && until <= 1440, "{from} to {until}");
        }
    }

    #[test]
    fn every_subject_is_taught_by_twenty_of_a_thousand() {
        for subject in SUBJECTS {
            assert_eq!(search(1000, subject).len(), 20, "{subject}");
        }
    }

    #[test]
    fn a_search_is_sorted_and_its_ratings_differ() {
        let found = search(1000, "Math");
        assert!(found.is_sorted_by(|a, b| a.rating > b.rating || (a.rating == b.rating && a.id < b.id)));
        let distinct: std::collections::BTreeSet<u64> =
            found.iter().map(|tutor| tutor.rating.to_bits()).collect();
        assert!(distinct.len() > 5, "{distinct:?}");
    }
}
