//! Requests to the endpoints of an instance under test: as they are meant, and as they are not.
//!
//! Start at [`Endpoint`].

use serde_json::Value;

use super::client::Request;

/// An endpoint as the host shows it.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) auth: String,
}

/// What lets callers in.
#[derive(Clone, Debug, Default)]
pub(super) struct Credentials {
    pub(super) cookie: String,
    pub(super) client: String,
    pub(super) key: String,
}

impl Endpoint {
    pub(super) fn read(shown: &Value) -> Option<Self> {
        let text = |member: &str| shown.get(member)?.as_str().map(str::to_owned);
        let method = text("method").map(|method| if method == "*" { "GET".to_owned() } else { method });
        Some(Self { method: method?, path: text("path")?, auth: text("auth")? })
    }

    /// As people call it.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// A request as it is meant, as far as that can be told.
    pub(super) fn ordinary(&self, instance: &str, credentials: &Credentials) -> Request {
        self.request(instance, credentials, "1", "", ("application/json", b"{}"))
    }

    /// Requests that nobody means: none may be answered by a failure.
    pub(super) fn hostile(&self, instance: &str, credentials: &Credentials) -> Vec<Request> {
        let request = |parameter: &str, query: &str, body: (&'static str, &[u8])| {
            self.request(instance, credentials, parameter, query, body)
        };
        let json = "application/json";
        let mut all = vec![
            request("1", "", (json, b"")),
            request("1", "", (json, b"{")),
            request("1", "", (json, b"null")),
            request("1", "", (json, b"[1, \"two\", {\"three\": 1e400}]")),
            request("1", "", (json, b"\xff\xfe\x00")),
            request("1", "", ("text/plain", b"plain")),
            request("1", "", ("application/x-www-form-urlencoded", b"a=%zz&b")),
            request("1", "a=%ff%fe&=&&b=1&b=2&c=%00", (json, b"{}")),
            request("1", &"q=".repeat(500), (json, b"{}")),
        ];
        let deep = [vec![b'['; 100], vec![b']'; 100]].concat();
        all.push(request("1", "", (json, &deep)));
        all.push(request("1", "", (json, &vec![b' '; 300_000])));
        if self.path.contains('{') {
            for parameter in
                ["-1", "99999999999999999999", "%F0%9F%92%A9", "%27%22%3Cscript%3E", "%C3%A9%CC%81", "a%20b"]
            {
                all.push(request(parameter, "", (json, b"{}")));
            }
            all.push(request(&"x".repeat(2000), "", (json, b"{}")));
        }
        all
    }

    fn request(
        &self,
        instance: &str,
        credentials: &Credentials,
        parameter: &str,
        query: &str,
        (content_type, body): (&'static str, &[u8]),
    ) -> Request {
        let mut target = if self.path.starts_with("/.well-known/") {
            format!("{}/api/{instance}", self.path)
        } else {
            format!("/api/{instance}{}", filled(&self.path, parameter))
        };
        if !query.is_empty() {
            target.push('?');
            target.push_str(query);
        }
        let mut headers = Vec::new();
        match self.auth.as_str() {
            "none" => {}
            "client" => headers.push(("authorization", credentials.client.clone())),
            "" | "admin" => headers.push(("authorization", credentials.key.clone())),
            _ => headers.push(("cookie", credentials.cookie.clone())),
        }
        let has_body = matches!(self.method.as_str(), "POST" | "PUT" | "PATCH");
        if has_body {
            headers.push(("content-type", content_type.to_owned()));
        }
        let body = if has_body { body.to_vec() } else { Vec::new() };
        Request { method: self.method.clone(), target, headers, body, leaves: false }
    }
}

/// A pattern with a value in the place of each parameter.
fn filled(pattern: &str, value: &str) -> String {
    let mut filled = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        filled.push_str(value);
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_filled() {
        assert_eq!(filled("/a/{x}/b/{*rest}", "1"), "/a/1/b/1");
        assert_eq!(filled("/a", "1"), "/a");
    }
}
