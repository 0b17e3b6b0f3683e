//! The data set of the marketplace. It is deterministic, so that the load generator knows every correct reply.

use argon2::password_hash::{PasswordHasher as _, SaltString};
use sqlx::PgPool;

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
    let tutors = self::tutors(tutors);
    let ids: Vec<i64> = tutors.iter().map(|tutor| tutor.id).collect();
    let names: Vec<&str> = tutors.iter().map(|tutor| tutor.name.as_str()).collect();
    let subjects: Vec<&str> = tutors.iter().map(|tutor| tutor.subject.as_str()).collect();
    let ratings: Vec<f64> = tutors.iter().map(|tutor| tutor.rating).collect();
    let mut transaction = pool.begin().await?;
    sqlx::query(
        "INSERT INTO tutors (id, name, subject, rating)
         SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::float8[])
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, subject = excluded.subject, rating = excluded.rating",
    )
    .bind(ids)
    .bind(names)
    .bind(subjects)
    .bind(ratings)
    .execute(&mut *transaction)
    .await?;

    let ids: Vec<i64> = (1..=i64::from(students)).collect();
    let usernames: Vec<String> = ids.iter().copied().map(username).collect();
    sqlx::query(
        "INSERT INTO students (id, name) SELECT id, 'Student ' || id FROM unnest($1::bigint[]) AS id
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(&ids)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO users (username, password_hash, student_id)
         SELECT username, $3, id FROM unnest($1::bigint[], $2::text[]) AS users (id, username)
         ON CONFLICT (username) DO NOTHING",
    )
    .bind(&ids)
    .bind(usernames)
    .bind(seeded_hash())
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
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
