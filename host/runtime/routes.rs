//! The endpoints of one instance: registered during `init`, then fixed and looked up.
//!
//! Start at [`RoutesBuilder`]; [`Routes`] is what dispatch uses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use porth_abi::code;

use super::meter::{Meter, RouteMeter};
use crate::abi::request::PathParameters;
use crate::abi::{CallbackError, Handler, NewEndpoint};
use crate::config::Limits;

/// Who may call an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Anybody.
    None,
    /// Anybody with a valid login session.
    Session,
    /// A session that satisfies a scope.
    Scope(String),
    /// An administrator.
    Admin,
    /// A client with its credentials.
    Client,
}

impl Auth {
    fn parse(text: &str) -> Result<Self, CallbackError> {
        match text {
            "none" => Ok(Self::None),
            "session" => Ok(Self::Session),
            // What says nothing is closed to the public, so that a forgotten field opens nothing.
            "" | "admin" => Ok(Self::Admin),
            "client" => Ok(Self::Client),
            other => match other.strip_prefix("scope:") {
                Some(scope) if !scope.is_empty() && !scope.contains(char::is_whitespace) => {
                    Ok(Self::Scope(scope.to_owned()))
                }
                _ => Err(CallbackError::parameter(format!(
                    "auth `{other}`, expected `none`, `session`, `scope:<name>`, `admin` or `client`"
                ))),
            },
        }
    }
}

/// As plug-ins write it.
impl std::fmt::Display for Auth {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => formatter.write_str("none"),
            Self::Session => formatter.write_str("session"),
            Self::Scope(scope) => write!(formatter, "scope:{scope}"),
            Self::Admin => formatter.write_str("admin"),
            Self::Client => formatter.write_str("client"),
        }
    }
}

/// A registered endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// Who may call it.
    pub auth: Auth,
    /// It runs inline on a worker.
    pub short: bool,
    /// It asks for the body piece by piece.
    pub stream_body: bool,
    /// The largest body in bytes.
    pub body_bytes_max: u64,
    /// How long it may take.
    pub deadline: Duration,
    /// What to call.
    pub handler: Handler,
    /// The pattern that it was registered with.
    pub pattern: Box<str>,
    /// What is counted of its calls.
    pub(super) meter: Arc<RouteMeter>,
    priority: u32,
}

/// The handlers of one method and path, in the order they are asked.
pub type Chain = Arc<[Arc<Endpoint>]>;

/// Endpoints while `init` runs.
pub struct RoutesBuilder {
    limits: Limits,
    meter: Arc<Meter>,
    /// By pattern, then by method; `*` for any.
    patterns: BTreeMap<String, BTreeMap<String, Vec<Arc<Endpoint>>>>,
    /// By name, then by method.
    well_known: BTreeMap<String, BTreeMap<String, Vec<Arc<Endpoint>>>>,
}

/// No instance needs more; a loop that registers for ever stops here.
const ENDPOINTS_MAX: usize = 4096;

impl RoutesBuilder {
    /// No endpoints yet; `limits` fills in what they leave out, `meter` counts their calls.
    #[must_use]
    pub(super) fn new(limits: &Limits, meter: Arc<Meter>) -> Self {
        Self { limits: limits.clone(), meter, patterns: BTreeMap::new(), well_known: BTreeMap::new() }
    }

    /// Registers an endpoint.
    ///
    /// # Errors
    /// PARAM with a text for a bad method, pattern or auth, a pattern that conflicts with another, or the same handler
    /// twice on a method and path; BUSY when there are too many.
    pub fn add(&mut self, new: NewEndpoint) -> Result<(), CallbackError> {
        check_method(&new.method)?;
        check_pattern(&new.path)?;
        let endpoint = Arc::new(self.endpoint(&new, &new.path)?);
        if !self.patterns.contains_key(&new.path) {
            self.check_conflict(&new.path)?;
        }
        let handlers = self.patterns.entry(new.path.clone()).or_default().entry(new.method.clone()).or_default();
        if handlers.iter().any(|endpoint| endpoint.handler == new.handler) {
            return Err(CallbackError::parameter(format!(
                "the same handler is registered twice for {} {}",
                new.method, new.path
            )));
        }
        handlers.push(endpoint);
        // Stable: equal priorities keep the order of registration.
        handlers.sort_by_key(|endpoint| endpoint.priority);
        Ok(())
    }

