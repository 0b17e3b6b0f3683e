//! Progress on stderr: a bar on a terminal, otherwise one line every five seconds.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use collector::ledger::Ledger;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use crate::drive::DriveProgress;
use crate::terminal;

const REDRAW_EVERY: Duration = Duration::from_millis(500);
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows progress until it is finished or dropped.
pub(super) struct Progress {
    bar: ProgressBar,
    lines: bool,
    ticker: JoinHandle<()>,
}

impl Progress {
    /// Starts the display of the number of replies out of `requests`.
    pub(super) fn start(requests: usize, figures: Arc<DriveProgress>) -> Self {
        let lines = !std::io::stderr().is_terminal();
        let bar = if lines { ProgressBar::hidden() } else { ProgressBar::new(requests as u64) };
        bar.set_length(requests as u64);
        // The template is constant and valid; the default style is the fallback.
        if let Ok(style) =
            ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len} requests  {msg}")
        {
            bar.set_style(style);
        }
        let ticker = tokio::spawn(tick(bar.clone(), lines, figures));
        Progress { bar, lines, ticker }
    }

    /// Shows the number of notified bookings.
    pub(super) fn notified(&self, notified: usize, accepted: usize) {
        self.show(format!("{notified} of {accepted} bookings notified"));
    }

    /// Shows the number of complete traces.
    pub(super) fn ledger(&self, ledger: &Ledger) {
        self.show(format!("{} of {} traces complete", ledger.complete, ledger.expected));
    }

    /// Clears the bar.
    pub(super) fn finish(&self) {
        self.ticker.abort();
        self.bar.finish_and_clear();
    }

    fn show(&self, message: String) {
        self.ticker.abort();
        if self.lines && self.bar.message() != message {
            terminal::notice(&message);
        }
        self.bar.set_message(message);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

async fn tick(bar: ProgressBar, lines: bool, figures: Arc<DriveProgress>) {
    let mut every = tokio::time::interval(if lines { LINE_EVERY } else { REDRAW_EVERY });
    let mut since = Instant::now();
    every.tick().await;
    loop {
        every.tick().await;
        let replies = figures.take();
        let rate = replies.count as f64 / since.elapsed().as_secs_f64();
        since = Instant::now();
        bar.inc(replies.count);
        let message = replies.message(rate).unwrap_or_else(|| {
            let (done, users) =
                (figures.logged_in.load(Ordering::Relaxed), figures.users.load(Ordering::Relaxed));
            format!("{done} of {users} users logged in")
        });
        if lines {
            let length = bar.length().unwrap_or_default();
            terminal::notice(format_args!("{}/{length} requests  {message}", bar.position()));
        }
        bar.set_message(message);
    }
}
