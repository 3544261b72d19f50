//! What people see of themselves.

use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use serde_json::{Value, json};

use super::{App, auth, caller};
use crate::domain::users::User;
use crate::http::error::Problem;

/// `GET /profile_list/`: the users of this session, the current one first.
pub(super) async fn list(State(app): State<App>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let session = auth::session(&app, &headers).await?;
    let users = app.0.access.users_of(&session).await?;
    if users.is_empty() { Err(caller::unauthorized()) } else { Ok(Json(users.iter().map(view).collect())) }
}

/// As people see themselves. The properties are those of their profile: what administrators note is not among them.
fn view(user: &User) -> Value {
    let mut view = user.properties.clone();
    let fields = json!({
        "username": user.username.as_str(),
        "name": user.name,
        "email": user.email,
        "scope": user.scopes,
        "enabled": user.enabled,
    });
    if let Value::Object(fields) = fields {
        view.extend(fields);
    }
    Value::Object(view)
}