    /// Registers an endpoint at `/.well-known`, whose path is its name.
    ///
    /// # Errors
    /// PARAM with a text for a bad method, name or auth, and for a method and name that are taken; BUSY when there are too
    /// many.
    pub fn add_well_known(&mut self, new: NewEndpoint) -> Result<(), CallbackError> {
        check_method(&new.method)?;
        let name = new.path.strip_prefix('/').unwrap_or_default();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)) {
            // RFC 8615, section 3.1: one segment.
            let expected = "expected `/` and a name of letters, digits, `-`, `.`, `_` and `~`";
            return Err(CallbackError::parameter(format!("the path `{}`: {expected}", new.path)));
        }
        let endpoint = Arc::new(self.endpoint(&new, &format!("/.well-known/{name}"))?);
        let methods = self.well_known.entry(name.to_owned()).or_default();
        if methods.contains_key(&new.method) {
            return Err(CallbackError::parameter(format!("{} is registered for `{name}` already", new.method)));
        }
        methods.insert(new.method, vec![endpoint]);
        Ok(())
    }

    /// An endpoint to register; `route` is what its calls are counted by.
    fn endpoint(&self, new: &NewEndpoint, route: &str) -> Result<Endpoint, CallbackError> {
        let auth = Auth::parse(&new.auth)?;
        let all = self.patterns.values().chain(self.well_known.values());
        let count: usize = all.flat_map(BTreeMap::values).map(Vec::len).sum();
        if count >= ENDPOINTS_MAX {
            return Err(CallbackError::new(code::BUSY, format!("more than {ENDPOINTS_MAX} endpoints")));
        }
        Ok(Endpoint {
            auth,
            short: new.short,
            stream_body: new.stream_body,
            body_bytes_max: new.body_bytes_max.unwrap_or(self.limits.body_bytes_max),
            deadline: new.deadline.unwrap_or(Duration::from_millis(self.limits.deadline_ms)),
            handler: new.handler,
            pattern: route.into(),
            meter: self.meter.route(&new.method, route),
            priority: new.priority,
        })
    }

    /// Takes back all handlers of a method and pattern.
    ///
    /// # Errors
    /// NOT_FOUND when none was registered there.
    pub fn remove(&mut self, method: &str, path: &str) -> Result<(), CallbackError> {
        let missing = || CallbackError::new(code::NOT_FOUND, format!("no endpoint {method} {path}"));
        let methods = self.patterns.get_mut(path).ok_or_else(missing)?;
        methods.remove(method).ok_or_else(missing)?;
        if methods.is_empty() {
            self.patterns.remove(path);
        }
        Ok(())
    }

    fn check_conflict(&self, path: &str) -> Result<(), CallbackError> {
        let mut router = matchit::Router::new();
        for pattern in self.patterns.keys() {
            // Every one of them went through this check before.
            let _ = router.insert(pattern, ());
        }
        router.insert(path, ()).map_err(|error| CallbackError::parameter(format!("the path `{path}`: {error}")))
    }

    /// Fixes the endpoints.
    #[must_use]
    pub fn build(self) -> Routes {
        let mut router = matchit::Router::new();
        let below = self.patterns.iter().map(|(path, methods)| (path.clone(), methods));
        let well_known = self.well_known.iter().map(|(name, methods)| (format!("/.well-known/{name}"), methods));
        let views = below.chain(well_known).flat_map(|(path, methods)| views(&path, methods)).collect();
        for (pattern, methods) in self.patterns {
            // `add` tried the same insertion.
            let _ = router.insert(pattern, Methods::new(methods));
        }
        let well_known = self.well_known.into_iter().map(|(name, methods)| (name, Methods::new(methods))).collect();
        Routes { router, well_known, views }
    }
}

fn check_method(method: &str) -> Result<(), CallbackError> {
    let known = method == "*" || Method::from_bytes(method.as_bytes()).is_ok() && method == method.to_ascii_uppercase();
    // RFC 9110, section 9.3.6 and 9.3.8: these two never reach a resource of this server.
    if !known || matches!(method, "CONNECT" | "TRACE") {
        return Err(CallbackError::parameter(format!(
            "the method `{method}`, expected `*` or a method in capitals other than CONNECT and TRACE"
        )));
    }
    Ok(())
}

