//! `porth child`: the server itself, where the floors are put together, lowest first.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::{Failure, now_ms};
use crate::abi;
use crate::config::{Config, Limits};
use crate::domain::documents::{DocumentLimits, Documents};
use crate::domain::instances::Instances;
use crate::domain::keys::ApiKeys;
use crate::http::server::{Connections, serve_local, serve_tcp};
use crate::http::{self, App};
use crate::runtime::{self, Hooks, Libraries, Runtime, Watch};
use crate::store::Db;
use crate::supervisor::child::{Control, Handover};
use crate::supervisor::message;
use crate::telemetry;

/// Serves until the parent says otherwise. Never returns once it has a parent.
pub(super) fn run() -> Result<ExitCode, Failure> {
    let (control, handover) = Control::from_stdin(abi::fault::exit_now)?;
    telemetry::init().map_err(Failure::new)?;
    // Before any plug-in's code runs, so that whatever ends this process has a name.
    abi::fault::install(control.socket())?;
    abi::set_max_log_level(telemetry::max_level());
    let tokio =
        tokio::runtime::Builder::new_multi_thread().enable_all().on_thread_start(runtime::mark_worker).build()?;
    match tokio.block_on(serve(&control, handover)) {
        Ok(()) => control.leave(0),
        Err(failure) => {
            tracing::error!("{}", failure.message);
            control.leave(failure.code)
        }
    }
}

async fn serve(control: &Control, handover: Handover) -> Result<(), Failure> {
    let Handover { start, config, listeners, local, lock } = handover;
    let config = Arc::new(config);
    // None until the parent asks to finish, then how long that may take.
    let (drain, mut drained) = watch::channel(None);
    control.listen(move |deadline| {
        drain.send_replace(Some(deadline));
    })?;
    if config.limits.hang_ms > 0 {
        tokio::spawn(beat(control.clone(), Duration::from_millis(config.limits.hang_ms / 4)));
    }

    let db = Db::open(&config.database, &config.data, now_ms()).await.map_err(Failure::configuration)?;
    let start = from_parent(start);
    // Before the libraries are looked at, so that no change is missed.
    let watch = if config.watch { begin_watch(&config) } else { None };
    let libraries = Libraries::scan(&config, |file| start.keeps_closed(file)).await.map_err(Failure::configuration)?;
    let hooks = Hooks {
        on_lifted: {
            let control = control.clone();
            Box::new(move |instance: &str| {
                if let Err(error) = control.lifted(instance) {
                    tracing::warn!(%error, "the parent was not told that {instance} is lifted: {error}");
                }
            })
        },
        on_worn_out: Box::new(|_| {}),
    };
    let documents = Documents::new(db.clone(), document_limits(&config));
    tokio::spawn(runtime::purge_documents(documents.clone()));
    let runtime = Runtime::new(Arc::clone(&config), libraries, Instances::new(db.clone()), documents, hooks);
    runtime.start(&start, now_ms()).await.map_err(Failure::configuration)?;

    let app = App::new(config, runtime.clone(), ApiKeys::new(db.clone()));
    let router = http::router(&app);
    let connections = Connections::default();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        tokio::spawn(serve_tcp(listener, router.clone(), connections.clone()));
    }
    local.set_nonblocking(true)?;
    tokio::spawn(serve_local(UnixListener::from_std(local)?, router, connections.clone()));
    app.set_ready(true);
    control.ready()?;
    let watching = watch.map(|watch| watch.run(runtime.clone()));

    let deadline = drained.wait_for(Option::is_some).await?.unwrap_or_default();
    app.set_ready(false);
    drop(watching);
    let mut open = connections.drain(deadline).await;
    if open > 0 {
        // Endless streams end here, and what they have sent so far arrives.
        runtime.end_streams();
        open = connections.drain(STREAMS_END).await;
    }
    if open > 0 {
        tracing::warn!(open, "{open} connections were still open after {} ms", deadline.as_millis());
    }
    runtime.stop().await;
    db.close().await;
    drop(lock);
    Ok(())
}

/// How long the last bytes of a stream may take.
const STREAMS_END: Duration = Duration::from_millis(500);

fn document_limits(config: &Config) -> DocumentLimits {
    let Limits { documents_max, documents_bytes_max, document_bytes_max, .. } = config.limits;
    DocumentLimits { documents_max, documents_bytes_max, document_bytes_max }
}

/// Watches the plug-in directory. A server without it is only less convenient.
fn begin_watch(config: &Config) -> Option<Watch> {
    let watch = Watch::begin(&config.plugins);
    watch
        .inspect_err(|error| {
            let directory = config.plugins.display();
            tracing::warn!(%error, "the plug-in directory `{directory}` is not watched: {error}");
        })
        .ok()
}

/// What the parent says, in the runtime's words.
fn from_parent(start: message::Start) -> runtime::Start {
    let quarantine = start.quarantine.into_iter().map(|quarantined| runtime::Quarantined {
        instance: quarantined.instance,
        library: quarantined.library,
        reason: quarantined.reason,
    });
    let refused = start.refused.into_iter().map(|refused| (refused.library, refused.reason));
    runtime::Start {
        quarantine: quarantine.collect(),
        without_plugins: start.without_plugins,
        refused: refused.collect(),
    }
}

/// Tells the parent that this runtime still gets to its tasks.
async fn beat(control: Control, interval: Duration) {
    let mut interval = tokio::time::interval(interval);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        control.alive();
    }
}
