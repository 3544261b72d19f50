//! `/setup`: where the link for the first administrator leads to. A plain form, or JSON.

use std::net::IpAddr;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Request, StatusCode, header};
use serde::Deserialize;

use super::docs::escape;
use super::error::{NOT_FOUND, Problem};
use super::fields::Fields;
use super::modules::detached;
use super::query::Query;
use super::{App, audit, body, form as form_body, now_ms, peer};
use crate::domain::setup::RedeemError;
use crate::domain::users::{NewUser, PutUserError};

/// What the link holds.
#[derive(Debug, Deserialize)]
pub(super) struct Link {
    token: Option<String>,
}

/// What the form sends.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entered {
    token: String,
    username: String,
    name: String,
    email: String,
    password: String,
}

/// `GET /setup?token=`: the form.
pub(super) async fn form(State(app): State<App>, Query(link): Query<Link>) -> Result<Response, Problem> {
    let token = link.token.unwrap_or_default();
    if app.0.setup.is_open(&token, now_ms()).await? {
        Ok(page(StatusCode::OK, &form_html(&token, &Entered::default(), &[])))
    } else {
        Ok(page(StatusCode::NOT_FOUND, &format!("<p>{}</p>", escape(&RedeemError::Closed.to_string()))))
    }
}

/// `POST /setup`: makes the first administrator, who is `{token, username, password, name?, email?}`.
pub(super) async fn redeem(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let peer = peer::of(request.extensions(), request.headers(), &app.0.config);
    if !form_body::is_form(request.headers()) {
        let mut fields = Fields::read(request).await?;
        let entered = Entered {
            token: fields.required_text("token"),
            username: fields.required_text("username"),
            name: fields.text("name").unwrap_or_default(),
            email: fields.text("email").unwrap_or_default(),
            password: fields.required_text("password"),
        };
        fields.finish()?;
        add(&app, &entered, peer).await??;
        return Ok(StatusCode::OK.into_response());
    }
    body::check_coding(request.headers())?;
    let body = body::read_bytes(request.into_body(), FORM_BYTES_MAX).await?;
    let entered: Entered = form_body::read(&body, |_| true)?;
    let errors = match add(&app, &entered, peer).await? {
        Ok(()) => {
            let prefix = &app.0.config.api_prefix;
            let done = format!(
                "<p>Done. Log in with <code>POST /{prefix}/auth/</code>: there is no page for it yet. \
                 <a href=\"/docs\">What else there is</a></p>"
            );
            return Ok(page(StatusCode::OK, &done));
        }
        Err(RedeemError::Closed) => {
            return Ok(page(StatusCode::NOT_FOUND, &format!("<p>{}</p>", escape(&RedeemError::Closed.to_string()))));
        }
        Err(RedeemError::Put(PutUserError::Invalid(errors))) => errors,
        Err(RedeemError::Put(error @ (PutUserError::NameTaken { .. } | PutUserError::LooksAlike { .. }))) => {
            vec![error.to_string()]
        }
        Err(error) => return Err(error.into()),
    };
    Ok(page(StatusCode::BAD_REQUEST, &form_html(&entered.token, &entered, &errors)))
}

/// To its end, also when the client leaves: the link opens once.
async fn add(app: &App, entered: &Entered, peer: Option<IpAddr>) -> Result<Result<(), RedeemError>, Problem> {
    let (app, entered) = (app.clone(), entered.clone());
    detached(async move { add_here(&app, &entered, peer).await }).await
}

async fn add_here(app: &App, entered: &Entered, peer: Option<IpAddr>) -> Result<(), RedeemError> {
    let new = NewUser {
        username: entered.username.clone(),
        name: entered.name.clone(),
        email: entered.email.clone(),
        password: Some(entered.password.clone()),
        scopes: vec![app.0.config.admin_scope.clone(), app.0.config.profile_scope.clone()],
        ..NewUser::default()
    };
    app.0.setup.redeem(&entered.token, new, now_ms()).await?;
    Ok(audit::first_administrator(app, &entered.username, peer).await?)
}

impl From<RedeemError> for Problem {
    fn from(error: RedeemError) -> Self {
        match error {
            RedeemError::Closed => Self::new(NOT_FOUND, error.to_string()),
            RedeemError::Put(error) => error.into(),
            RedeemError::Store(error) => error.into(),
        }
    }
}

fn page(status: StatusCode, content: &str) -> Response {
    let html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Porth</title></head>\
         <body><h1>The first administrator</h1>\n{content}\n</body></html>\n"
    );
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // The address holds the secret.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn form_html(token: &str, entered: &Entered, errors: &[String]) -> String {
    let mut html = String::new();
    for error in errors {
        html.push_str(&format!("<p role=\"alert\">{}</p>\n", escape(error)));
    }
    html.push_str("<form method=\"post\" action=\"setup\">\n");
    html.push_str(&format!("<input type=\"hidden\" name=\"token\" value=\"{}\">\n", escape(token)));
    for (name, label, kind, value, more) in [
        ("username", "User name", "text", entered.username.as_str(), " required autocomplete=\"username\""),
        ("name", "Name", "text", &entered.name, ""),
        ("email", "E-mail", "email", &entered.email, ""),
        ("password", "Password", "password", "", " required autocomplete=\"new-password\""),
    ] {
        let value = escape(value);
        html.push_str(&format!(
            "<p><label>{label} <input type=\"{kind}\" name=\"{name}\" value=\"{value}\"{more}></label></p>\n"
        ));
    }
    html.push_str("<p><button>Create</button></p>\n</form>");
    html
}

const FORM_BYTES_MAX: u64 = 16 << 10;
const POLICY: &str = "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_entered_is_no_markup() {
        let entered = Entered { username: "\"><script>'&".to_owned(), ..Entered::default() };
        let html = form_html("t", &entered, &["<b>".to_owned()]);
        assert!(html.contains("value=\"&quot;&gt;&lt;script&gt;&#39;&amp;\""), "{html}");
        assert!(html.contains("<p role=\"alert\">&lt;b&gt;</p>"), "{html}");
    }
}
