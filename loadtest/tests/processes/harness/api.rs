//! A client of the public API.

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use super::{Stack, http};

/// A logged-in client of the balancer.
pub(crate) struct Api {
    client: Client,
    base: String,
    token: String,
}

impl Api {
    /// Logs in as `student1`.
    pub(crate) async fn log_in(stack: &Stack) -> Self {
        let (client, base) = (http(), stack.addresses.balancer.clone());
        let form = [("username", "student1"), ("password", "password")];
        let reply = client.post(format!("{base}/token")).form(&form).send().await.unwrap();
        let token: Value = reply.json().await.unwrap();
        Self { client, base, token: token["access_token"].as_str().unwrap().to_owned() }
    }

    /// Host and port of the balancer.
    pub(crate) fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// A request without a token.
    pub(crate) fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// A request with the token.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(&self.token)
    }

    /// `POST /book` with this body, declared as JSON.
    pub(crate) fn book(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.request(Method::POST, "/book").header("content-type", "application/json").body(body)
    }
}