fn check_pattern(path: &str) -> Result<(), CallbackError> {
    let refuse = |why: &str| Err(CallbackError::parameter(format!("the path `{path}`: {why}")));
    if !path.starts_with('/') {
        return refuse("expected a leading `/`; it is mounted below the instance's prefix");
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return refuse("a `.` or `..` segment would leave the instance's prefix");
    }
    if path.contains("//") {
        return refuse("an empty segment can never match");
    }
    if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f || matches!(byte, b'?' | b'#' | b'%' | b'\\')) {
        return refuse("expected decoded text without white space, `?`, `#`, `%` or `\\`");
    }
    Ok(())
}

/// The methods of one pattern.
#[derive(Debug)]
struct Methods {
    named: Vec<(Method, Chain)>,
    any: Option<Chain>,
}

impl Methods {
    fn new(mut methods: BTreeMap<String, Vec<Arc<Endpoint>>>) -> Self {
        let any = methods.remove("*").unwrap_or_default();
        let named = methods
            .into_iter()
            .filter_map(|(name, mut handlers)| {
                handlers.extend(any.iter().cloned());
                handlers.sort_by_key(|endpoint| endpoint.priority);
                Some((Method::from_bytes(name.as_bytes()).ok()?, handlers.into()))
            })
            .collect();
        Self { named, any: (!any.is_empty()).then(|| any.into()) }
    }

    fn chain(&self, method: &Method) -> Option<&Chain> {
        let named = |method: &Method| self.named.iter().find(|(name, _)| name == method).map(|(_, chain)| chain);
        // RFC 9110, section 9.3.2: HEAD is GET without a body, which the server drops.
        named(method).or_else(|| if method == Method::HEAD { named(&Method::GET) } else { None }).or(self.any.as_ref())
    }

    /// What there is for other methods.
    fn others(&self, may: impl Fn(&Chain) -> bool) -> Found {
        let named = self.named.iter().filter(|(_, chain)| may(chain));
        let mut names: Vec<&str> = named.map(|(method, _)| method.as_str()).collect();
        if names.is_empty() {
            return Found::Nothing;
        }
        if names.contains(&"GET") && !names.contains(&"HEAD") {
            names.push("HEAD");
        }
        Found::MethodNotAllowed(names.join(", "))
    }
}

/// The endpoints of a running instance.
#[derive(Debug, Default)]
pub struct Routes {
    router: matchit::Router<Methods>,
    well_known: BTreeMap<String, Methods>,
    views: Vec<EndpointView>,
}

/// An endpoint as administrators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointView {
    /// A method, or `*` for any.
    pub method: String,
    /// The pattern below the instance's prefix; of a well-known name the whole path.
    pub path: String,
    /// Who may call: `none`, `session`, `scope:<name>`, `admin` or `client`.
    pub auth: String,
}

fn views(path: &str, methods: &BTreeMap<String, Vec<Arc<Endpoint>>>) -> Vec<EndpointView> {
    let all = methods.iter().flat_map(|(method, handlers)| handlers.iter().map(move |handler| (method, handler)));
    let view = |(method, handler): (&String, &Arc<Endpoint>)| EndpointView {
        method: method.clone(),
        path: path.to_owned(),
        auth: handler.auth.to_string(),
    };
    all.map(view).collect()
}

/// What a look-up found.
#[derive(Debug)]
pub enum Found {
    /// Handlers to ask in turn, with the path parameters.
    Chain(Chain, PathParameters),
    /// The path exists, the method does not; the value of `Allow`.
    MethodNotAllowed(String),
    /// No such path.
    Nothing,
}

impl Routes {
    /// All endpoints by path and method, handlers of one in the order in which they are asked.
    #[must_use]
    pub fn views(&self) -> Vec<EndpointView> {
        self.views.clone()
    }

    /// Looks up a decoded path below the instance's prefix, among the handlers that may be asked.
    #[must_use]
    pub fn find(&self, method: &Method, path: &str, may: impl Fn(&Chain) -> bool) -> Found {
        let Ok(matched) = self.router.at(path) else { return Found::Nothing };
        let Some(chain) = matched.value.chain(method).filter(|chain| may(chain)) else {
            return matched.value.others(may);
        };
        let parameters = matched.params.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Found::Chain(Arc::clone(chain), parameters)
    }

