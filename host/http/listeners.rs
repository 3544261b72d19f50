//! The listeners of this server: what is made of their configuration before the first connection, and what administrators
//! see of them.
//!
//! Start at [`Serving`].

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::caller::Admin;
use super::tls::{CertificateError, Served};
use super::{App, now_ms};
use crate::config::{Config, Listener, Serves};
use crate::telemetry::metrics::{Exposition, Kind, labels};

/// A listener that can serve: its certificate was read.
#[derive(Clone, Debug)]
pub struct Serving {
    /// As configured.
    pub listener: Listener,
    /// What it answers.
    pub serves: Serves,
    /// What it shows its clients, with TLS.
    pub certificate: Option<Arc<Served>>,
}

impl Serving {
    /// Every listener of a configuration, in its order.
    ///
    /// # Errors
    /// The first certificate that cannot be used.
    pub fn all(config: &Config) -> Result<Vec<Self>, CertificateError> {
        let serving = |listener: Listener| {
            let certificate = Served::load(&listener)?;
            Ok(Self { serves: config.serves(&listener), certificate, listener })
        };
        config.listeners().into_iter().map(serving).collect()
    }

    fn view(&self) -> Value {
        let Self { listener, serves, certificate } = self;
        let tls = certificate.as_ref().map(|served| {
            let about = served.about();
            json!({
                "certificate": served.files().certificate,
                "names": about.names,
                "not_before": about.not_before_s,
                "not_after": about.not_after_s,
                "days_left": about.days_left(now_ms()),
                "error": served.error(),
                "warnings": about.warnings,
            })
        });
        json!({
            "address": listener.address,
            "url": listener.url(),
            "serves": serves,
            "http2": listener.speaks_http2(),
            "tls": tls,
        })
    }
}

/// `GET /admin/listener/`.
pub(super) async fn list(_: Admin, State(app): State<App>) -> Json<Value> {
    Json(app.listeners().iter().map(Serving::view).collect())
}

/// What is counted of listeners.
pub(super) fn expose(app: &App, exposition: &mut Exposition) {
    let certificates: Vec<_> = app.listeners().iter().filter_map(|serving| serving.certificate.as_ref()).collect();
    if certificates.is_empty() {
        return;
    }
    let mut family = |name: &str, help: &str, value: fn(&Served, i64) -> f64| {
        exposition.family(name, Kind::Gauge, help);
        for served in &certificates {
            exposition.sample(name, &labels(&[("listener", &served.listener().url())]), value(served, now_ms()));
        }
    };
    family("porth_certificate_days_left", "Days until the certificate expires", |served, now_ms| {
        served.about().days_left(now_ms)
    });
    family(
        "porth_certificate_stale",
        "1 while the files cannot be served and what they were before is",
        |served, _| {
            if served.error().is_some() { 1.0 } else { 0.0 }
        },
    );
}
