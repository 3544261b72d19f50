//! What instances offer: the endpoints they registered, and what they say of them by the extension `porth.openapi/1`.
//!
//! Start at [`Runtime::offers`].

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use porth_abi::OPENAPI;
use serde_json::{Value, json};

use super::hooks::{Hook, HookError};
use super::instances::{PLUGIN, Runtime};
use super::routes::EndpointView;
use super::running::Running;

/// What an instance said of its API, and when it is asked again.
#[derive(Default)]
pub(super) struct Describing(tokio::sync::Mutex<Option<Said>>);

#[derive(Clone)]
struct Said {
    document: Option<Arc<Value>>,
    /// `None` means never.
    again: Option<Instant>,
}

/// An instance with what it says of its endpoints.
pub struct InstanceOffers {
    /// Its name.
    pub name: String,
    /// What it says of them: JSON of any kind.
    pub document: Option<Arc<Value>>,
    /// It was asked for that just now.
    pub is_new: bool,
    running: Arc<Running>,
}

/// What an instance offered once, to know whether it still does; holds neither it nor its generation.
pub struct Offered {
    running: Weak<Running>,
    document: Option<Arc<Value>>,
}

impl InstanceOffers {
    /// Its endpoints below its prefix, by path; of several handlers the one that is asked first.
    #[must_use]
    pub fn endpoints(&self) -> Vec<EndpointView> {
        let mut endpoints = self.running.routes.views();
        endpoints.retain(|endpoint| !endpoint.path.starts_with("/.well-known/"));
        endpoints.dedup_by(|next, one| (&next.method, &next.path) == (&one.method, &one.path));
        endpoints
    }

    /// To compare with later.
    #[must_use]
    pub fn offered(&self) -> Offered {
        Offered { running: Arc::downgrade(&self.running), document: self.document.clone() }
    }

    /// Whether it offers what was offered: the same instance, not started anew, with the same words.
    #[must_use]
    pub fn is_still(&self, offered: &Offered) -> bool {
        let said = match (&self.document, &offered.document) {
            (Some(now), Some(then)) => Arc::ptr_eq(now, then),
            (now, then) => now.is_none() && then.is_none(),
        };
        said && std::ptr::eq(Arc::as_ptr(&self.running), offered.running.as_ptr())
    }
}

impl Runtime {
    /// What every running instance of kind `plugin` offers, by name. One that does not answer in time says nothing.
    pub async fn offers(&self) -> Vec<InstanceOffers> {
        let plugins = self.0.all_running().into_iter().filter_map(|running| {
            let name = running.key.strip_prefix(PLUGIN)?.strip_prefix('/')?.to_owned();
            Some((name, running))
        });
        let offers = plugins.map(|(name, running)| async move {
            let (document, is_new) = self.said(&name, &running).await;
            InstanceOffers { name, document, is_new, running }
        });
        let mut offers = futures_util::future::join_all(offers).await;
        offers.sort_by(|one, other| one.name.cmp(&other.name));
        offers
    }

    /// What an instance says of its API, and whether it was asked for that just now.
    async fn said(&self, name: &str, running: &Running) -> (Option<Arc<Value>>, bool) {
        if !running.hooks.contains_key(OPENAPI) {
            return (None, false);
        }
        // Held while it is asked, so that it is asked once however many look.
        let mut said = running.describing.0.lock().await;
        if let Some(said) = said.as_ref().filter(|said| said.again.is_none_or(|again| again > Instant::now())) {
            return (said.document.clone(), false);
        }
        let arguments = json!({});
        let asked = self.ask(PLUGIN, name, Hook { table: OPENAPI, place: 0 }, &arguments);
        let now = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(document)) => Said { document: Some(Arc::new(document)), again: None },
            // Another module of its library has something to say.
            Ok(Err(HookError::Unsupported)) => Said { document: None, again: None },
            Ok(Err(error)) => {
                tracing::warn!(instance = running.key, "instance {} does not describe its API: {error}", running.key);
                Said { document: None, again: Some(Instant::now() + AGAIN) }
            }
            Err(_) => {
                let ms = PATIENCE.as_millis();
                tracing::warn!(instance = running.key, "instance {} did not describe its API in {ms} ms", running.key);
                Said { document: None, again: Some(Instant::now() + AGAIN) }
            }
        };
        let document = now.document.clone();
        *said = Some(now);
        (document, true)
    }
}

/// Who looks at the document does not wait for one instance longer than this.
const PATIENCE: Duration = Duration::from_secs(3);
/// One that failed is asked again after this.
const AGAIN: Duration = Duration::from_secs(60);
