//! Which pages of other origins may call the host's own routes (the CORS protocol of the Fetch standard).
//!
//! Endpoints of plug-ins decide for themselves.

use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};

use super::App;

/// Answers preflight requests of the configured origins, and lets their pages read all other answers.
pub(super) async fn layer(State(app): State<App>, request: Request<Body>, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).filter(|origin| is_allowed(origin, &app.0.config.cors_origins));
    let Some(origin) = origin.cloned() else {
        let mut response = next.run(request).await;
        vary(response.headers_mut());
        return response;
    };
    let asks =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if asks { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    vary(headers);
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    if asks {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, DELETE"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type"));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    } else {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after, x-request-id"));
    }
    response
}

/// Whether the configuration names an origin, which is compared as browsers write it.
pub(super) fn is_allowed(origin: &HeaderValue, origins: &[String]) -> bool {
    origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())
}

/// Answers differ by origin, also for caches in between.
fn vary(headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}
