//! Jaeger's own UI from a folder: its files below `static/`, its page at every other path that nobody else answers.
//!
//! The folder is the `assets.tar.gz` of a release of jaeger-ui, unpacked. Nothing outside of it is ever served.

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

/// File names below `static/` carry a hash of what is in them.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// Why a folder is no Jaeger UI.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no page, or there are no files, or they cannot be read.
    #[error(
        "{} is not readable: the folder of a Jaeger UI is what the assets.tar.gz of a release of jaeger-ui \
         (github.com/jaegertracing/jaeger-ui/releases) unpacks to, the one with index.html and static/ in it",
        path.display()
    )]
    Unreadable {
        /// What should be there.
        path: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// The page is none that can be told its address.
    #[error(
        "{} has no <head>, so it is not Jaeger UI's page: take the assets.tar.gz of a release of jaeger-ui \
         (github.com/jaegertracing/jaeger-ui/releases), unpacked",
        path.display()
    )]
    NoHead {
        /// The page.
        path: PathBuf,
    },
}

/// A UI that was found fit to be served.
#[derive(Debug, Clone)]
pub(crate) struct Bundle {
    /// The folder of the files, without symbolic links in its own path.
    files: Arc<FilePath>,
    index: Bytes,
}

impl Bundle {
    /// Reads the page of the UI in `folder`, to be served below `base`.
    pub(crate) fn open(folder: &FilePath, base: &BasePath) -> Result<Self, Error> {
        let index = folder.join("index.html");
        let page = read(index.clone(), |path| std::fs::read_to_string(path))?;
        let page = index::prepared(&page, base).ok_or(Error::NoHead { path: index })?;
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

async fn file(State(bundle): State<Bundle>, Path(path): Path<String>, request: Request) -> Response {
    let Some(file) = inside(&bundle.files, FilePath::new(&path)).await else {
        return (StatusCode::NOT_FOUND, "no such file\n").into_response();
    };
    let mut response = match ServeFile::new(file).oneshot(request).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    };
    if response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED {
        response.headers_mut().insert(header::CACHE_CONTROL, FOREVER);
    }
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The file that `path` names, unless it lies, or a symbolic link leads, outside of `folder`.
async fn inside(folder: &FilePath, path: &FilePath) -> Option<PathBuf> {
    if !path.components().all(|component| matches!(component, Component::Normal(_))) {
        return None;
    }
    let file = tokio::fs::canonicalize(folder.join(path)).await.ok()?;
    let is_file = tokio::fs::metadata(&file).await.ok()?.is_file();
    (is_file && file.starts_with(folder)).then_some(file)
}

/// Which page is meant, the script in it reads from the address.
async fn page(State(bundle): State<Bundle>) -> Response {
    ([(header::CACHE_CONTROL, "no-cache")], Html(bundle.index)).into_response()
}

#[cfg(test)]
mod tests;
