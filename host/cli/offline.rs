//! The routes of the server without a server: for commands while none runs. No library is opened.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use tower::ServiceExt as _;

use super::local::{self, LocalError};
use super::scratch::Scratch;
use super::{Failure, now_ms, services};
use crate::config::{Config, Serves, Source};
use crate::domain::documents::{DocumentLimits, Documents};
use crate::domain::grants::Grants;
use crate::domain::instances::Instances;
use crate::domain::leadership::LeaderToken;
use crate::http::{self as routes, App, Edge, Local, Mount};
use crate::runtime::{Hooks, Libraries, Runtime};
use crate::store::Db;

/// The routes, as the control socket has them.
pub(super) struct Offline {
    routes: Edge<Mount>,
    db: Db,
    _leader: LeaderToken,
    _no_plugins: Scratch,
}

impl Offline {
    /// Opens the store. The data directory's lock must be held.
    pub(super) async fn open(config: Config, source: Source) -> Result<Self, Failure> {
        let no_plugins = Scratch::new()?;
        let config = Arc::new(Config { plugins: no_plugins.path.clone(), instances: Vec::new(), ..config });
        let db = Db::open(&config.database, &config.data, now_ms()).await?;
        let libraries = Libraries::scan(&config, |_| None).await?;
        let (leader, leadership) = LeaderToken::new(true);
        let limits = DocumentLimits { documents_max: 0, documents_bytes_max: 0, document_bytes_max: 0 };
        let documents = Documents::new(db.clone(), limits);
        let (access, clients) = services::identity(&db, &config.login, &documents);
        services::ensure_scopes(&access.scopes, &config).await?;
        let hooks = Hooks { on_lifted: Box::new(|_| {}), on_worn_out: Box::new(|_| {}) };
        let records = Instances::new(db.clone());
        let runtime = Runtime::new(
            Arc::clone(&config),
            libraries,
            records,
            (access.clone(), clients.clone(), Grants::new(db.clone(), access.scopes.clone(), clients.clone())),
            leadership,
            documents,
            hooks,
        );
        let services = services::services(&db, &config, source, access, clients);
        let routes = routes::router(&App::new(config, runtime, services), Serves::All);
        Ok(Self { routes, db, _leader: leader, _no_plugins: no_plugins })
    }

    /// What the server would answer, in JSON.
    pub(super) async fn ask(&self, method: Method, path: &str, body: String) -> Result<Value, Failure> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .extension(Local)
            .body(Full::new(Bytes::from(body)))?;
        let response = match self.routes.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        local::read(parts.status, serde_json::from_slice(&body).unwrap_or(Value::Null)).map_err(|error| match error {
            LocalError::Refused(reason) => Failure::new(reason),
            other => other.into(),
        })
    }

    /// Finishes what is being written.
    pub(super) async fn close(&self) {
        self.db.close().await;
    }
}
