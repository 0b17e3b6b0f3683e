//! Replies of peers.

use bytes::Bytes;
use http::StatusCode;
use serde::de::DeserializeOwned;

use crate::error::{Code, Problem};

/// A complete reply.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its body.
    pub(crate) body: Bytes,
}

impl Reply {
    /// Returns the value of a 200 reply.
    ///
    /// # Errors
    ///
    /// Any other status becomes the problem with the peer's code.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if self.status != StatusCode::OK {
            return Err(self.problem());
        }
        serde_json::from_slice(&self.body).map_err(Problem::internal)
    }

    fn problem(&self) -> Problem {
        Problem::from_body(&self.body).unwrap_or_else(|| {
            tracing::error!(
                status = self.status.as_u16(),
                "the reply of a peer is neither a success nor a problem"
            );
            Code::Internal.into()
        })
    }
}
