//! Stops a process of the workbench on SIGTERM, SIGINT or the end of stdin.

use std::io::{self, Read as _};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Returns a token that the first SIGTERM or SIGINT cancels. Requires a runtime.
pub(crate) fn on_signal() -> io::Result<CancellationToken> {
    keep_goose_from_handling_sigint();
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

/// Keeps goose from replacing the SIGINT handlers. Must run before any other handler is installed.
///
/// Goose installs its handler through the `ctrlc` crate, which replaces all others, and ends the process at the second
/// Ctrl-C. If that crate has a handler already, goose does not install one.
fn keep_goose_from_handling_sigint() {
    // An error means that a handler is installed already.
    let _ = ctrlc::set_handler(|| ());
}

/// Waits for the second signal; the first one cancels `token`.
pub(crate) async fn again(token: &CancellationToken) -> io::Result<()> {
    token.cancelled().await;
    on_signal()?.cancelled().await;
    Ok(())
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
