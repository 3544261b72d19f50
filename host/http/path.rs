//! Paths before routing: what could mean two things to two readers is refused.

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadPath {
    /// `.` or `..`, plain or encoded.
    #[error("the path has a `.` or `..` segment")]
    Dots,
    /// An encoded or plain character that other readers take for a separator or an end.
    #[error("the path has an encoded slash, a backslash or a NUL")]
    Separator,
    /// A `%` without two hexadecimal digits, or bytes that are not UTF-8.
    #[error("the path has a malformed percent-encoding")]
    Escape,
}

/// Decodes a path. Its segments are the same as before: an encoded separator is refused.
pub(super) fn decode(path: &str) -> Result<Cow<'_, str>, BadPath> {
    // Nearly all paths have none of these; the others are looked at more closely.
    let plain = !path.bytes().any(|byte| matches!(byte, b'%' | b'\\' | b'.'));
    if plain {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = if path.contains('%') { Cow::Owned(unescape(path)?) } else { Cow::Borrowed(path) };
    if decoded.contains('\\') {
        return Err(BadPath::Separator);
    }
    if decoded.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(BadPath::Dots);
    }
    Ok(decoded)
}

fn unescape(path: &str) -> Result<String, BadPath> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or(BadPath::Escape);
        let value = u8::try_from(digit()? * 16 + digit()?).map_err(|_| BadPath::Escape)?;
        if matches!(value, b'/' | b'\\' | 0) {
            return Err(BadPath::Separator);
        }
        bytes.push(value);
    }
    String::from_utf8(bytes).map_err(|_| BadPath::Escape)
}

/// The path with single slashes and none at the end; `None` when it is so already.
pub(super) fn normalise(path: &str) -> Option<String> {
    if !path.contains("//") && (path == "/" || !path.ends_with('/')) {
        return None;
    }
    let mut normal = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        normal.push('/');
        normal.push_str(segment);
    }
    Some(if normal.is_empty() { "/".to_owned() } else { normal })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for path in ["/a/../b", "/a/.", "/a/%2e%2e/b", "/a/%2E", "/./a"] {
            assert_eq!(decode(path), Err(BadPath::Dots), "{path}");
        }
        for path in ["/a%2fb", "/a%2Fb", "/a%5cb", "/a\\b", "/a%00"] {
            assert_eq!(decode(path), Err(BadPath::Separator), "{path}");
        }
        for path in ["/a%zz", "/a%2", "/a%", "/%ff"] {
            assert_eq!(decode(path), Err(BadPath::Escape), "{path}");
        }
    }

    #[test]
    fn everything_else_is_decoded() {
        for (path, decoded) in
            [("/", "/"), ("/a;b=c", "/a;b=c"), ("/.well-known/x", "/.well-known/x"), ("/W%c3%b6rld%20", "/Wörld ")]
        {
            assert_eq!(decode(path).as_deref(), Ok(decoded));
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_decoded_has_the_same_segments(path in "(/([a-z.;%\\\\é]|%[0-9a-fA-Fg]{2}|%2[eEfF]|%5[cC]|%00|\\.){0,6}){1,5}") {
            crate::http::properties::path(path.as_bytes());
        }
    }

    #[test]
    fn doubled_and_trailing_slashes_are_collapsed() {
        for (path, normal) in
            [("/a/b", None), ("/", None), ("//", Some("/")), ("/a//b/", Some("/a/b")), ("/a/", Some("/a"))]
        {
            assert_eq!(normalise(path).as_deref(), normal);
        }
    }
}
