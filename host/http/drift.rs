//! `/admin/drift`: where the configuration file, as it is now, and the stored instances disagree.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::App;
use super::caller::Admin;
use super::error::{INTERNAL, Problem};
use crate::config::{ConfigError, DeclaredInstance, Source};
use crate::domain::instances::check_declarations;
use crate::domain::instances::drift::{Drift, What};

/// What the file says that is not so.
pub(super) struct Disagreements {
    found: Vec<Drift>,
    /// Why nobody knows.
    error: Option<String>,
}

impl Disagreements {
    /// Reads the file again.
    pub(super) async fn look(app: &App) -> Result<Self, Problem> {
        let source = app.0.source.clone();
        let read = tokio::task::spawn_blocking(move || declared(&source)).await;
        Ok(match read.map_err(|error| Problem::logged(INTERNAL, error))? {
            Ok(declared) => Self { found: app.0.runtime.drift(&declared).await?, error: None },
            Err(error) => Self { found: Vec::new(), error: Some(error) },
        })
    }

    /// Of an instance: null or a sentence.
    pub(super) fn of(&self, kind: &str, name: &str) -> Value {
        let drift = self.found.iter().find(|drift| (drift.kind.as_str(), drift.name.as_str()) == (kind, name));
        json!(drift.map(ToString::to_string))
    }
}

/// `GET /admin/drift/`: all disagreements, and those about instances that there are not yet.
pub(super) async fn show(_: Admin, State(app): State<App>) -> Result<Json<Value>, Problem> {
    let Disagreements { found, error } = Disagreements::look(&app).await?;
    let drift = found.iter().map(|drift| {
        let members = match &drift.what {
            What::Differs(members) => members.as_slice(),
            _ => &[],
        };
        json!({
            "kind": drift.kind,
            "name": drift.name,
            "what": drift.what.as_str(),
            "members": members,
            "text": drift.to_string(),
        })
    });
    let file = app.0.source.file.as_ref().map(|file| file.display().to_string());
    Ok(Json(json!({"file": file, "error": error, "drift": drift.collect::<Value>()})))
}

/// What the file declares now, or why nobody knows. What a file that is not understood holds is shown to nobody: it has
/// secrets in it.
fn declared(source: &Source) -> Result<Vec<DeclaredInstance>, String> {
    let unfit = || {
        let file = source.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        format!("the configuration file `{file}` cannot be used as it is now; `porth check-config` says why")
    };
    let declared = source.declared().map_err(|error| match error {
        ConfigError::Unreadable { .. } => error.to_string(),
        _ => unfit(),
    })?;
    check_declarations(&declared).map_err(|_| unfit())?;
    Ok(declared)
}
