//! The frontend and the collector's pages in headless Chromium, against a stack.

use std::fmt::Display;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::panic::resume_unwind;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{ExclusiveMachine, Stack, eventually_without, http, pid_of};
use fantoccini::key::Key;
use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, geteuid};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

/// Maximum wait for a page to change; shorter than the page's own wait for a late notification.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A chromedriver on a free port, killed with all of its browsers when dropped.
struct Driver {
    child: Child,
    output: BufReader<ChildStdout>,
    // Profiles of the browsers.
    _folder: TempDir,
}

impl Driver {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").env("TMPDIR", folder.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        // The browsers join the process group of the driver, so one signal kills all of them.
        let mut child = command.process_group(0).spawn().unwrap_or_else(|error| {
            panic!(
                "no chromedriver on PATH ({error}); install Chromium and its driver: \
                 apt-get install chromium chromium-driver"
            )
        });
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output, _folder: folder }
    }

    fn url(&mut self) -> String {
        let port = self.output.by_ref().lines().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            Some(port.trim_end_matches('.').to_owned())
        });
        format!("http://127.0.0.1:{}", port.expect("chromedriver prints its port"))
    }

    /// A browser whose page is `width` CSS pixels wide.
    async fn browser(&mut self, width: u32) -> Client {
        let mut arguments = vec!["--headless=new", "--disable-gpu", "--disable-dev-shm-usage"];
        if geteuid().is_root() {
            // Chromium's sandbox refuses to run as root.
            arguments.push("--no-sandbox");
        }
        let screen = json!({ "width": width, "height": 800, "pixelRatio": 1, "touch": false });
        let options = json!({ "args": arguments, "mobileEmulation": { "deviceMetrics": screen } });
        ClientBuilder::new(HttpConnector::new())
            .capabilities(Capabilities::from_iter([("goog:chromeOptions".to_owned(), options)]))
            .connect(&self.url())
            .await
            .expect("Chromium starts")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        killpg(Pid::from_raw(pid_of(&self.child)), Signal::SIGKILL).unwrap();
        self.child.wait().unwrap();
    }
}

/// A page, through what a user sees and does.
struct Page(Client);

impl Page {
    /// Waits until the element shows `text`; fails the test with the text of the page.
    async fn sees(&self, css: &str, text: &str) {
        self.shows(css, text, |shown| shown.contains(text)).await;
    }

    /// Waits until the element is empty, hidden or absent.
    async fn sees_nothing_in(&self, css: &str) {
        self.shows(css, "nothing", str::is_empty).await;
    }

