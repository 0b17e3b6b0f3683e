//! `workbench up` starts processes that end again: on their ports, with PostgreSQL's rows, and whatever the others do.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use tempfile::NamedTempFile;

use crate::harness::{Api, Stack, eventually, eventually_without, http, pid_of, send_signal, workbench};

/// A small stack, and a file with what it writes to standard error.
fn start(arguments: &[&str]) -> (Stack, NamedTempFile) {
    let messages = NamedTempFile::new().unwrap();
    let stack = Stack::start_with(|up| {
        up.args(["--tutors", "2", "--students", "2"]).args(arguments);
        up.stderr(File::create(messages.path()).unwrap());
    });
    (stack, messages)
}

fn text(messages: &NamedTempFile) -> String {
    std::fs::read_to_string(messages.path()).unwrap()
}

/// What does not work of a log-in, a search and a booking.
async fn broken(stack: &Stack) -> Option<String> {
    let base = &stack.addresses.balancer;
    let json = async |request: reqwest::RequestBuilder| -> Result<Value, String> {
        let reply = request.send().await.map_err(|error| error.to_string())?;
        let status = reply.status();
        let body = reply.text().await.map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("{status}: {body}"));
        }
        serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))
    };
    let walk = async || -> Result<(), String> {
        let form = [("username", "student1"), ("password", "password")];
        let token = json(http().post(format!("{base}/token")).form(&form)).await?;
        let token = token["access_token"].as_str().unwrap_or_default();
        json(http().get(format!("{base}/search?subject=Math")).bearer_auth(token)).await?;
        let booking = http().post(format!("{base}/book")).bearer_auth(token);
        json(booking.json(&serde_json::json!({ "student_id": 1, "tutor_id": 1 }))).await?;
        Ok(())
    };
    walk().await.err()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_killed_role_comes_back_on_its_port_and_the_path_works_again() {
    let (stack, messages) = start(&[]);
    let before = stack.processes();
    let roles: Vec<&String> =
        before.keys().filter(|name| !["database", "keeper"].contains(&name.as_str())).collect();
    assert_eq!(roles.len(), 10, "{roles:?}");
    for name in roles {
        let port = before[name].port.unwrap();
        // A connection of a client that outlives the process occupies the port.
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let last_line = stack.log(name).lines().last().unwrap().to_owned();
        stack.signal(name, Signal::SIGKILL);
        let now = stack.restarted(name, before[name].pid.unwrap());
        assert_eq!((now.port, now.restarts), (Some(port), 1), "{name}");
        drop(client);
        let text = text(&messages);
        let report = text.find(&format!("{name} ended (signal: 9 (SIGKILL)); it is started again in 0.1 s"));
        assert!(report.is_some_and(|at| text[at..].contains(&last_line)), "{last_line} is not in {text}");
        eventually_without(|| broken(&stack)).await;
    }
    eventually("the last restart is reported as complete", || {
        text(&messages).matches("is ready again").count() == 10
    });
    assert_eq!(stack.processes()["database"], before["database"], "PostgreSQL is not concerned");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_postgresql_and_a_killed_keeper_come_back_with_the_committed_rows() {
    let (stack, messages) = start(&[]);
    for (kill, restarts) in [("database", 1), ("keeper", 2)] {
        let api = Api::log_in(&stack).await;
        let booked: Value =
            api.book(r#"{"student_id":1,"tutor_id":1}"#).send().await.unwrap().json().await.unwrap();
        let database = stack.processes()["database"].clone();
        let killed = stack.pid(kill);
        send_signal(killed, Signal::SIGKILL);
        stack.restarted(kill, killed);
        let now = stack.restarted("database", database.pid.unwrap());
        assert_eq!((now.port, now.restarts), (database.port, restarts), "{kill}");
        eventually_without(|| broken(&stack)).await;
        let mut connection = PgConnection::connect(&stack.addresses.database_url).await.unwrap();
        let id = booked["booking_id"].as_i64().expect("a booking");
        let found =
            sqlx::query("SELECT FROM bookings WHERE id = $1").bind(id).fetch_all(&mut connection).await;
        assert_eq!(found.unwrap().len(), 1, "{kill}");
        let text = text(&messages);
        assert!(text.contains(&format!("{kill} ended (signal: 9 (SIGKILL))")), "{text}");
        assert_eq!(text.matches("database is ready again").count(), restarts as usize, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_cannot_start_is_reported_and_tried_again_while_the_others_go_on() {
    let (stack, messages) = start(&[]);
    let (queue, up) = (stack.processes()["queue"].clone(), pid_of(&stack.child));
    let port = queue.port.unwrap();
    // The stopped parent does not start the queue again before the test has taken its port.
    send_signal(up, Signal::SIGSTOP);
    stack.signal("queue", Signal::SIGKILL);
    let mut taken = None;
    eventually("the port of the queue is free", || {
        taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
        taken.is_some()
    });
    send_signal(up, Signal::SIGCONT);
    eventually("the failed starts are reported", || {
        let text = text(&messages);
        text.contains("queue ended 3 times in a row") && text.contains("address already in use")
    });
    let api = Api::log_in(&stack).await;
    let search = api.request(reqwest::Method::GET, "/search?subject=Math").send().await.unwrap();
    assert_eq!(search.status(), 200, "the other roles run");
    assert_ne!(stack.processes()["queue"].pid, queue.pid);

    drop(taken);
    stack.restarted("queue", queue.pid.unwrap());
    eventually_without(|| broken(&stack)).await;
    assert!(stack.processes()["queue"].restarts >= 3);
}

#[test]
fn demo_names_the_processes_that_were_restarted() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    let mut demo = workbench();
    demo.args(["demo", "--rate", "20", "--duration", "4s", "--out"]);
    demo.arg(folder.path().join("runs")).env("TMPDIR", folder.path());
    let mut child = demo.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let ready = lines.find(|line| line.starts_with("ready after")).unwrap();
    let logs = ready.split("logs: ").nth(1).unwrap();
    let file = std::path::Path::new(logs).with_file_name("addresses.json");
    let addresses: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    // No request of the load needs the frontend.
    send_signal(
        addresses["processes"]["frontend"]["pid"].as_i64().unwrap().try_into().unwrap(),
        Signal::SIGKILL,
    );
    let text = lines.collect::<Vec<_>>().join("\n");
    child.wait().unwrap();
    assert!(text.contains("frontend ended (signal: 9 (SIGKILL))"), "{text}");
    assert!(text.contains("restarts during the load: frontend 1"), "{text}");
}
