//! Endpoints of an instance, by the rules of the host's router.

use core::ffi::c_void;
use std::collections::BTreeSet;

use porth_abi as abi;

use crate::host_error::HostError;

/// An endpoint as it was registered.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) method: String,
    /// The pattern; below `/.well-known` it begins with that.
    pub(super) path: String,
    pub(super) auth: String,
    pub(super) priority: u32,
    pub(super) flags: u32,
    pub(super) body_bytes_max: u64,
    pub(super) deadline_ms: u64,
    pub(super) handler: abi::Handler,
    pub(super) user: *mut c_void,
}

// SAFETY: `user` is used by the handler only, which may be called from any thread.
unsafe impl Send for Endpoint {}
// SAFETY: see above.
unsafe impl Sync for Endpoint {}

/// What was found for a method and path.
pub(super) enum Found {
    /// Handlers to ask in turn, and the path's parameters.
    Chain(Vec<Endpoint>, Vec<(String, String)>),
    /// The path exists, the method does not.
    MethodNotAllowed,
    Nothing,
}

/// Adds an endpoint if the host would.
pub(super) fn add(endpoints: &mut Vec<Endpoint>, new: Endpoint) -> Result<(), HostError> {
    let wrong = |text: String| Err(HostError::Parameter(text));
    let token = !new.method.is_empty() && new.method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    if !(new.method == "*" || token) || matches!(new.method.as_str(), "CONNECT" | "TRACE") {
        return wrong(format!(
            "the method `{}`, expected `*` or a method in capitals other than CONNECT and TRACE",
            new.method
        ));
    }
    check_pattern(&new.path)?;
    let scope = new.auth.strip_prefix("scope:").is_some_and(|scope| !scope.is_empty() && !scope.contains(' '));
    if !scope && !matches!(new.auth.as_str(), "" | "none" | "session" | "admin" | "client") {
        return wrong(format!("auth `{}`, expected `none`, `session`, `scope:<name>`, `admin` or `client`", new.auth));
    }
    let mut router = matchit::Router::new();
    let patterns: BTreeSet<&String> = endpoints.iter().map(|endpoint| &endpoint.path).collect();
    for pattern in patterns {
        // Each of them went through this before.
        let _ = router.insert(pattern.as_str(), ());
    }
    let known = endpoints.iter().any(|endpoint| endpoint.path == new.path);
    if !known && let Err(error) = router.insert(new.path.as_str(), ()) {
        return wrong(format!("the path `{}`: {error}", new.path));
    }
    let same = |other: &Endpoint| {
        (&other.method, &other.path, other.user) == (&new.method, &new.path, new.user)
            && core::ptr::fn_addr_eq(other.handler.call, new.handler.call)
    };
    if endpoints.iter().any(same) {
        return wrong(format!("the same handler is registered twice for {} {}", new.method, new.path));
    }
    endpoints.push(new);
    Ok(())
}

fn check_pattern(path: &str) -> Result<(), HostError> {
    let wrong = |why: &str| Err(HostError::Parameter(format!("the path `{path}`: {why}")));
    if !path.starts_with('/') {
        return wrong("expected a leading `/`; it is mounted below the instance's prefix");
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return wrong("a `.` or `..` segment would leave the instance's prefix");
    }
    if path.contains("//") {
        return wrong("an empty segment can never match");
    }
    if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f || matches!(byte, b'?' | b'#' | b'%' | b'\\')) {
        return wrong("expected decoded text without white space, `?`, `#`, `%` or `\\`");
    }
    Ok(())
}

/// Looks up a path below the instance's prefix, as sent.
pub(super) fn find(endpoints: &[Endpoint], method: &str, path: &str) -> Found {
    let decoded = decode(path);
    let mut router = matchit::Router::new();
    let patterns: BTreeSet<&String> = endpoints.iter().map(|endpoint| &endpoint.path).collect();
    for pattern in patterns {
        let _ = router.insert(pattern.as_str(), pattern.clone());
    }
    let Ok(matched) = router.at(&decoded) else { return Found::Nothing };
    let of = |method: &str| {
        let named = |endpoint: &&Endpoint| endpoint.path == *matched.value && endpoint.method == method;
        endpoints.iter().any(|endpoint| named(&endpoint)).then(|| {
            let wanted = |endpoint: &&Endpoint| {
                endpoint.path == *matched.value && (endpoint.method == method || endpoint.method == "*")
            };
            endpoints.iter().filter(wanted).cloned().collect::<Vec<_>>()
        })
    };
    // RFC 9110, section 9.3.2: HEAD is GET without a body, which the host drops.
    let get = || if method == "HEAD" { of("GET") } else { None };
    let Some(mut chain) = of(method).or_else(get).or_else(|| of("*")) else { return Found::MethodNotAllowed };
    // Stable: equal ones stay in the order of their registration.
    chain.sort_by_key(|endpoint| endpoint.priority);
    let parameters = matched.params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Found::Chain(chain, parameters)
}

/// Resolves `%41` and its like (RFC 3986, section 2.1).
fn decode(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = (*first == b'%').then(|| std::str::from_utf8(after.get(..2)?).ok()).flatten();
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
