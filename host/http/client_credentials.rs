//! What a client shows at an endpoint that asks for it: HTTP Basic, or `client_id` and `client_secret` in a form
//! (RFC 6749, section 2.3.1).

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::caller::Caller;
use super::error::Problem;
use super::modules::detached;
use super::{App, form, now_ms, peer};
use crate::runtime::{Auth, Chain};

/// Whether an endpoint of a chain asks for a client.
pub(super) fn are_wanted(chain: &Chain) -> bool {
    chain.iter().any(|endpoint| endpoint.auth == Auth::Client)
}

/// Whether the credentials that a chain asks for must be in the body.
pub(super) fn are_posted(parts: &Parts, chain: &Chain) -> bool {
    are_wanted(chain) && !parts.headers.contains_key(AUTHORIZATION) && form::is_form(&parts.headers)
}

/// The client that shows its credentials in the header field, or where there is none in the body.
pub(super) async fn caller(app: &App, parts: &Parts, posted: &[u8]) -> Result<Caller, Problem> {
    let shown = match parts.headers.get(AUTHORIZATION) {
        Some(value) => basic(value.as_bytes()),
        None => in_form(posted),
    };
    let Some((client_id, secrets)) = shown else { return Ok(Caller::Nobody) };
    let (app, peer) = (app.clone(), peer::of(&parts.extensions, &parts.headers, &app.0.config));
    // To its end, also when the caller leaves: a guess counts for who does not wait for the answer, too.
    let checking =
        async move { app.0.access.check_client(&app.0.clients, &client_id, &secrets, peer.into(), now_ms()).await };
    let client = detached(checking).await??;
    Ok(client.map_or(Caller::Nobody, |client| Caller::Client(client.details.client_id)))
}

/// The client id and what the secret may be: some clients encode it as forms are, as they should, some do not.
fn basic(value: &[u8]) -> Option<(String, Vec<String>)> {
    let (scheme, credentials) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let credentials = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (client_id, secret) = credentials.split_once(':')?;
    let mut secrets = vec![secret.to_owned()];
    secrets.extend(decoded(secret).filter(|decoded| decoded != secret && !decoded.is_empty()));
    Some((decoded(client_id).unwrap_or_else(|| client_id.to_owned()), secrets))
}

fn in_form(body: &[u8]) -> Option<(String, Vec<String>)> {
    let mut fields: HashMap<String, String> = form::read(body).ok()?;
    Some((fields.remove("client_id")?, vec![fields.remove("client_secret")?]))
}

/// A part that is encoded as in forms.
fn decoded(text: &str) -> Option<String> {
    if text.contains('&') {
        return None;
    }
    form::read::<HashMap<String, String>>(format!("part={text}").as_bytes()).ok()?.remove("part")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(credentials: &str, client_id: &str, secrets: &[&str]) {
        let field = format!("bAsic {}", STANDARD.encode(credentials));
        let expected = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        assert_eq!(basic(field.as_bytes()), Some((client_id.to_owned(), expected)), "{credentials}");
    }

    #[test]
    fn basic_credentials_are_read_with_and_without_the_encoding() {
        check("app:secret", "app", &["secret"]);
        check("app:a:b", "app", &["a:b"]);
        check("my%2Dapp:a+b%26", "my-app", &["a+b%26", "a b&"]);
        check("app:100%", "app", &["100%"]);
        check("app:a&b%20", "app", &["a&b%20"]);
        check("app:", "app", &[""]);
        for wrong in ["Basic", "Basic x", "Bearer YTpi", "Basic YQ=="] {
            assert_eq!(basic(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_form_holds_both() {
        assert_eq!(in_form(b"client_secret=a%26b&x=y&client_id=app"), Some(("app".to_owned(), vec!["a&b".to_owned()])));
        assert_eq!(in_form(b"client_id=app"), None);
    }
}
