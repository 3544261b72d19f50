//! `/admin/library` and `/mod/reload`: the files of the plug-in directory, as administrators see and reload them.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::App;
use super::caller::Admin;
use super::error::{CONFLICT, NOT_FOUND, Problem};
use super::modules::detached;
use crate::runtime::{LibraryState, Outcome, Report, Verdict};

/// `GET /admin/library/`: every file that was seen.
pub(super) async fn list(_: Admin, State(app): State<App>) -> Result<Json<Value>, Problem> {
    let libraries = app.0.runtime.library_states().await?;
    Ok(Json(libraries.iter().map(view).collect()))
}

/// `GET /admin/library/:file`.
pub(super) async fn show(_: Admin, State(app): State<App>, Path(file): Path<String>) -> Result<Json<Value>, Problem> {
    let library = app.0.runtime.library_state(&file).await?;
    Ok(Json(view(&library.ok_or_else(|| unknown(&file))?)))
}

/// `PUT /admin/library/:file/reload`: answers after the exchange.
pub(super) async fn reload(_: Admin, State(app): State<App>, Path(file): Path<String>) -> Result<Json<Value>, Problem> {
    // Names as the directory's listing has them; no other leads anywhere.
    if !file.ends_with(".so") || file.chars().any(|c| c == '/' || c.is_control()) {
        return Err(unknown(&file));
    }
    let report = detached(async move { app.0.runtime.reload(&file).await }).await??;
    match report.outcome {
        Outcome::Loaded | Outcome::Reloaded | Outcome::Unchanged => Ok(Json(shown(&report))),
        Outcome::Refused | Outcome::Unlisted => Err(Problem::invalid(report.errors)),
        Outcome::Draining => Err(Problem::new(CONFLICT, report.errors.join("; "))),
        Outcome::Gone => Err(unknown(&report.file)),
    }
}

/// `PUT /mod/reload/`: looks at every file, and says what became of each.
pub(super) async fn rescan(_: Admin, State(app): State<App>) -> Result<Json<Value>, Problem> {
    let reports = detached(async move { app.0.runtime.rescan().await }).await??;
    Ok(Json(reports.iter().map(shown).collect()))
}

fn unknown(file: &str) -> Problem {
    Problem::new(NOT_FOUND, format!("there is no library `{file}` in the plug-in directory"))
}

fn shown(report: &Report) -> Value {
    let outcome = match report.outcome {
        Outcome::Loaded => "loaded",
        Outcome::Reloaded => "reloaded",
        Outcome::Unchanged => "unchanged",
        Outcome::Refused => "refused",
        Outcome::Unlisted => "unlisted",
        Outcome::Draining => "draining",
        Outcome::Gone => "gone",
    };
    json!({
        "file": report.file,
        "outcome": outcome,
        "errors": report.errors,
        "generation": report.generation,
        "modules": report.modules,
        "instances": report.instances,
    })
}

/// What of a library is noted when it is reloaded.
pub(super) fn brief(state: &LibraryState) -> Value {
    let mut view = view(state);
    if let Some(view) = view.as_object_mut() {
        view.retain(|name, _| matches!(name.as_str(), "file" | "verdict" | "reason" | "digest" | "file_digest"));
    }
    view
}

fn view(state: &LibraryState) -> Value {
    let library = &state.library;
    let verdict = match library.verdict {
        Verdict::Loaded => "loaded",
        Verdict::Refused => "refused",
        Verdict::Gone => "gone",
        Verdict::Unlisted => "unlisted",
    };
    let instances = state.instances.iter();
    json!({
        "file": library.file,
        "verdict": verdict,
        "reason": library.reason,
        "digest": library.digest.map(|digest| digest.to_string()),
        "file_digest": library.file_digest.map(|digest| digest.to_string()),
        "abi": library.abi.map(|abi| json!({ "draft": abi.draft, "major": abi.major, "minor": abi.minor })),
        "modules": library.modules,
        "generations": {
            "present": library.present,
            "draining": library.past.draining,
            "retired": library.past.retired,
            "retired_bytes": library.past.retired_bytes,
        },
        "instances": instances
            .map(|instance| {
                json!({ "kind": instance.kind, "name": instance.name, "status": instance.status.as_str() })
            })
            .collect::<Vec<_>>(),
    })
}
