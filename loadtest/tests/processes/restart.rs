//! `workbench restart`: one role is drained and started again, and no request fails.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use reqwest::Method;
use sqlx::{Connection as _, PgConnection};

use crate::harness::{Api, Finished, Stack, eventually, eventually_without, run, workbench};

fn restart(stack: &Stack, target: &str) -> Finished {
    run(workbench().args(["restart", target, "--stack"]).arg(&stack.addresses.folder))
}

/// Runs a restart on a thread of its own.
async fn restart_meanwhile(stack: &Stack, target: &str) -> Finished {
    let (folder, target) = (stack.addresses.folder.clone(), target.to_owned());
    let restart = move || run(workbench().args(["restart", &target, "--stack"]).arg(folder));
    tokio::task::spawn_blocking(restart).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_finish_before_the_role_is_started_again() {
    let stack = Stack::start_small();
    let before = stack.pid("booking_service");
    let api = Api::log_in(&stack).await;
    let mut database = PgConnection::connect(&stack.addresses.database_url).await.unwrap();
    let mut blocking = PgConnection::connect(&stack.addresses.database_url).await.unwrap();
    let mut lock = blocking.begin().await.unwrap();
    sqlx::query("LOCK TABLE bookings IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let request = tokio::spawn(api.request(Method::GET, "/bookings").send());
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    let mut waits = false;
    while !waits {
        waits = sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut database).await.unwrap() > 0;
    }
    let (finished, ()) = tokio::join!(restart_meanwhile(&stack, "booking"), async {
        eventually("the role drains", || !stack.log_lines_with("booking_service", "draining").is_empty());
        assert_eq!(stack.pid("booking_service"), before, "the request is in flight");
        lock.commit().await.unwrap();
    });
    assert_eq!(request.await.unwrap().unwrap().status(), 200);
    let printed = String::from_utf8(finished.succeeded().stdout().to_owned()).unwrap();
    let now = &stack.processes()["booking_service"];
    assert_eq!(now.restarts, 1);
    let expected = format!("(process {before}, now {})", now.pid.unwrap());
    assert!(
        printed.starts_with("booking_service is ready again after") && printed.contains(&expected),
        "{printed}"
    );
    assert_eq!(api.request(Method::GET, "/bookings").send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_the_gateways_fails_no_request() {
    let stack = Stack::start_small();
    let pids = ["api_gateway_1", "api_gateway_2"].map(|name| stack.pid(name));
    let api = Api::log_in(&stack).await;
    let (done, sent) = (AtomicBool::new(false), AtomicU32::new(0));
    let load = async || {
        while !done.load(Relaxed) {
            // The balancer does not send a POST again.
            let form = [("username", "student1"), ("password", "password")];
            let reply = api.anonymous(Method::POST, "/token").form(&form).send().await.unwrap();
            assert_eq!(reply.status(), 200, "{:?}", reply.text().await);
            sent.fetch_add(1, Relaxed);
        }
    };
    let restarts = async {
        let finished = restart_meanwhile(&stack, "gateway").await;
        done.store(true, Relaxed);
        finished
    };
    let (finished, (), (), ()) = tokio::join!(restarts, load(), load(), load());
    assert_eq!(finished.succeeded().stdout().iter().filter(|byte| **byte == b'\n').count(), 2);
    assert!(sent.load(Relaxed) > 10, "{sent:?}");
    for (name, pid) in ["api_gateway_1", "api_gateway_2"].into_iter().zip(pids) {
        assert_ne!(stack.pid(name), pid);
        assert_eq!(stack.processes()[name].restarts, 1);
    }
}

#[test]
fn a_requested_restart_does_not_stop_a_stack_that_stops_when_a_process_ends() {
    let stack = Stack::start_with(|up| {
        up.args(["--on-exit", "stop", "--tutors", "2", "--students", "2"]);
    });
    restart(&stack, "gateway_2").succeeded();
    restart(&stack, "queue").succeeded();
    let restarts = stack.processes().into_iter().filter(|(_, process)| process.restarts > 0);
    assert_eq!(restarts.map(|(name, _)| name).collect::<Vec<_>>(), ["api_gateway_2", "queue"]);
    assert_eq!(stack.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_stack_is_the_default() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let start = || {
        Stack::start_with(|up| {
            up.args(["--tutors", "2", "--students", "2"]).env("TMPDIR", folder.path());
        })
    };
    let (older, newer) = (start(), start());
    run(workbench().args(["restart", "cache"]).env("TMPDIR", folder.path())).succeeded();
    assert_eq!((older.processes()["cache"].restarts, newer.processes()["cache"].restarts), (0, 1));
    newer.stop();
    run(workbench().args(["restart", "cache"]).env("TMPDIR", folder.path())).succeeded();
    assert_eq!(older.processes()["cache"].restarts, 1);
    eventually_without(|| async {
        let api = Api::log_in(&older).await;
        let reply = api.request(Method::GET, "/search?subject=Math").send().await.unwrap();
        (reply.status() != 200).then(|| reply.status().to_string())
    })
    .await;
}

#[test]
fn errors_say_what_can_be_restarted_and_which_stack_was_meant() {
    let stack = Stack::start_small();
    restart(&stack, "kitchen").failed(2, "no role or instance 'kitchen' in this stack: expected a role");
    restart(&stack, "database").failed(2, "api_gateway_1, api_gateway_2, booking_service, cache,");
    let folder = tempfile::tempdir().unwrap();
    let without =
        |folder: &std::path::Path| run(workbench().args(["restart", "queue", "--stack"]).arg(folder));
    without(folder.path()).failed(2, "is not the folder of a stack: cannot read addresses.json");
    // A stack that was killed together with the process that removes its folder.
    let file = stack.addresses.folder.join("addresses.json");
    std::fs::copy(file, folder.path().join("addresses.json")).unwrap();
    nix::unistd::mkfifo(&folder.path().join("control"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    without(folder.path()).failed(2, "does not run");
}
