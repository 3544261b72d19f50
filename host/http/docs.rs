//! What the server says of itself to people: pages without scripts and without anything from elsewhere.
//!
//! Start at [`show`], which writes the OpenAPI document out. Everything in it is text to this file: plug-ins write parts
//! of it.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, header};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::error::KINDS;
use super::{App, openapi};

/// `GET /docs`: the API of this server, with that of its plug-ins.
pub(super) async fn show(State(app): State<App>) -> Response {
    let document = openapi::of(&app).await;
    let html = document.html.get_or_init(|| {
        // It was written a moment ago.
        let read: Value = serde_json::from_slice(&document.json).unwrap_or_default();
        page("API", &api_html(&read, &app.0.config.api_prefix)).into()
    });
    html_response(html.clone())
}

/// `GET /docs/problems`: what each `code` of an error means.
pub(super) async fn problems() -> Response {
    let mut rows = String::new();
    for kind in KINDS {
        let (status, code, title) = (kind.status().as_u16(), kind.code(), kind.title());
        rows.push_str(&format!(
            "<tr id=\"{code}\"><td>{status}</td><td><code>{code}</code></td><td>{title}</td></tr>\n"
        ));
    }
    html_response(page(
        "Problems",
        &format!(
            "<h1>Problems</h1>\n<p>Errors are <code>application/problem+json</code> (RFC 9457). Programs compare \
             <code>code</code>, which stays; texts may change.</p>\n<table><thead><tr><th scope=\"col\">Status</th>\
             <th scope=\"col\">Code</th><th scope=\"col\">Meaning</th></tr></thead>\n<tbody>\n{rows}</tbody></table>\n\
             <p><a href=\"../docs\">The whole API</a></p>"
        ),
    ))
}

/// The document as HTML: a list of what there is, then each operation, then the schemas.
fn api_html(document: &Value, api_prefix: &str) -> String {
    let mut by_tag: Map<String, Value> = Map::new();
    for (path, methods) in document.get("paths").and_then(Value::as_object).into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten().filter(|(method, _)| is_method(method)) {
            let tag = operation.pointer("/tags/0").and_then(Value::as_str).unwrap_or("other");
            let entry = serde_json::json!({"path": path, "method": method, "operation": operation});
            if let Some(list) = by_tag.entry(tag).or_insert_with(|| Value::Array(Vec::new())).as_array_mut() {
                list.push(entry);
            }
        }
    }
    let mut html = format!(
        "<h1>{}</h1>\n<p>{}</p>\n<p>The same as <a href=\"{}/openapi.json\">OpenAPI 3.1</a>; errors are listed \
         under <a href=\"docs/problems\">Problems</a>.</p>\n<nav aria-label=\"Parts\"><ul>\n",
        escaped(document, "/info/title"),
        escaped(document, "/info/description"),
        escape(api_prefix),
    );
    for tag in by_tag.keys() {
        let _ = writeln!(html, "<li><a href=\"#tag-{0}\">{0}</a></li>", escape(tag));
    }
    html.push_str("<li><a href=\"#schemas\">Schemas</a></li>\n</ul></nav>\n");
    for (tag, entries) in &by_tag {
        let _ = writeln!(html, "<section>\n<h2 id=\"tag-{0}\">{0}</h2>", escape(tag));
        for entry in entries.as_array().into_iter().flatten() {
            write_operation(&mut html, entry, document);
        }
        html.push_str("</section>\n");
    }
    html.push_str("<section>\n<h2 id=\"schemas\">Schemas</h2>\n");
    for (name, schema) in document.pointer("/components/schemas").and_then(Value::as_object).into_iter().flatten() {
        let _ = writeln!(html, "<h3 id=\"schema-{0}\">{0}</h3>", escape(name));
        write_schema(&mut html, schema, 0);
    }
    html.push_str("</section>");
    html
}

fn is_method(name: &str) -> bool {
    matches!(name, "get" | "put" | "post" | "delete" | "options" | "head" | "patch" | "trace")
}

fn write_operation(html: &mut String, entry: &Value, document: &Value) {
    let _ = writeln!(
        html,
        "<details id=\"{}\">\n<summary><span class=\"method\">{}</span> <code>{}</code> {}</summary>",
        escaped(entry, "/operation/operationId"),
        escaped(entry, "/method").to_uppercase(),
        escaped(entry, "/path"),
        escaped(entry, "/operation/summary"),
    );
    let description = escaped(entry, "/operation/description");
    if !description.is_empty() {
        let _ = writeln!(html, "<p>{description}</p>");
    }
    let parameters = entry.pointer("/operation/parameters").and_then(Value::as_array);
    if let Some(parameters) = parameters.filter(|parameters| !parameters.is_empty()) {
        html.push_str("<h4>Parameters</h4>\n<dl>\n");
        for parameter in parameters {
            let _ = write!(
                html,
                "<dt><code>{}</code> <small>{}</small></dt><dd>{} ",
                escaped(parameter, "/name"),
                escaped(parameter, "/in"),
                escaped(parameter, "/description"),
            );
            write_schema(html, parameter.get("schema").unwrap_or(&Value::Null), DEPTH_MAX);
            html.push_str("</dd>\n");
        }
        html.push_str("</dl>\n");
    }
    for (media_type, content) in contents(entry.pointer("/operation/requestBody")) {
        let _ = writeln!(html, "<h4>Body <small>{}</small></h4>", escape(media_type));
        write_schema(html, content.get("schema").unwrap_or(&Value::Null), 0);
    }
    html.push_str("<h4>Answers</h4>\n<dl>\n");
    for (status, response) in entry.pointer("/operation/responses").and_then(Value::as_object).into_iter().flatten() {
        let shared =
            response.get("$ref").and_then(Value::as_str).and_then(|path| document.pointer(path.strip_prefix('#')?));
        let response = shared.unwrap_or(response);
        let _ = write!(html, "<dt>{}</dt><dd>{} ", escape(status), escaped(response, "/description"));
        for (media_type, content) in contents(Some(response)) {
            if media_type == "application/problem+json" {
                continue;
            }
            let _ = write!(html, "<small>{}</small> ", escape(media_type));
            write_schema(html, content.get("schema").unwrap_or(&Value::Null), 0);
        }
        html.push_str("</dd>\n");
    }
    html.push_str("</dl>\n</details>\n");
}