    async fn shows(&self, css: &str, what: impl Display, is_right: impl Fn(&str) -> bool) {
        let start = Instant::now();
        while !is_right(&self.text(css).await) {
            assert!(
                start.elapsed() < TIMEOUT,
                "{css} does not show {what}; the page:\n{}",
                self.text("body").await
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The visible text of the element; empty when it is hidden, absent or was just replaced.
    async fn text(&self, css: &str) -> String {
        match self.0.find(Locator::Css(css)).await {
            Ok(element) => element.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// Replaces the text of a field.
    async fn types(&self, css: &str, text: &str) {
        let field = self.0.find(Locator::Css(css)).await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    async fn clicks(&self, css: &str) {
        self.0.find(Locator::Css(css)).await.unwrap().click().await.unwrap();
    }

    /// Presses a key in the focused element.
    async fn presses(&self, key: Key) {
        let focused = self.0.active_element().await.unwrap();
        focused.send_keys(&String::from(char::from(key))).await.unwrap();
    }

    /// The id of the focused element.
    async fn focused(&self) -> String {
        self.0.active_element().await.unwrap().attr("id").await.unwrap().unwrap_or_default()
    }

    async fn script(&self, script: &str) -> Value {
        self.0.execute(script, Vec::new()).await.unwrap()
    }

    async fn logs_in(&self, username: &str, password: &str) {
        self.sees("#login h2", "Log in").await;
        self.types("#username", username).await;
        self.types("#password", password).await;
        self.presses(Key::Enter).await;
    }

    async fn searches(&self, subject: &str) {
        self.sees("#search-title", "Find a tutor").await;
        self.types("#subject", subject).await;
        self.presses(Key::Enter).await;
    }
}

/// Runs `scenario` in a browser `width` pixels wide that shows the frontend of a new stack, then stops both, also when
/// the scenario panics.
async fn in_browser<S: Future<Output = ()> + Send + 'static>(
    width: u32,
    scenario: impl FnOnce(Page, Stack) -> S,
) {
    let machine = ExclusiveMachine::acquire();
    let mut driver = Driver::start();
    let stack = Stack::start_on(&machine);
    let client = driver.browser(width).await;
    client.goto(&stack.addresses.frontend).await.unwrap();
    let done = tokio::spawn(scenario(Page(client), stack)).await;
    drop(driver);
    if let Err(error) = done {
        resume_unwind(error.into_panic());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn student_logs_in_searches_books_and_is_notified() {
    in_browser(1200, |page, stack| async move {
        page.logs_in("student1", "not the password").await;
        page.sees("#login-problem", "Incorrect user name or password.").await;
        assert_eq!(page.focused().await, "password");

        page.logs_in("student1", "password").await;
        page.sees("#who-name", "student1").await;
        page.sees("#bookings-summary", "No bookings yet.").await;
        assert_eq!(page.focused().await, "subject");

        page.searches("Math").await;
        page.sees("#search-origin", "from the database").await;
        page.sees("#tutors", "Alice").await;
        page.searches("Math").await;
        page.sees("#search-origin", "from the cache").await;

        // Two Tab presses lead from the field, past the search button, to the button of the first tutor.
        page.presses(Key::Tab).await;
        page.presses(Key::Tab).await;
        let tutor = page.text("#tutors li:first-child .name").await;
        page.presses(Key::Enter).await;
        let confirmation =
            format!("You booked {tutor}. Booking number 1. You and your tutor have been notified.");
        page.sees("#notice", &confirmation).await;
        page.sees("#bookings li", &tutor).await;
        page.sees("#bookings li .tag", "Notified after").await;
        trace_of_the_booking_is_complete(&page, &stack).await;

        page.0.refresh().await.unwrap();
        page.sees("#bookings li .tag", "Notified after").await;
        page.clicks("#log-out").await;
        page.sees("#login h2", "Log in").await;
        assert_eq!(page.script("return document.querySelectorAll('#bookings li').length").await, 0);
        assert_eq!(page.script("return sessionStorage.length").await, 0);
    })
    .await;
}

/// Waits until the trace whose id the page shows reaches the notification service.
async fn trace_of_the_booking_is_complete(page: &Page, stack: &Stack) {
    page.sees("#trace", "POST /book").await;
    let url = format!("{}/api/traces/{}", stack.addresses.collector, page.text("#trace-id").await);
    eventually_without(|| async {
        let trace = http().get(&url).send().await.unwrap().text().await.unwrap();
        let is_complete = trace.contains("\"load_balancer\"") && trace.contains("\"notification_service\"");
        let has_root = !trace.contains("is not in the trace");
        (!is_complete || !has_root).then(|| format!("{url} is not the whole trace of the booking: {trace}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_explained_on_a_small_screen() {
    in_browser(320, |page, stack| async move {
        page.logs_in("student2", "password").await;
        page.searches("Klingon").await;
        page.sees("#search-summary", "No tutors found for “Klingon”.").await;
        page.sees("#offered", "Math").await;
        page.clicks("#offered li:first-child button").await;
        page.sees("#tutors", "Accounting").await;

        // Markup in a name is shown as text.
        let name = "<img src=x onerror=\"document.title='owned'\"><b>Eve</b>";
        let mut database = PgConnection::connect(&stack.addresses.database_url).await.unwrap();
        let hire = "INSERT INTO tutors (id, name, subject, rating) \
                    VALUES (900001, $1, 'Markup', 4.0), (900002, 'Zoe', 'Markup', 3.0)";
        sqlx::query(hire).bind(name).execute(&mut database).await.unwrap();
        let teach =
            "INSERT INTO weekly_hours SELECT 900001, weekday, 0, 1440 FROM generate_series(1, 7) AS weekday";
        sqlx::query(teach).execute(&mut database).await.unwrap();
        page.searches("Markup").await;
        page.sees("#tutors", name).await;
        page.clicks("#tutors li:first-child button").await;
        page.sees("#notice", "have been notified").await;
        page.sees("#bookings li .name", name).await;
        assert_eq!(page.script("return document.querySelectorAll('main img, main b').length").await, 0);
        assert_eq!(page.0.title().await.unwrap(), "Tutoring");
        assert_eq!(page.script("return document.documentElement.scrollWidth").await, 320);

        // A tutor can be deleted while the list is open.
        sqlx::query("DELETE FROM tutors WHERE id = 900002").execute(&mut database).await.unwrap();
        page.clicks("#tutors li:last-child button").await;
        page.sees("#notice.bad", "This tutor is no longer available.").await;

        let forge = "const session = JSON.parse(sessionStorage.session);
                     sessionStorage.session = JSON.stringify({ ...session, token: 'garbage' });";
        page.script(forge).await;
        page.searches("Math").await;
        page.sees("#login-problem", "Your session has ended. Please log in again.").await;
        assert_eq!(page.focused().await, "username");
        page.sees_nothing_in("#home").await;
        page.logs_in("student2", "password").await;
        page.sees("#bookings li .name", name).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_notification_appears_when_it_arrives() {
    in_browser(1200, |page, stack| async move {
        page.logs_in("student1", "password").await;
        page.searches("Science").await;
        page.sees("#tutors", "Bob").await;
        stack.signal("notification_service", Signal::SIGSTOP);
        page.clicks("#tutors button").await;
        page.sees("#bookings li .tag", "Notifying…").await;
        stack.signal("notification_service", Signal::SIGCONT);
        page.sees("#bookings li .tag", "Notified after").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_service_is_reported() {
    in_browser(1200, |page, stack| async move {
        page.logs_in("student1", "password").await;
        page.searches("Science").await;
        page.sees("#tutors", "Bob").await;
        tokio::task::spawn_blocking(|| stack.stop()).await.unwrap();

        page.clicks("#tutors button").await;
        page.sees("#notice.bad", "The service cannot be reached.").await;
        page.sees("#notice.bad", "Check “My bookings” first: the booking may have been made").await;
        page.searches("Science").await;
        page.sees_nothing_in("#tutors").await;
        page.sees("#notice.bad", "The service cannot be reached.").await;
        page.clicks("#log-out").await;
        page.logs_in("student1", "password").await;
        page.sees("#login-problem", "The service cannot be reached.").await;
    })
    .await;
}

/// Text that would run as a script if a page did not escape it.
const HOSTILE: &str =
    "\"><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">";

#[tokio::test(flavor = "multi_thread")]
async fn hostile_trace_is_reachable_by_keyboard_and_shown_as_text() {
    in_browser(1200, |page, stack| async move {
        let id = format!("{:032x}", 0xabc);
        let text = json!({ "stringValue": HOSTILE });
        let span = json!({
            "traceId": id, "spanId": format!("{:016x}", 1), "name": HOSTILE, "kind": 2,
            "startTimeUnixNano": "1795455811000000000", "endTimeUnixNano": "1795455811005000000",
            "attributes": [{ "key": HOSTILE, "value": text }, { "key": "zone", "value": { "stringValue": "a b" } }],
            "status": { "code": 2, "message": HOSTILE },
        });
        let resource = json!({ "attributes": [{ "key": "service.name", "value": text }] });
        let message = json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": [span] }] }] });
        let sent = http().post(format!("{}/v1/traces", stack.addresses.otlp_http)).json(&message);
        assert!(sent.send().await.unwrap().status().is_success());

        page.0.goto(&stack.addresses.collector).await.unwrap();
        page.types("#tags", "zone=\"a b\"").await;
        page.presses(Key::Tab).await;
        page.presses(Key::Enter).await;
        page.sees("main", "1 trace found").await;
        page.sees("main", HOSTILE).await;
        // Tab moves the focus from the form to the link of the trace.
        let link = format!("/trace/{id}");
        for _ in 0..60 {
            let focused = page.0.active_element().await.unwrap();
            if focused.attr("href").await.unwrap().as_deref() == Some(&link) {
                break;
            }
            page.presses(Key::Tab).await;
        }
        page.presses(Key::Enter).await;
        page.sees("h1", HOSTILE).await;
        let url = page.0.current_url().await.unwrap();
        assert!(url.path().ends_with(&link), "{url}");
        assert!(page.0.title().await.unwrap().contains("<script>"), "the title is escaped");
        assert_eq!(page.script("return document.scripts.length + document.images.length").await, 0);
    })
    .await;
}
