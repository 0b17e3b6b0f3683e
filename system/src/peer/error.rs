//! Calls that ended without a reply.

use std::error::Error as _;

use hyper_util::client::legacy as client;

use crate::error::{Code, Problem};

/// A call that ended without a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PeerError {
    /// No connection could be opened.
    #[error("cannot connect to the peer")]
    Unreachable,
    /// The connection broke before the reply was complete.
    #[error("the connection to the peer broke")]
    Broken,
    /// The reply is not valid HTTP.
    #[error("the reply of the peer is not valid HTTP")]
    Malformed,
    /// The deadline passed.
    #[error("the peer did not answer in time")]
    Timeout,
}

impl PeerError {
    /// Returns the `error.type` of the span, which is also the `error` of the log line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
            Self::Malformed => "malformed",
            Self::Timeout => "timeout",
        }
    }
}

impl From<&client::Error> for PeerError {
    fn from(error: &client::Error) -> Self {
        let cause = error.source().and_then(|cause| cause.downcast_ref::<hyper::Error>());
        match cause {
            _ if error.is_connect() => Self::Unreachable,
            Some(cause) if cause.is_parse() => Self::Malformed,
            _ => Self::Broken,
        }
    }
}

impl From<PeerError> for Problem {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::Timeout => Code::Timeout.into(),
            PeerError::Malformed => Code::BadGateway.into(),
            PeerError::Unreachable | PeerError::Broken => Code::Unavailable.into(),
        }
    }
}
