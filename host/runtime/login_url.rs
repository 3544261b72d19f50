//! Where a plug-in sends a browser to, so that a user logs in.

use std::fmt::Write as _;

use super::questions::{finish, read};
use crate::abi::CallbackError;
use crate::config::Config;

/// The page where a user logs in for a client; `arguments` is JSON.
pub(super) fn login_url(config: &Config, arguments: &str) -> Result<String, CallbackError> {
    let mut fields = read(arguments)?;
    let client_id = fields.text("client_id");
    let scopes = fields.texts("scope_list").flatten();
    let callback_url = fields.text("callback_url");
    let parameters = fields.object("parameters").unwrap_or_default();
    let mut query = Vec::new();
    query.extend(client_id.map(|id| ("client_id".to_owned(), id)));
    query.extend(scopes.map(|scopes| ("scope".to_owned(), scopes.join(" "))));
    query.extend(callback_url.map(|url| ("callback_url".to_owned(), url)));
    for (name, value) in parameters {
        match value.as_str() {
            // The page believes the first; a plug-in's further ones must not be read for the others.
            Some(_) if matches!(name.as_str(), "client_id" | "scope" | "callback_url") => {
                fields.refuse(format!("parameters: `{name}` is an argument of its own"));
            }
            Some(value) => query.push((name, value.to_owned())),
            None => fields.refuse(format!("parameters: `{name}` is no text")),
        }
    }
    finish([fields])?;
    let mut url = format!("{}/{}", config.external_url(), config.login_url);
    for (index, (name, value)) in query.iter().enumerate() {
        url.push(if index == 0 { '?' } else { '&' });
        encode(&mut url, name);
        url.push('=');
        encode(&mut url, value);
    }
    Ok(url)
}

/// Appends text as a part of a query: all but the unreserved characters is encoded (RFC 3986, section 2.3).
fn encode(url: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            url.push(char::from(byte));
        } else {
            // Writing to a string never fails.
            let _ = write!(url, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(arguments: &str, expected: Expect) {
        let config = Config { external_url: Some("https://x.org/porth".to_owned()), ..Config::default() };
        expected.assert_eq(&login_url(&config, arguments).unwrap_or_else(|error| error.detail));
    }

    #[test]
    fn everything_is_encoded() {
        check(
            r#"{"client_id": "a&b", "scope_list": ["openid", "x/y"], "callback_url": "https://x.org/cb?a=1#ü",
                "parameters": {"prompt": "login now", "é=": "+"}}"#,
            expect![
                "https://x.org/porth/login?client_id=a%26b&scope=openid%20x%2Fy&callback_url=https%3A%2F%2Fx.org%2Fcb%3Fa%3D1%23%C3%BC&prompt=login%20now&%C3%A9%3D=%2B"
            ],
        );
        check("", expect!["https://x.org/porth/login"]);
        check(r#"{"scope_list": [], "client_id": null}"#, expect!["https://x.org/porth/login?scope="]);
    }

    #[test]
    fn what_is_wrong_is_told_at_once() {
        check(
            r#"{"client_id": 1, "scopes": [], "parameters": {"scope": "g_admin", "n": 1}}"#,
            expect![
                "client_id: expected a text, found a number; parameters: `n` is no text; parameters: `scope` is an argument of its own; scopes: there is no such argument"
            ],
        );
        check(
            "[]",
            expect!["the arguments are no JSON object: invalid type: sequence, expected a map at line 1 column 0"],
        );
    }
}