fn contents(holder: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    holder.and_then(|holder| holder.get("content")?.as_object()).into_iter().flatten()
}

/// A schema in words: what refers to another is a link, what is deep is cut.
fn write_schema(html: &mut String, schema: &Value, depth: usize) {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
        let _ = write!(html, "<a href=\"#schema-{0}\">{0}</a>", escape(name));
        return;
    }
    let kinds = match schema.get("type") {
        Some(Value::String(kind)) => escape(kind),
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).map(escape).collect::<Vec<_>>().join(" or ")
        }
        _ => String::new(),
    };
    let _ = write!(html, "<span>{kinds}</span>");
    for limit in ["const", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "default", "format"] {
        if let Some(value) = schema.get(limit) {
            let _ = write!(html, " <small>{limit} <code>{}</code></small>", escape(&value.to_string()));
        }
    }
    let description = escaped(schema, "/description");
    if !description.is_empty() {
        let _ = write!(html, " {description}");
    }
    if depth >= DEPTH_MAX {
        return;
    }
    for (name, word) in [("items", "each"), ("additionalProperties", "others")] {
        if let Some(inner) = schema.get(name).filter(|inner| inner.is_object()) {
            let _ = write!(html, " {word} ");
            write_schema(html, inner, depth + 1);
        }
    }
    for name in ["anyOf", "oneOf", "allOf"] {
        for (index, inner) in schema.get(name).and_then(Value::as_array).into_iter().flatten().enumerate() {
            let word = if index == 0 {
                ""
            } else if name == "allOf" {
                "and"
            } else {
                "or"
            };
            let _ = write!(html, " {word} ");
            write_schema(html, inner, depth + 1);
        }
    }
    let members = schema.get("properties").and_then(Value::as_object).filter(|members| !members.is_empty());
    if let Some(members) = members {
        let required: Vec<_> = schema.get("required").and_then(Value::as_array).into_iter().flatten().collect();
        html.push_str("<dl>\n");
        for (name, member) in members {
            let must = if required.iter().any(|required| *required == name) { " <small>always</small>" } else { "" };
            let _ = write!(html, "<dt><code>{}</code>{must}</dt><dd>", escape(name));
            write_schema(html, member, depth + 1);
            html.push_str("</dd>\n");
        }
        html.push_str("</dl>\n");
    }
}

/// The text at a place of the document, as it may stand in HTML.
fn escaped(value: &Value, pointer: &str) -> String {
    escape(value.pointer(pointer).and_then(Value::as_str).unwrap_or_default())
}

/// Text as it may stand in HTML, in attributes, too.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// A page; `content` is HTML.
fn page(title: &str, content: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title} · Porth</title>\
         <style>{STYLE}</style></head>\n<body>\n<main>\n{content}\n</main>\n</body></html>\n"
    )
}

fn html_response(html: impl IntoResponse) -> Response {
    let mut response = html.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    response
}

/// Nothing but the style below, which the browser knows by its digest (CSP 3, section 8.3).
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let digest = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
});

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;margin:0;color-scheme:light dark}\
main{max-width:60rem;margin:auto;padding:1rem}code,.method{font-family:ui-monospace,monospace}\
.method{display:inline-block;min-width:4.5em;font-weight:bold}summary{cursor:pointer;padding:.3rem 0}\
details{border-bottom:1px solid #8886}details[open]{padding-bottom:1rem}nav ul{columns:12rem;padding-left:1rem}\
dl{margin:.3rem 0 .3rem 1rem}dd{margin:0 0 .3rem 1.5rem}table{border-collapse:collapse}\
td,th{text-align:left;padding:.2rem 1rem .2rem 0;border-bottom:1px solid #8886}h4{margin:.8rem 0 .2rem}\
:target{outline:2px solid #58f;outline-offset:2px}";

/// How deep a schema is written out.
const DEPTH_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_plug_ins_write_is_no_markup() {
        let evil = "\"><script>'&";
        let document = json!({
            "info": {"title": evil, "description": evil},
            "paths": {evil: {"get": {
                "tags": [evil], "summary": evil, "operationId": evil, "description": evil,
                "parameters": [{"name": evil, "in": evil, "description": evil, "schema": {"type": evil, "enum": [evil]}}],
                "requestBody": {"content": {evil: {"schema": {"$ref": evil}}}},
                "responses": {evil: {"description": evil, "content": {evil: {"schema": {
                    "type": [evil], "properties": {evil: {"description": evil, "pattern": evil, "default": evil}},
                }}}}},
            }}},
            "components": {"schemas": {evil: {"anyOf": [{"type": evil}], "items": {"$ref": evil}}}},
        });
        let html = api_html(&document, evil);
        assert!(html.contains("&quot;&gt;&lt;script&gt;&#39;&amp;"), "{html}");
        assert!(!html.contains("<script"), "{html}");
        assert!(!html.contains("\"\">"), "{html}");
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let mut deep = json!({"type": "object"});
        for _ in 0..100 {
            deep = json!({"properties": {"x": deep}});
        }
        let mut html = String::new();
        write_schema(&mut html, &deep, 0);
        assert!(html.matches("<dl>").count() == DEPTH_MAX, "{html}");
    }
}
