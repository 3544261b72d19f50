//! What is counted of the host's own routes: by template, never by path, so that nobody who asks makes a series.
//!
//! Start at [`HostRoutes`].

use std::sync::Arc;

use http::Method;
use tokio::time::Instant;

use super::path;
use crate::telemetry::metrics::{Answers, Exposition, Kind, labels};

/// The host's routes, each with what is counted of it.
pub(super) struct HostRoutes {
    templates: matchit::Router<usize>,
    /// With the template; the last is for paths that no route has.
    counted: Vec<(String, ByMethod)>,
}

/// By [`METHODS`].
type ByMethod = [Arc<Answers>; METHODS.len()];

/// What other methods count as is the last.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "DELETE", "other"];

/// What stands for the template of paths that no route has.
pub(super) const NO_ROUTE: &str = "(none)";

impl HostRoutes {
    /// Nothing counted yet. A template that contradicts another is left out: the router has refused it before.
    pub(super) fn new(paths: Vec<String>) -> Self {
        let mut templates = matchit::Router::new();
        let mut counted = Vec::with_capacity(paths.len() + 1);
        for path in paths {
            if templates.insert(path.clone(), counted.len()).is_ok() {
                counted.push((path, ByMethod::default()));
            }
        }
        counted.push((NO_ROUTE.to_owned(), ByMethod::default()));
        Self { templates, counted }
    }

    /// A request begins.
    pub(super) fn begin(&self, method: &Method, path: &str) -> Asked {
        let answers = self.find(path).and_then(|(_, by_method)| {
            let at = METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(METHODS.len() - 1);
            by_method.get(at).cloned()
        });
        if let Some(answers) = &answers {
            std::mem::forget(answers.begin());
        }
        Asked { answers, started: Instant::now() }
    }

    /// The template that a path belongs to.
    pub(super) fn template(&self, path: &str) -> &str {
        self.find(path).map_or(NO_ROUTE, |(template, _)| template)
    }

    fn find(&self, path: &str) -> Option<&(String, ByMethod)> {
        let at = |path: &str| self.templates.at(path).ok().map(|found| *found.value);
        // As the mount looks again for what only has other slashes.
        let index = at(path).or_else(|| at(&path::normalise(path)?)).unwrap_or(self.counted.len() - 1);
        self.counted.get(index)
    }

    /// Writes the samples of the routes that were ever asked for.
    pub(super) fn expose(&self, exposition: &mut Exposition) {
        let all: Vec<_> = (self.counted.iter())
            .flat_map(|(template, by_method)| {
                METHODS.iter().zip(by_method).map(|(method, answers)| {
                    let pairs = [("method", *method), ("route", template.as_str())];
                    (pairs, answers, answers.totals())
                })
            })
            .filter(|(_, answers, totals)| totals.count() > 0 || answers.under_way() > 0)
            .collect();
        let name = "porth_host_requests_total";
        exposition.family(name, Kind::Counter, "Requests to the host's own routes, by their answer");
        for (pairs, answers, _) in &all {
            for (status, count) in answers.classes().filter(|(_, count)| *count > 0) {
                let [method, route] = *pairs;
                exposition.sample(name, &labels(&[method, route, ("status", status)]), count);
            }
        }
        let name = "porth_host_request_seconds";
        exposition.family(name, Kind::Histogram, "Time to the head of their answer, in seconds");
        for (pairs, _, totals) in &all {
            exposition.histogram(name, &labels(pairs), totals);
        }
        let name = "porth_host_requests_in_flight";
        exposition.family(name, Kind::Gauge, "Requests that the host is answering now, until the head of the answer");
        for (pairs, answers, _) in &all {
            exposition.sample(name, &labels(pairs), answers.under_way());
        }
    }
}

/// A request to a route of the host, on its way.
pub(super) struct Asked {
    answers: Option<Arc<Answers>>,
    started: Instant,
}

impl Asked {
    /// Counts its answer.
    pub(super) fn answered(&self, status: http::StatusCode) {
        if let Some(answers) = &self.answers {
            answers.answered(status.as_u16(), self.started.elapsed());
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(answers) = &self.answers {
            answers.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use http::StatusCode;

    use super::*;

    #[test]
    fn a_route_counts_by_its_template_and_whatever_is_none_counts_as_one() {
        let routes = HostRoutes::new(vec!["/config".to_owned(), "/api/user/{name}".to_owned()]);
        for path in ["/config", "/config/", "//config", "/api/user/anna", "/api/user/bob/", "/a", "/b/c", "/api/user"] {
            routes.begin(&Method::GET, path).answered(StatusCode::OK);
        }
        routes.begin(&Method::from_bytes(b"BREW").unwrap(), "/config").answered(StatusCode::METHOD_NOT_ALLOWED);
        let _under_way = routes.begin(&Method::PUT, "/api/user/carl");
        let mut exposition = Exposition::default();
        routes.expose(&mut exposition);
        let text = exposition.into_text();
        let shown: Vec<&str> = text.lines().filter(|line| line.starts_with("porth_host_requests")).collect();
        expect![[r#"
            porth_host_requests_total{method="GET",route="/config",status="2xx"} 3
            porth_host_requests_total{method="other",route="/config",status="4xx"} 1
            porth_host_requests_total{method="GET",route="/api/user/{name}",status="2xx"} 2
            porth_host_requests_total{method="GET",route="(none)",status="2xx"} 3
            porth_host_requests_in_flight{method="GET",route="/config"} 0
            porth_host_requests_in_flight{method="other",route="/config"} 0
            porth_host_requests_in_flight{method="GET",route="/api/user/{name}"} 0
            porth_host_requests_in_flight{method="PUT",route="/api/user/{name}"} 1
            porth_host_requests_in_flight{method="GET",route="(none)"} 0"#]]
        .assert_eq(&shown.join("\n"));
    }
}
