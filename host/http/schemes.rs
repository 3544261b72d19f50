//! Ways to authenticate beside the password: what a session may prove, and what people register.

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use http::{HeaderMap, Request};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::caller::Subject;
use super::error::{INVALID, NOT_FOUND, Problem};
use super::fields::Fields;
use super::{App, auth, cookie, now_ms, peer};
use crate::domain::access::{Offer, OfferedScheme};
use crate::domain::schemes::{By, Sent};

/// Which scopes are asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    scope: Option<String>,
}

/// `GET /auth/scheme/?scope=a b`: what there is to prove for some scopes, and what is proved.
pub(super) async fn offers(
    State(app): State<App>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let mut scopes: Vec<String> = Vec::new();
    for name in wanted.scope.unwrap_or_default().split_ascii_whitespace() {
        if !scopes.iter().any(|found| found == name) {
            scopes.push(name.to_owned());
        }
        if scopes.len() > SCOPES_MAX {
            return Err(Problem::new(INVALID, format!("scope: at most {SCOPES_MAX} can be asked for at once")));
        }
    }
    if scopes.is_empty() {
        return Err(Problem::new(INVALID, "scope: missing"));
    }
    let now_ms = now_ms();
    let access = &app.0.access;
    let present = match cookie::read(&headers, &app.0.config) {
        Some(cookie) => access.present(cookie, now_ms).await?,
        None => None,
    };
    let offers = access.offers(present.as_ref(), &scopes, now_ms).await?;
    let offers = offers.ok_or_else(|| Problem::new(NOT_FOUND, "there is no such scope"))?;
    Ok(Json(offers.iter().map(|offer| (offer.asked.scope.name.clone(), offer_view(offer))).collect()))
}

/// As each of them asks the database.
const SCOPES_MAX: usize = 64;

fn offer_view(offer: &Offer) -> Value {
    let Offer { asked, schemes } = offer;
    let scheme = |offered: &OfferedScheme| {
        json!({
            "scheme_type": offered.scheme.module,
            "scheme_name": offered.scheme.name,
            "scheme_display_name": offered.scheme.display_name,
            "scheme_authenticated": offered.proved,
            "scheme_registered": offered.registered,
        })
    };
    let schemes = schemes.iter().map(|(group, schemes)| (group.clone(), schemes.iter().map(scheme).collect()));
    let required = asked.scope.groups.iter().map(|(name, group)| (name.clone(), json!(group.required)));
    json!({
        "password_required": asked.scope.password_required,
        "password_authenticated": asked.standing.password_proved,
        "schemes": schemes.collect::<Map<String, Value>>(),
        "scheme_required": required.collect::<Map<String, Value>>(),
        "display_name": asked.scope.display_name,
        "description": asked.scope.description,
        "available": asked.available,
    })
}

/// Which scheme, of whom, and what it gets.
struct Told {
    username: Option<String>,
    module: String,
    name: String,
    sent: Sent,
}

impl Told {
    async fn read(request: Request<Body>, app: &App) -> Result<Self, Problem> {
        let peer = peer::of(request.extensions(), request.headers(), &app.0.config);
        let origin = auth::origin(request.headers(), peer);
        let mut fields = Fields::read(request).await?;
        let body = Self {
            username: fields.text("username"),
            module: fields.required_text("scheme_type"),
            name: fields.required_text("scheme_name"),
            sent: Sent { data: fields.value("value"), origin: Some(origin) },
        };
        fields.finish()?;
        Ok(body)
    }
}

/// `POST /auth/scheme/trigger/`: begins a proof.
pub(super) async fn trigger(State(app): State<App>, request: Request<Body>) -> Result<Json<Value>, Problem> {
    let peer = peer::of(request.extensions(), request.headers(), &app.0.config);
    let Told { username, module, name, sent } = Told::read(request, &app).await?;
    Ok(Json(app.0.access.trigger(&module, &name, username.as_deref(), &sent, peer, now_ms()).await?))
}

/// `GET /profile/scheme/`: the schemes of somebody's scopes, but those that they do not see.
pub(super) async fn list(subject: Subject, State(app): State<App>) -> Result<Json<Value>, Problem> {
    let schemes = app.0.access.schemes_of(&subject.user).await?.into_iter();
    let shown = schemes.filter(|(scheme, _)| by(&subject) == By::Others || !scheme.settings.forbid_user_profile);
    let view = shown.map(|(scheme, can_use)| {
        let mut view = scheme.shown();
        view.insert("can_use".to_owned(), json!(can_use.map(|can_use| can_use.number())));
        Value::Object(view)
    });
    Ok(Json(view.collect()))
}

/// Whether people act for themselves.
fn by(subject: &Subject) -> By {
    if subject.own_session.is_some() { By::Themselves } else { By::Others }
}

/// `POST /profile/scheme/register/`: registers somebody with a scheme.
pub(super) async fn register(
    subject: Subject,
    State(app): State<App>,
    request: Request<Body>,
) -> Result<Json<Value>, Problem> {
    let Told { module, name, sent, .. } = Told::read(request, &app).await?;
    let schemes = &app.0.access.schemes;
    let scheme = schemes.find(Some(&module), &name).await?;
    Ok(Json(schemes.register(&scheme, &subject.user, &sent, by(&subject)).await?))
}

/// `PUT /profile/scheme/register/`: what is registered of somebody.
pub(super) async fn registration(
    subject: Subject,
    State(app): State<App>,
    request: Request<Body>,
) -> Result<Json<Value>, Problem> {
    let Told { module, name, sent, .. } = Told::read(request, &app).await?;
    let schemes = &app.0.access.schemes;
    let scheme = schemes.find(Some(&module), &name).await?;
    Ok(Json(schemes.registration(&scheme, &subject.user, &sent, by(&subject)).await?))
}
