//! When a process of the workbench has to stop: SIGTERM, SIGINT, or the end of its stdin.

use std::io::{self, Read as _};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGTERM or SIGINT. Call it inside a runtime.
pub(crate) fn on_signal() -> io::Result<CancellationToken> {
    keep_interrupts();
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
        cancelled.cancel();
    });
    Ok(token)
}

/// Keeps SIGINT with whoever asked for it. To be called before any other SIGINT handler is installed.
///
/// Goose installs its handler through the `ctrlc` crate, over everybody else's, and a second Ctrl-C then ends the
/// process on the spot. With a handler of that crate in place already, goose does without.
fn keep_interrupts() {
    // An error means that such a handler is in place.
    let _ = ctrlc::set_handler(|| ());
}

/// Returns at the second signal: `token`, of the first, is cancelled and whoever waits has no patience left.
pub(crate) async fn again(token: &CancellationToken) -> io::Result<()> {
    token.cancelled().await;
    on_signal()?.cancelled().await;
    Ok(())
}

/// Cancels `token` also when stdin ends. A parent that holds the other end of that pipe, and says nothing on it,
/// leaves no child behind however it dies.
pub(crate) fn with_stdin(token: CancellationToken) -> io::Result<()> {
    // A thread of its own, not tokio's stdin: a blocked read there would keep the runtime from shutting down.
    let watch = move || {
        let mut byte = [0];
        while matches!(io::stdin().read(&mut byte), Ok(1..)) {}
        token.cancel();
    };
    std::thread::Builder::new().name("stdin".into()).spawn(watch).map(|_| ())
}
