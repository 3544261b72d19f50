//! Bodies of forms (`application/x-www-form-urlencoded`).

use axum::extract::Query;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Uri};
use serde::de::DeserializeOwned;

use super::error::{BAD_REQUEST, Problem};
use super::json::quoted;

/// Whether a body is one.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

/// What a body says: it is written as the query of a URI is. None of the members that `once` names may be there twice.
pub(super) fn read<T: DeserializeOwned>(body: &[u8], once: impl Fn(&str) -> bool) -> Result<T, Problem> {
    let wrong = || Problem::new(BAD_REQUEST, "the body is no form");
    let uri: Uri = format!("/?{}", std::str::from_utf8(body).map_err(|_| wrong())?).parse().map_err(|_| wrong())?;
    let Query(members) = Query::<Vec<(String, String)>>::try_from_uri(&uri).map_err(|_| wrong())?;
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).filter(|name| once(name)).collect();
    names.sort_unstable();
    if let Some([name, _]) = names.array_windows().find(|[one, next]| one == next) {
        return Err(Problem::new(BAD_REQUEST, format!("`{}` is there twice", quoted(name))));
    }
    Query::<T>::try_from_uri(&uri).map(|Query(read)| read).map_err(|_| wrong())
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
        for wrong in [&b"a=\xff"[..], b"a=b\r\nc", b"a=b c", b"a=b&c=d&%61=b"] {
            assert_eq!(read(wrong), None);
        }
    }
}
