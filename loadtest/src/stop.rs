//! Stops a process of the workbench on SIGTERM, SIGINT or the end of stdin.

use std::io::{self, Read as _};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Signals within this time after the first one count as the same: GNU timeout signals the process and then its group.
const SAME_SIGNAL: Duration = Duration::from_secs(2);

/// Exit status of a command that SIGINT or SIGTERM ended, as shells use it.
pub(crate) const INTERRUPTED: u8 = 130;

/// A signal ended the command before it had a result.
#[derive(Debug, thiserror::Error)]
#[error("interrupted before the load began: nothing was measured, and no bundle was written")]
pub(crate) struct Interrupted;

/// The interrupts of a load run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupts {
    /// Cancelled by the first SIGTERM or SIGINT: ends the load. The run waits for what is under way, and reports.
    pub(crate) stop: CancellationToken,
    /// Cancelled by the next one that comes more than 2 s later: ends the waits. The run reports what it has.
    pub(crate) hurry: CancellationToken,
}

impl Interrupts {
    /// Starts to listen for both signals. Requires a runtime.
    pub(crate) fn listen() -> io::Result<Self> {
        keep_goose_from_handling_sigint();
        let mut signals = Signals::listen()?;
        let interrupts = Interrupts::default();
        let Interrupts { stop, hurry } = interrupts.clone();
        tokio::spawn(async move {
            signals.next().await;
            stop.cancel();
            signals.next_after(SAME_SIGNAL).await;
            hurry.cancel();
        });
        Ok(interrupts)
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => (),
            _ = self.interrupt.recv() => (),
        }
    }

    /// Waits for the first signal after `pause`; ignores those before.
    async fn next_after(&mut self, pause: Duration) {
        let from = Instant::now() + pause;
        loop {
            self.next().await;
            if Instant::now() >= from {
                return;
            }
        }
    }
}

/// Returns a token that the first SIGTERM or SIGINT cancels. Requires a runtime.
pub(crate) fn on_signal() -> io::Result<CancellationToken> {
    keep_goose_from_handling_sigint();
    let (token, mut signals) = (CancellationToken::new(), Signals::listen()?);
    let cancelled = token.clone();
    tokio::spawn(async move {
        signals.next().await;
        cancelled.cancel();
    });
    Ok(token)
}

/// Returns a token that the next SIGTERM or SIGINT cancels, after a first one that has just come.
pub(crate) fn on_next_signal() -> io::Result<CancellationToken> {
    let (token, mut signals) = (CancellationToken::new(), Signals::listen()?);
    let cancelled = token.clone();
    tokio::spawn(async move {
        signals.next_after(SAME_SIGNAL).await;
        cancelled.cancel();
    });
    Ok(token)
}

/// Keeps goose from replacing the SIGINT handlers. Must run before any other handler is installed.
///
/// Goose installs its handler through the `ctrlc` crate, which replaces all others, and ends the process at the second
/// Ctrl-C. If that crate has a handler already, goose does not install one.
fn keep_goose_from_handling_sigint() {
    // An error means that a handler is installed already.
    let _ = ctrlc::set_handler(|| ());
}

/// Cancels `token` also when stdin closes, so that a child stops when its parent ends for any reason.
pub(crate) fn with_stdin(token: CancellationToken) -> io::Result<()> {
    // A separate thread instead of tokio's stdin, where a blocked read would delay the shutdown of the runtime.
    let watch = move || {
        let mut byte = [0];
        while matches!(io::stdin().read(&mut byte), Ok(1..)) {}
        token.cancel();
    };
    std::thread::Builder::new().name("stdin".into()).spawn(watch).map(|_| ())
}
