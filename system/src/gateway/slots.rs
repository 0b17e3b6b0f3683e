//! Free slots of a tutor.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use chrono::SecondsFormat;

use super::token::Caller;
use super::{Gateway, json};
use crate::api::Slots;
use crate::error::{Code, Problem, Result};
use crate::extract;

pub(super) async fn slots(
    State(gateway): State<Arc<Gateway>>,
    _: Caller,
    extract::Path(tutor): extract::Path,
    uri: Uri,
) -> Result<Response> {
    let tutor: i64 = tutor.parse().map_err(|_| Code::TutorNotFound)?;
    let query = extract::query(&uri)?;
    let mut path = format!("/tutors/{tutor}/slots?");
    for name in ["from", "to"] {
        if let Some(instant) = extract::instant(&query, name)? {
            path.push_str(&format!("{name}={}&", instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)));
        }
    }
    let reply = gateway.booking.look_up("/tutors/{id}/slots", &path).await.map_err(Problem::from)?;
    reply.json::<Slots>()?;
    Ok(json(reply.body))
}
