//! Text for people on stdout and stderr.
//!
//! `println!` and `eprintln!` panic when a pipe is closed or a disk is full, and pass escape sequences on to the terminal.
//! The functions of this module do neither; the lints `print_stdout` and `print_stderr` forbid the macros in this crate.

mod error_text;
mod escape;

use std::fmt::Display;
use std::io::{self, BufRead as _, BufReader, ErrorKind, IsTerminal as _, Read, Write as _};

pub(crate) use error_text::{describe, os_reason};
pub(crate) use escape::{escaped, escaped_json, escaped_lines};

/// Writes `text` to stdout as it is. A reader that closed the pipe, such as `head`, is no error.
///
/// The caller escapes the parts of `text` that others wrote.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// Copies `source`, which others wrote, to stdout: escaped if stdout is a terminal, unchanged otherwise.
pub(crate) fn print_from(source: impl Read) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let copied = if stdout.is_terminal() {
        let mut lines = BufReader::new(source).split(b'\n');
        lines.try_for_each(|line| {
            let line = line?;
            writeln!(stdout, "{}", escaped_lines(&String::from_utf8_lossy(&line)))
        })
    } else {
        io::copy(&mut BufReader::new(source), &mut stdout).map(drop)
    };
    match copied.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// Writes `text` and a line feed to stderr, with control characters escaped. A failed write is ignored: there is no other
/// place to report it.
pub(crate) fn notice(text: impl Display) {
    let text = text.to_string();
    let _ = writeln!(io::stderr().lock(), "{}", escaped_lines(&text));
}
