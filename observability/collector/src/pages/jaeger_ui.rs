//! Serves a Jaeger UI from a folder: files below `static/`, and its page at every other path that has no route.
//!
//! The folder is the unpacked `assets.tar.gz` of a jaeger-ui release. Files outside the folder are never served.

mod index;

use std::io;
use std::path::{Component, Path as FilePath, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tower::ServiceExt as _;
use tower_http::services::ServeFile;

use crate::base_path::BasePath;

/// Files below `static/` never change: their names contain a hash of their content.
const CACHE_FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// An error in the folder of a Jaeger UI.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The page or the files are missing or not readable.
    #[error(
        "{} is not readable: unpack the assets.tar.gz of a release of github.com/jaegertracing/jaeger-ui and give the folder \
         that contains index.html and static/",
        path.display()
    )]
    Unreadable {
        /// The expected file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The page has no `<head>`, so the base path cannot be inserted.
    #[error(
        "{} has no <head>: unpack the assets.tar.gz of a release of github.com/jaegertracing/jaeger-ui and give its folder",
        path.display()
    )]
    NoHead {
        /// The page.
        path: PathBuf,
    },
}

/// The files of a Jaeger UI, checked and ready to be served.
#[derive(Debug, Clone)]
pub(crate) struct JaegerUi {
    /// Canonical path of `static/`.
    files: Arc<FilePath>,
    index: Bytes,
}

impl JaegerUi {
    /// Opens the UI in `folder`, to be served below `base`.
    pub(crate) fn open(folder: &FilePath, base: &BasePath) -> Result<Self, Error> {
        let index = folder.join("index.html");
        let page = read(index.clone(), |path| std::fs::read_to_string(path))?;
        let page = index::prepare(&page, base).ok_or(Error::NoHead { path: index })?;
        let files = read(folder.join("static"), |path| {
            std::fs::read_dir(path)?;
            path.canonicalize()
        })?;
        Ok(Self { files: files.into(), index: page.into() })
    }

    pub(crate) fn router(self) -> Router {
        Router::new().route("/static/{*path}", get(file)).fallback(page).with_state(self)
    }
}

fn read<T>(path: PathBuf, how: impl Fn(&FilePath) -> io::Result<T>) -> Result<T, Error> {
    how(&path).map_err(|source| Error::Unreadable { path, source })
}

async fn file(State(ui): State<JaegerUi>, Path(path): Path<String>, request: Request) -> Response {
    let Some(file) = inside(&ui.files, FilePath::new(&path)).await else {
        return (StatusCode::NOT_FOUND, "no such file\n").into_response();
    };
    let mut response = match ServeFile::new(file).oneshot(request).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    };
    if response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED {
        response.headers_mut().insert(header::CACHE_CONTROL, CACHE_FOREVER);
    }
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Returns the canonical path of a file, or `None` if it is outside `folder`, also through a symbolic link.
async fn inside(folder: &FilePath, path: &FilePath) -> Option<PathBuf> {
    if !path.components().all(|component| matches!(component, Component::Normal(_))) {
        return None;
    }
    let file = tokio::fs::canonicalize(folder.join(path)).await.ok()?;
    let is_file = tokio::fs::metadata(&file).await.ok()?.is_file();
    (is_file && file.starts_with(folder)).then_some(file)
}

/// Serves the page. Its script reads the URL to select the view.
async fn page(State(ui): State<JaegerUi>) -> Response {
    ([(header::CACHE_CONTROL, "no-cache")], Html(ui.index)).into_response()
}

#[cfg(test)]
mod tests;
