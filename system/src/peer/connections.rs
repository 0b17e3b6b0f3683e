//! The HTTP client of a peer with its connection pool, and the budget of its retries.

use std::time::Duration;

use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::retry::budget::TpsBudget;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Shorter than the idle timeout of any server here, so that the pool rarely returns a connection that the peer is closing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Period over which retries are compared with calls.
const BUDGET_PERIOD: Duration = Duration::from_secs(10);
/// Retries a second that do not depend on the number of calls.
const BUDGET_MIN_PER_SECOND: u32 = 1;
/// Retries for each call.
const BUDGET_RATIO: f32 = 0.1;

/// Returns a budget of one retry for every ten calls, and one a second on top.
pub(crate) fn retry_budget() -> TpsBudget {
    TpsBudget::new(BUDGET_PERIOD, BUDGET_MIN_PER_SECOND, BUDGET_RATIO)
}

/// Returns an HTTP/1 client with a connection pool for calls within one network.
pub(crate) fn client<B>() -> Client<HttpConnector, B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build(connector)
}

#[cfg(test)]
mod tests {
    use tower::retry::budget::Budget as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn retries_are_limited_by_the_number_of_calls() {
        let budget = retry_budget();
        let retries = || std::iter::repeat_with(|| budget.withdraw()).take_while(|ok| *ok).count();
        assert_eq!(retries(), 10, "one a second over the period");
        (0..25).for_each(|_| budget.deposit());
        assert_eq!(retries(), 2, "one for every ten calls");
    }
}