    /// Looks up a name at `/.well-known`, among the handlers that may be asked.
    #[must_use]
    pub fn find_well_known(&self, method: &Method, name: &str, may: impl Fn(&Chain) -> bool) -> Found {
        let Some(methods) = self.well_known.get(name) else { return Found::Nothing };
        match methods.chain(method).filter(|chain| may(chain)) {
            Some(chain) => Found::Chain(Arc::clone(chain), PathParameters::default()),
            None => methods.others(may),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::abi::call::test_handler;

    fn endpoint(method: &str, path: &str, priority: u32, handler: usize) -> NewEndpoint {
        NewEndpoint {
            method: method.to_owned(),
            path: path.to_owned(),
            priority,
            short: true,
            stream_body: false,
            auth: "none".to_owned(),
            body_bytes_max: None,
            deadline: None,
            handler: test_handler(handler),
        }
    }

    fn refused(endpoints: &[NewEndpoint]) -> String {
        let mut builder = RoutesBuilder::new(&Limits::default(), Arc::default());
        let errors: Vec<_> =
            endpoints.iter().filter_map(|new| builder.add(new.clone()).err()).map(|error| error.detail).collect();
        errors.join("\n")
    }

    #[test]
    fn what_cannot_be_a_route_is_refused_with_the_reason() {
        let bad = [
            endpoint("get", "/a", 0, 1),
            endpoint("TRACE", "/a", 0, 1),
            endpoint("GET", "a", 0, 1),
            endpoint("GET", "/../other/x", 0, 1),
            endpoint("GET", "/a//b", 0, 1),
            endpoint("GET", "/%2e%2e", 0, 1),
            endpoint("GET", "/{", 0, 1),
        ];
        expect![[r#"
            the method `get`, expected `*` or a method in capitals other than CONNECT and TRACE
            the method `TRACE`, expected `*` or a method in capitals other than CONNECT and TRACE
            the path `a`: expected a leading `/`; it is mounted below the instance's prefix
            the path `/../other/x`: a `.` or `..` segment would leave the instance's prefix
            the path `/a//b`: an empty segment can never match
            the path `/%2e%2e`: expected decoded text without white space, `?`, `#`, `%` or `\`
            the path `/{`: Parameters must be registered with a valid name"#]]
        .assert_eq(&refused(&bad));
    }

    #[test]
    fn a_handler_twice_and_a_conflicting_pattern_are_refused() {
        let twice = [endpoint("GET", "/a", 0, 1), endpoint("GET", "/a", 5, 1)];
        expect!["the same handler is registered twice for GET /a"].assert_eq(&refused(&twice));
        let conflict = [endpoint("GET", "/a/{x}", 0, 1), endpoint("GET", "/a/{y}", 0, 2)];
        expect!["the path `/a/{y}`: Insertion failed due to conflict with previously registered route: /a/{x}"]
            .assert_eq(&refused(&conflict));
    }

    fn order(method: &Method, path: &str) -> String {
        let mut builder = RoutesBuilder::new(&Limits::default(), Arc::default());
        for (method, priority, handler) in [("GET", 5, 1), ("*", 3, 2), ("GET", 3, 3), ("POST", 9, 4)] {
            builder.add(endpoint(method, "/a/{x}", priority, handler)).unwrap();
        }
        builder.add(endpoint("GET", "/only", 0, 9)).unwrap();
        match builder.build().find(method, path, |_| true) {
            Found::Chain(chain, parameters) => {
                let ids: Vec<_> = (1..10)
                    .flat_map(|id| {
                        let at = chain.iter().position(|endpoint| endpoint.handler == test_handler(id));
                        at.map(|at| (at, id))
                    })
                    .collect();
                let mut ids = ids;
                ids.sort_unstable();
                format!("{:?} {parameters:?}", ids.iter().map(|(_, id)| id).collect::<Vec<_>>())
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn handlers_are_asked_by_priority_then_by_registration() {
        assert_eq!(order(&Method::GET, "/a/1"), r#"[3, 2, 1] [("x", "1")]"#);
        assert_eq!(order(&Method::POST, "/a/1"), r#"[2, 4] [("x", "1")]"#);
        assert_eq!(order(&Method::DELETE, "/a/1"), r#"[2] [("x", "1")]"#);
        assert_eq!(order(&Method::HEAD, "/only"), "[9] []");
        assert_eq!(order(&Method::POST, "/only"), r#"MethodNotAllowed("GET, HEAD")"#);
        assert_eq!(order(&Method::GET, "/b"), "Nothing");
    }
}
