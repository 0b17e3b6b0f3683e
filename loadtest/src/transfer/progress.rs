//! Progress on stderr: a spinner on a terminal, and one final line.

use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};

use crate::terminal;

const REDRAW_EVERY: Duration = Duration::from_millis(200);

/// Shows a message until dropped. Shows nothing if stderr is not a terminal.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn start() -> Self {
        let bar = ProgressBar::new_spinner();
        // The template is constant and valid; the default style is the fallback.
        if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(REDRAW_EVERY);
        Self(bar)
    }

    pub(super) fn set(&self, message: &str) {
        // File names and the reasons of receivers may contain escape sequences.
        self.0.set_message(terminal::escaped(message).into_owned());
    }

    /// Clears the spinner and prints a final line.
    pub(super) fn finish(self, message: &str) {
        self.0.finish_and_clear();
        terminal::notice(message);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Formats a count with its noun: `1 trace`, `1,200 spans`.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", HumanCount(number as u64), if number == 1 { "" } else { "s" })
}

pub(super) fn bytes(number: u64) -> String {
    HumanBytes(number).to_string()
}
