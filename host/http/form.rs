//! Bodies of forms (`application/x-www-form-urlencoded`).

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;

use super::error::{BAD_REQUEST, Problem};
use super::json::quoted;

/// Whether a body is one.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

/// What a body says. None of the members that `once` names may be there twice.
pub(super) fn read<T: DeserializeOwned>(body: &[u8], once: impl Fn(&str) -> bool) -> Result<T, Problem> {
    let wrong = || Problem::new(BAD_REQUEST, "the body is no form");
    // Whoever writes one encodes all others; what would be the end of a query to one reader is none to another.
    if !body.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
        return Err(wrong());
    }
    let members: Vec<(String, String)> = serde_urlencoded::from_bytes(body).map_err(|_| wrong())?;
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).filter(|name| once(name)).collect();
    names.sort_unstable();
    if let Some([name, _]) = names.array_windows().find(|[one, next]| one == next) {
        return Err(Problem::new(BAD_REQUEST, format!("`{}` is there twice", quoted(name))));
    }
    serde_urlencoded::from_bytes(body).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_form_is_a_query() {
        let read = |body: &[u8]| read::<HashMap<String, String>>(body, |_| true).ok();
        let expected = HashMap::from([("a".to_owned(), "b c&ä".to_owned()), ("d".to_owned(), String::new())]);
        assert_eq!(read(b"a=b+c%26%C3%A4&d="), Some(expected));
        assert_eq!(read(b""), Some(HashMap::new()));
        for wrong in [&b"a=\xff"[..], b"a=b\r\nc", b"a=b c", b"a=b&c=d&%61=b", b"a=b#c=d"] {
            assert_eq!(read(wrong), None);
        }
    }
}
