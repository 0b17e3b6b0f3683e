//! What is going on, on stderr: for a person while it goes on, for a log one line when it is over.

use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};

const REDRAW_EVERY: Duration = Duration::from_millis(200);

/// Shows what it is told until it is dropped. Nothing is shown where stderr is no terminal.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn start() -> Self {
        let bar = ProgressBar::new_spinner();
        // The template is a constant: it parses, or the default style is good enough.
        if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(REDRAW_EVERY);
        Self(bar)
    }

    pub(super) fn say(&self, message: String) {
        self.0.set_message(message);
    }

    /// Ends with a line that stays.
    pub(super) fn finish(self, message: &str) {
        self.0.finish_and_clear();
        eprintln!("{message}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// `1 trace`, `1,200 spans`.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", HumanCount(number as u64), if number == 1 { "" } else { "s" })
}

pub(super) fn bytes(number: u64) -> String {
    HumanBytes(number).to_string()
}
