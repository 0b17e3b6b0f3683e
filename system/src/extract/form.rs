//! Forms, URL-encoded or multipart.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{HeaderValue, header};

use super::{MAX_BODY_BYTES, media_type, not_utf8, parse_pairs, read_body, require_media_type, value};
use crate::error::{Code, Problem, Result};

/// A form body as (name, value) pairs, URL-encoded or multipart. Must be UTF-8. Files are left out.
#[derive(Debug)]
pub(crate) struct Form(Vec<(String, String)>);

impl<S: Sync> FromRequest<S> for Form {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let (head, body) = request.into_parts();
        let content_type = head.headers.get(header::CONTENT_TYPE).filter(|_| {
            media_type(&head.headers).is_some_and(|given| given.eq_ignore_ascii_case("multipart/form-data"))
        });
        if content_type.is_none() {
            require_media_type(&head.headers, "application/x-www-form-urlencoded")?;
        }
        let body = read_body(body, MAX_BODY_BYTES).await?;
        match content_type {
            Some(content_type) => multipart(content_type.clone(), body).await.map(Self),
            None => parse_pairs(std::str::from_utf8(&body).map_err(|_| not_utf8())?).map(Self),
        }
    }
}

impl Form {
    /// Returns the value of `name`, unless it is empty: an empty field counts as missing, as in the original system.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        value(&self.0, name).filter(|value| !value.is_empty())
    }
}

/// Parses a complete multipart body.
async fn multipart(content_type: HeaderValue, body: Bytes) -> Result<Vec<(String, String)>> {
    let malformed =
        |_| Problem::with_detail(Code::MalformedRequest, "The body is not valid multipart/form-data.");
    let mut request = Request::new(Body::from(body));
    request.headers_mut().insert(header::CONTENT_TYPE, content_type);
    let boundary = |_| Problem::with_detail(Code::MalformedRequest, "The media type has no valid boundary.");
    let mut parts = Multipart::from_request(request, &()).await.map_err(boundary)?;
    let mut pairs = Vec::new();
    while let Some(part) = parts.next_field().await.map_err(malformed)? {
        let (Some(name), None) = (part.name().map(str::to_owned), part.file_name()) else { continue };
        let text = part.bytes().await.map_err(malformed)?;
        pairs.push((name, String::from_utf8(text.into()).map_err(|_| not_utf8())?));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parse(content_type: &str, body: &str) -> Result<Form> {
        let request = Request::post("/").header("content-type", content_type);
        Form::from_request(request.body(Body::from(body.to_owned())).unwrap(), &()).await
    }

    #[tokio::test]
    async fn a_form_is_url_encoded_or_multipart() {
        let body = "--X\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\none\r\n\
                    --X\r\ncontent-disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\nfile\r\n\
                    --X\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\nt wo\r\n--X--\r\n";
        for (content_type, body) in [
            ("multipart/form-data; boundary=X", body),
            ("Multipart/Form-Data;boundary=\"X\"", body),
            ("application/x-www-form-urlencoded; charset=utf-8", "a=one&a=t+wo&f="),
        ] {
            let form = parse(content_type, body).await.unwrap();
            assert_eq!((form.get("a"), form.get("f"), form.get("b")), (Some("t wo"), None, None));
        }
    }

    #[tokio::test]
    async fn malformed_forms_are_rejected() {
        let unfinished = "--X\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\none";
        for (content_type, body, code) in [
            ("multipart/form-data", unfinished, Code::MalformedRequest),
            ("multipart/form-data; boundary=X", unfinished, Code::MalformedRequest),
            ("multipart/form-data; boundary=X", "", Code::MalformedRequest),
            ("application/x-www-form-urlencoded", "a=%FF", Code::MalformedRequest),
            ("application/json", "{}", Code::UnsupportedMediaType),
        ] {
            assert_eq!(parse(content_type, body).await.unwrap_err().code(), code, "{content_type} {body}");
        }
        let large = "x".repeat(MAX_BODY_BYTES + 1);
        let form = parse("multipart/form-data; boundary=X", &large).await;
        assert_eq!(form.unwrap_err().code(), Code::BodyTooLarge);
    }
}
