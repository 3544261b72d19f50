//! What people see of themselves.

use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use serde_json::Value;

use super::{App, auth, caller};
use crate::domain::users::User;
use crate::http::error::Problem;

/// `GET /profile_list/`: the users of this session, the current one first.
pub(super) async fn list(State(app): State<App>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let session = auth::session(&app, &headers).await?;
    let users = app.0.access.users_of(&session).await?;
    if users.is_empty() {
        Err(caller::unauthorized())
    } else {
        Ok(Json(users.into_iter().map(User::profile_view).collect()))
    }
}
