//! Log lines leave the process together: one write for all that come within a few milliseconds.
//!
//! At thousands of requests a second a write for each line costs more than making the line. No line is dropped: when
//! nobody reads, whoever has something to say waits. A process that is killed takes its last milliseconds along.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Shorter than anybody who follows a log notices.
const TOGETHER: Duration = Duration::from_millis(5);
/// Beyond it lines wait for those before them to be read.
const MAX_WAITING: usize = 1 << 20;

/// Where a line goes. Cloned for the layer that formats and for the guard that writes the last ones.
#[derive(Debug, Clone)]
pub(crate) struct Lines(Arc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    lines: Mutex<Vec<u8>>,
    some: Condvar,
    room: Condvar,
    /// Held while lines are written, so that the last ones come last.
    writing: Mutex<()>,
}

impl Lines {
    /// Starts the thread that writes to `out`, which [`Lines::flush`] is given, too.
    pub(crate) fn start(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let lines = Self(Arc::default());
        let waiting = lines.clone();
        thread::Builder::new().name("log".into()).spawn(move || {
            loop {
                waiting.wait_for_some();
                thread::sleep(TOGETHER);
                waiting.flush(&mut out);
            }
        })?;
        Ok(lines)
    }

    fn wait_for_some(&self) {
        let lines = self.lock();
        drop(self.0.some.wait_while(lines, |lines| lines.is_empty()));
    }

    /// Writes what waits.
    pub(crate) fn flush(&self, out: &mut impl Write) {
        let _writing = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = std::mem::take(&mut *self.lock());
        self.0.room.notify_all();
        // A log that cannot be written cannot tell of it.
        let _ = out.write_all(&lines).and_then(|()| out.flush());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let lines = self.lock();
        let full = |lines: &mut Vec<u8>| lines.len() > MAX_WAITING;
        let mut lines = self.0.room.wait_while(lines, full).unwrap_or_else(PoisonError::into_inner);
        let first = lines.is_empty();
        lines.extend_from_slice(line);
        drop(lines);
        if first {
            self.0.some.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Hands each write on.
    struct Sink(mpsc::SyncSender<Vec<u8>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_arrives_in_order_and_many_share_a_write() {
        let (sink, written) = mpsc::sync_channel(1000);
        let lines = Lines::start(Sink(sink)).unwrap();
        let expected: String = (0..1000).map(|n| format!("line {n}\n")).collect();
        for line in expected.lines() {
            (&lines).write_all(format!("{line}\n").as_bytes()).unwrap();
        }
        let (mut read, mut writes) = (Vec::new(), 0);
        while read.len() < expected.len() {
            read.extend(written.recv().unwrap());
            writes += 1;
        }
        assert_eq!(String::from_utf8(read).unwrap(), expected);
        assert!(writes < 1000, "{writes} writes");
    }

    #[test]
    fn who_writes_to_a_log_that_nobody_reads_waits_and_loses_nothing() {
        let (sink, written) = mpsc::sync_channel(0);
        let lines = Lines::start(Sink(sink)).unwrap();
        let line = vec![b'x'; MAX_WAITING];
        let writer = thread::spawn(move || (0..5).for_each(|_| (&lines).write_all(&line).unwrap()));
        let mut read = 0;
        while read < 5 * MAX_WAITING {
            read += written.recv().unwrap().len();
        }
        writer.join().unwrap();
    }
}
