//! What the server says of itself to people: pages without scripts and without anything from elsewhere.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};

use super::error::KINDS;

/// `GET /docs/problems`: what each `code` of an error means.
pub(super) async fn problems() -> Response {
    let mut rows = String::new();
    for kind in KINDS {
        let (status, code, title) = (kind.status().as_u16(), kind.code(), kind.title());
        rows.push_str(&format!(
            "<tr id=\"{code}\"><td>{status}</td><td><code>{code}</code></td><td>{title}</td></tr>\n"
        ));
    }
    page(
        "Problems",
        &format!(
            "<h1>Problems</h1>\n<p>Errors are <code>application/problem+json</code> (RFC 9457). Programs compare \
             <code>code</code>, which stays; texts may change.</p>\n<table><thead><tr><th scope=\"col\">Status</th>\
             <th scope=\"col\">Code</th><th scope=\"col\">Meaning</th></tr></thead>\n<tbody>\n{rows}</tbody></table>"
        ),
    )
}

/// A page; `content` is HTML.
fn page(title: &str, content: &str) -> Response {
    let html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title} · Porth</title></head>\n\
         <body>\n{content}\n</body></html>\n"
    );
    let mut response = html.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
