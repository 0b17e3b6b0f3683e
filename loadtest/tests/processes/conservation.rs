//! The conservation of bookings and the history check: nothing is found in a correct system, and each broken one is caught.

use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::Connection as _;

use crate::harness::{FinishedLoad, Load, Stack, eventually, sum};

/// One tutor for each subject and few students, so that many want the same slots.
const SEEDED: [&str; 4] = ["--tutors", "50", "--students", "20"];

fn stack() -> Stack {
    Stack::start_with(|up| {
        up.args(SEEDED);
    })
}

fn load(stack: &Stack, duration: &str) -> Load {
    let arguments = ["--rate", "25", "--duration", duration, "--seed", "12"];
    Load::of(stack, &[&SEEDED[..], &arguments].concat())
}

/// Changes the database of a stack.
fn alter(stack: &Stack, statements: &'static str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut database = sqlx::PgConnection::connect(&stack.addresses.database_url).await.unwrap();
        sqlx::raw_sql(statements).execute(&mut database).await.unwrap();
    });
}

/// The number of contradictions of one kind.
fn found(run: &Value, what: &str) -> u64 {
    let rows = run["history"].as_array().unwrap();
    rows.iter().find(|row| row["what"] == what).unwrap()["count"].as_u64().unwrap()
}

fn request(run: &Value, name: &str, count: &str) -> u64 {
    let rows = run["requests"].as_array().unwrap().iter();
    rows.filter(|row| row["name"] == name).map(|row| row[count].as_u64().unwrap()).sum()
}

/// Asserts that every accepted booking is in one row and was notified once.
#[track_caller]
fn assert_conserved(loaded: &FinishedLoad) -> Value {
    let run = loaded.run();
    let bookings = &run["bookings"];
    assert!(bookings["accepted"].as_u64() > Some(20), "{bookings}");
    assert_eq!(bookings["notified"], bookings["accepted"], "{}", loaded.text());
    for bad in ["duplicate", "parked", "lost", "unknown", "double_booked"] {
        assert_eq!(bookings[bad], 0, "{bad}: {}", loaded.text());
    }
    assert!(run["history"].as_array().unwrap().iter().all(|row| row["count"] == 0), "{}", loaded.text());
    run
}

#[test]
fn a_run_has_nothing_in_any_bad_row_and_a_second_one_books_anew() {
    let stack = stack();
    let loaded = load(&stack, "15s").run();
    assert_eq!(loaded.code(), Some(0), "{}", loaded.text());
    let run = assert_conserved(&loaded);
    assert!(run["bookings"]["cancelled"].as_u64() > Some(0), "{}", run["bookings"]);
    for name in ["GET /tutors/{id}/slots", "repeated POST /book", "DELETE /bookings/{id}"] {
        assert!(request(&run, name, "verified") > 0, "{name}: {}", loaded.text());
    }
    let confirmed = request(&run, "POST /book", "verified");
    assert_eq!(run["bookings"]["accepted"].as_u64(), Some(confirmed), "a repeated key books nothing");
    assert_eq!(sum(&run, "verified") + sum(&run, "conflicts"), sum(&run, "due"));

    let again = load(&stack, "15s").run();
    assert_eq!(again.code(), Some(0), "{}", again.text());
    let accepted = assert_conserved(&again)["bookings"]["accepted"].as_u64();
    assert_eq!(accepted, Some(request(&again.run(), "POST /book", "verified")), "the keys are new");
}

#[test]
fn bookings_survive_a_killed_booking_service() {
    let stack = stack();
    let load = load(&stack, "15s").start();
    eventually("a booking is made", || !stack.log_lines_with("booking_service", "POST /book").is_empty());
    stack.signal("booking_service", Signal::SIGKILL);
    let loaded = load.finish();
    assert_conserved(&loaded);
}

#[test]
fn missing_exclusion_constraints_are_found_as_double_bookings() {
    let stack = stack();
    alter(
        &stack,
        "ALTER TABLE bookings DROP CONSTRAINT bookings_tutor_free, DROP CONSTRAINT bookings_student_free",
    );
    let loaded = load(&stack, "15s").run();
    let run = loaded.run();
    assert!(run["bookings"]["double_booked"].as_u64() > Some(0), "{}", loaded.text());
    assert_eq!(loaded.code(), Some(1), "{}", loaded.text());
    assert!(loaded.text().contains(" two lessons, at "), "{}", loaded.text());
}

#[test]
fn repeated_effects_are_found_as_duplicates() {
    let stack = stack();
    alter(
        &stack,
        "CREATE FUNCTION send_again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO notification_effects (booking_id, worker) VALUES (NEW.booking_id, NEW.worker);
             RETURN NULL;
         END $$;
         CREATE TRIGGER send_again AFTER INSERT ON notification_effects
             FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION send_again()",
    );
    let loaded = load(&stack, "8s").run();
    let bookings = &loaded.run()["bookings"];
    assert_eq!(bookings["duplicate"], bookings["accepted"], "{}", loaded.text());
    assert_eq!((loaded.code(), &bookings["lost"]), (Some(1), &Value::from(0)), "{}", loaded.text());
}

#[test]
fn cached_slots_that_are_not_deleted_are_found_as_stale_reads() {
    let stack = stack();
    alter(
        &stack,
        "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
         CREATE TRIGGER forget BEFORE INSERT ON outbox
             FOR EACH ROW WHEN (NEW.kind = 'cache_delete') EXECUTE FUNCTION forget()",
    );
    let loaded = load(&stack, "25s").run();
    assert!(found(&loaded.run(), "stale read") > 0, "{}", loaded.text());
    assert_eq!(loaded.code(), Some(1), "{}", loaded.text());
}
