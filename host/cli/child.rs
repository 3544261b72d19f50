//! `porth child`: the server itself, where the floors are put together, lowest first.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::{CONFIG_VARIABLE, Failure, now_ms, services};
use crate::abi;
use crate::config::Config;
use crate::config::{Environment, Limits, Serves, Source};
use crate::domain::StoreError;
use crate::domain::access::Access;
use crate::domain::audit::Audit;
use crate::domain::departures::Departing;
use crate::domain::documents::{DocumentLimits, Documents};
use crate::domain::grants::Grants;
use crate::domain::instances::Instances;
use crate::domain::keys::ApiKeys;
use crate::domain::leadership::{LeaderToken, Leadership};
use crate::domain::setup::Setup;
use crate::http::server::{Connections, serve_local, serve_tcp};
use crate::http::{self, App, Edge, Entrance, Redirect, Serving};
use crate::runtime::{self, Hooks, Libraries, Runtime, Watch};
use crate::store::Db;
use crate::supervisor::child::{Control, Handover, Order};
use crate::supervisor::message;
use crate::supervisor::{self, DataLock};
use crate::telemetry;

/// Serves until the parent says otherwise. Never returns once it has a parent.
pub(super) fn run() -> Result<ExitCode, Failure> {
    let (control, handover) = Control::from_stdin(abi::fault::exit_now)?;
    // Otherwise `ps` shows what the parent started it by, which is no name.
    let _ = rustix::thread::set_name(c"porth");
    telemetry::init(&supervisor::log(&handover.config)).map_err(Failure::new)?;
    // Before any plug-in's code runs, so that whatever ends this process has a name.
    abi::fault::install(control.socket())?;
    abi::set_max_log_level(telemetry::max_level());
    let workers = std::thread::available_parallelism().map_or(2, usize::from) + runtime::RESERVE_WORKERS;
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .on_thread_start(runtime::mark_worker)
        .on_thread_stop(runtime::unmark_worker)
        .build()?;
    match tokio.block_on(serve(&control, handover, workers)) {
        Ok(()) => control.leave(0),
        Err(failure) => {
            tracing::error!("{}", failure.message);
            control.leave(failure.code)
        }
    }
}

async fn serve(control: &Control, handover: Handover, workers: usize) -> Result<(), Failure> {
    let takes_over = handover.start.take_over;
    let (server, accepting, mut drained) = match start(control, handover, workers).await {
        Ok(started) => started,
        // The other process goes on; the parent says why.
        Err(failure) if takes_over => {
            control.failed(&failure.message)?;
            control.leave(failure.code)
        }
        Err(failure) => return Err(failure),
    };
    control.ready()?;
    // Not earlier: what a request does before the parent knows that all libraries are open would be put down to opening them.
    for listener in accepting {
        tokio::spawn(listener);
    }
    let deadline = drained.wait_for(Option::is_some).await?.unwrap_or_default();
    server.finish(control, deadline).await;
    Ok(())
}

/// What serves.
struct Server {
    app: App,
    connections: Connections,
    runtime: Runtime,
    leadership: Leadership,
    watching: Option<JoinHandle<()>>,
    keys: ApiKeys,
    audit: Audit,
    db: Db,
    _lock: DataLock,
}

/// Starts everything, from the store to what accepts connections, which is to be spawned. Also gives where the parent's wish
/// to finish comes in, with the time that is left then.
async fn start(
    control: &Control,
    handover: Handover,
    workers: usize,
) -> Result<(Server, Vec<Accepting>, watch::Receiver<Option<Duration>>), Failure> {
    let Handover { start, must_run, config, listeners, local, lock } = handover;
    let config = Arc::new(config);
    let source = Source { file: config_file(), environment: Environment::of_process() };
    telemetry::process::set_child(start.generation, start.crashes);
    let (token, leadership) = LeaderToken::new(start.lead);
    let (go_on, taking_over) = watch::channel(false);
    let (orders, inbox) = mpsc::unbounded_channel();
    control.listen(move |order| {
        let _ = orders.send(order);
    })?;
    if config.limits.hang_ms > 0 {
        tokio::spawn(beat(control.clone(), Duration::from_millis(config.limits.hang_ms / 4)));
    }

    let serving = Serving::all(&config).map_err(Failure::configuration)?;
    // Whoever takes over may still be dropped, and then the other process and its program go on.
    let db = match must_run {
        None => Db::open(&config.database, &config.data, now_ms()).await,
        Some(_) => Db::open_unchanged(&config.database, &config.data).await,
    };
    let db = db.map_err(Failure::configuration)?;
    let first_child = start.generation <= 1;
    let start = from_parent(start);
    // Before the libraries are looked at, so that no change is missed.
    let watch = begin_watch(&config);
    let libraries = Libraries::scan(&config, |file| start.keeps_closed(file)).await.map_err(Failure::configuration)?;
    let records = Instances::new(db.clone());
    let documents = Documents::new(db.clone(), document_limits(&config));
    let (access, clients) = services::identity(&db, &config.login, &documents);
    tokio::spawn(runtime::purge_documents(documents.clone(), leadership.clone()));
    let runtime = Runtime::new(
        Arc::clone(&config),
        libraries,
        records,
        (access.clone(), clients.clone(), Grants::new(db.clone(), access.scopes.clone(), clients.clone())),
        leadership.clone(),
        documents,
        hooks(control),
    );
    let told = control.clone();
    runtime.watch_workers(workers, move |stuck| told.stuck(&stuck.instance, stuck.library.as_deref()))?;
    if config.limits.health_every_ms > 0 {
        runtime.watch_health(Duration::from_millis(config.limits.health_every_ms));
    }
    let (drain, drained) = watch::channel(None);
    let wishes = Wishes { token: Arc::new(token), take_over: go_on, drain };
    tokio::spawn(heed(control.clone(), inbox, wishes, runtime.clone()));
    let led = leadership.leads();
    match must_run {
        None => runtime.start(&start, now_ms()).await.map_err(Failure::configuration)?,
        Some(must_run) => {
            take_over(control, &runtime, taking_over, &start, &must_run, watch.as_ref()).await?;
        }
    }
    if !led {
        // Before anybody can reach an instance that did not run in the other process.
        runtime.see_off().await;
    }

    services::ensure_scopes(&access.scopes, &config).await.map_err(Failure::configuration)?;
    let services = services::services(&db, &config, source, access.clone(), clients);
    let retention_ms = i64::from(config.audit.retention_days) * 86_400_000;
    tokio::spawn(see_off(access.users.departing().clone(), services.setup.clone(), leadership.clone()));
    let audit = access.audit.clone();
    tokio::spawn(purge(access, services.keys.clone(), retention_ms, leadership.clone()));
    let (keys, setup) = (services.keys.clone(), services.setup.clone());
    let app = App::new(Arc::clone(&config), runtime.clone(), services);
    let connections = Connections::new(&config);
    let accepting = listen((&app, &config), &serving, listeners, local, &connections)?;
    app.set_listeners(serving)?;
    // A child that stands in for another finds the link that was printed.
    show_setup_link(&setup, &config, first_child).await;
    app.set_ready(true);
    let watching = watch
        .filter(|_| config.watch)
        .map(|watch| tokio::spawn(watch_while_leading(watch, config, runtime.clone(), leadership.clone())));
    Ok((Server { app, connections, runtime, leadership, watching, keys, audit, db, _lock: lock }, accepting, drained))
}

/// Accepts connections until they are drained.
type Accepting = futures_util::future::BoxFuture<'static, ()>;

/// What accepts at every listener and at the control socket.
fn listen(
    (app, config): (&App, &Arc<Config>),
    serving: &[Serving],
    listeners: Vec<std::net::TcpListener>,
    local: std::os::unix::net::UnixListener,
    connections: &Connections,
) -> Result<Vec<Accepting>, Failure> {
    let mut accepting: Vec<Accepting> = Vec::new();
    // Nearly always everything is answered at all of them.
    let mut routers = vec![(Serves::All, http::router(app, Serves::All))];
    let mut router = |serves| match routers.iter().find(|(served, _)| *served == serves) {
        Some((_, router)) => router.clone(),
        None => {
            let router = http::router(app, serves);
            routers.push((serves, router.clone()));
            router
        }
    };
    let is_https =
        |serving: &Serving| serving.certificate.is_some() && matches!(serving.serves, Serves::All | Serves::Public);
    let https = listeners.iter().zip(serving).find(|(_, serving)| is_https(serving));
    let https_port = https.and_then(|(listener, _)| Some(listener.local_addr().ok()?.port())).unwrap_or(443);
    for (listener, serving) in listeners.into_iter().zip(serving) {
        listener.set_nonblocking(true)?;
        let entrance = Entrance::new(serving)?;
        let listener = TcpListener::from_std(listener)?;
        if serving.serves == Serves::Redirect {
            let redirect = Edge::new(Redirect::new(config, https_port), Arc::clone(config)).without_hsts();
            accepting.push(Box::pin(serve_tcp(listener, entrance, serving.serves, redirect, connections.clone())));
            continue;
        }
        let router = router(serving.serves);
        accepting.push(Box::pin(serve_tcp(listener, entrance, serving.serves, router, connections.clone())));
    }
    local.set_nonblocking(true)?;
    accepting.push(Box::pin(serve_local(UnixListener::from_std(local)?, router(Serves::All), connections.clone())));
    Ok(accepting)
}

/// Initialises everything beside the process that serves, and waits until that one has resigned.
async fn take_over(
    control: &Control,
    runtime: &Runtime,
    mut taking_over: watch::Receiver<bool>,
    start: &runtime::Start,
    must_run: &[String],
    watch: Option<&Watch>,
) -> Result<(), Failure> {
    let prepared = runtime.prepare(start).await.map_err(Failure::configuration)?;
    // When the other one has died meanwhile, this one serves with what it has.
    let missing = runtime.missing(start, &prepared, must_run).await.map_err(Failure::configuration)?;
    if let Some(reason) = missing.filter(|_| !*taking_over.borrow()) {
        runtime.stop(Duration::ZERO).await;
        return Err(Failure::new(reason));
    }
    control.initialised()?;
    taking_over.wait_for(|go_on| *go_on).await?;
    let has_changed = !watch.is_some_and(Watch::is_quiet);
    runtime.catch_up(start, prepared, has_changed, now_ms()).await.map_err(Failure::configuration)
}

impl Server {
    /// Finishes what is under way and closes everything.
    async fn finish(self, control: &Control, deadline: Duration) {
        let ends = Instant::now() + deadline;
        // Unless another process has taken over: then the server as a whole is as ready as it was.
        if self.leadership.leads() {
            self.app.set_ready(false);
        }
        if let Some(watching) = &self.watching {
            watching.abort();
        }
        self.connections.drain().await;
        if let Err(error) = control.closed() {
            tracing::warn!(%error, "the parent was not told that nothing is accepted any more: {error}");
        }
        let mut open = self.connections.ended(deadline).await;
        if open > 0 {
            // Endless streams end here, and what they have sent so far arrives.
            self.runtime.end_streams();
            self.connections.end();
            open = self.connections.ended(STREAMS_END).await;
        }
        if open > 0 {
            tracing::warn!(open, "{open} connections were still open after {} ms", deadline.as_millis());
        }
        self.runtime.stop(ends.saturating_duration_since(Instant::now())).await;
        if let Err(error) = self.audit.tell_refusals(true, now_ms()).await {
            tracing::warn!(%error, "what was refused to plug-ins is not in the audit log: {error}");
        }
        if let Err(error) = self.keys.flush().await {
            tracing::warn!(%error, "the last uses of API keys were not stored: {error}");
        }
        self.db.close().await;
    }
}

/// Where what the parent wants goes.
struct Wishes {
    token: Arc<LeaderToken>,
    /// Catch up and accept.
    take_over: watch::Sender<bool>,
    /// Finish within this time.
    drain: watch::Sender<Option<Duration>>,
}

/// Does what the parent wants.
async fn heed(control: Control, mut orders: mpsc::UnboundedReceiver<Order>, wishes: Wishes, runtime: Runtime) {
    let Wishes { token, take_over, drain } = wishes;
    while let Some(order) = orders.recv().await {
        let told = match order {
            Order::Drain(deadline) => {
                drain.send_replace(Some(deadline));
                Ok(())
            }
            Order::TellRunning => control.running(&runtime.running()),
            Order::TakeOver => {
                take_over.send_replace(true);
                Ok(())
            }
            Order::Lead => {
                token.lead();
                // Nobody is left to take over from.
                take_over.send_replace(true);
                Ok(())
            }
            Order::Resign => {
                let (control, token) = (control.clone(), Arc::clone(&token));
                // May take as long as an `init` that is under way, and the parent may want something else meanwhile.
                tokio::spawn(async move {
                    token.resign().await;
                    control.resigned()
                });
                Ok(())
            }
        };
        if let Err(error) = told {
            tracing::warn!(%error, "the parent does not get its answer: {error}");
        }
    }
}

/// Loads what changes in the plug-in directory while this process leads.
async fn watch_while_leading(watch: Watch, config: Arc<Config>, runtime: Runtime, mut leadership: Leadership) {
    leadership.gained().await;
    let mut watching = watch.run(runtime.clone());
    loop {
        leadership.lost().await;
        drop(watching);
        leadership.gained().await;
        // The process that was to take over is gone, and nobody knows what of the directory it has seen.
        let Some(watch) = begin_watch(&config) else { return };
        if let Err(error) = runtime.rescan().await {
            tracing::warn!(%error, "the plug-in directory was not looked at: {error}");
        }
        watching = watch.run(runtime.clone());
    }
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

/// Prints the link for the first administrator, if one is needed. On standard output, since the log is for others, too.
async fn show_setup_link(setup: &Setup, config: &Config, first_child: bool) {
    match setup.open(first_child, now_ms()).await {
        Ok(None) => {}
        Ok(Some(token)) => {
            let mut output = std::io::stdout();
            let link = format!("{}/setup?token={token}", config.administration_url());
            // A server whose output nobody reads serves all the same.
            let _ =
                writeln!(output, "nobody administers yet; this link opens once: {link}").and_then(|()| output.flush());
        }
        Err(error) => tracing::warn!(%error, "no link for the first administrator was made: {error}"),
    }
}

/// Deletes now and then what is over, while this process leads.
async fn purge(access: Access, keys: ApiKeys, retention_ms: i64, leadership: Leadership) {
    let mut interval = tokio::time::interval(PURGE_EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if let Err(error) = access.audit.tell_refusals(false, now_ms()).await {
            tracing::warn!(%error, "what was refused to plug-ins is not in the audit log: {error}");
        }
        let Some(_lease) = leadership.begin() else { continue };
        let purged = async {
            access.purge(now_ms()).await?;
            keys.purge(now_ms()).await?;
            if retention_ms > 0 {
                access.audit.purge(retention_ms, now_ms()).await?;
            }
            Ok(())
        };
        match purged.await {
            Ok(()) => {}
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "what is over was not deleted: {error}"),
        }
    }
}

/// Tells those of people who are gone who were not told when they went, and closes the link that nobody needs any more, while
/// this process leads.
async fn see_off(departing: Departing, setup: Setup, leadership: Leadership) {
    let mut interval = tokio::time::interval(SEE_OFF_EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        // Two that tell the same do no harm: no lease, since whoever is told may take its time.
        if !leadership.leads() {
            continue;
        }
        if let Err(error) = setup.settle(now_ms()).await {
            tracing::warn!(%error, "the link for the first administrator may be open still: {error}");
        }
        match departing.work_off().await {
            Ok(()) => {}
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "nobody was told of those who are gone: {error}"),
        }
    }
}

/// The configuration file, which the parent names: what counts comes from the parent, but what the file says by now is
/// shown to administrators.
fn config_file() -> Option<PathBuf> {
    std::env::var_os(CONFIG_VARIABLE).filter(|file| !file.is_empty()).map(PathBuf::from)
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

/// What the parent gets to know of what happens in the runtime.
fn hooks(control: &Control) -> Hooks {
    let (lifting, worn_out) = (control.clone(), control.clone());
    let told = |told: std::io::Result<()>, what: &str| {
        if let Err(error) = told {
            tracing::warn!(%error, "the parent was not told that {what}: {error}");
        }
    };
    Hooks {
        on_lifted: Box::new(move |instance| told(lifting.lifted(instance), &format!("{instance} is lifted"))),
        on_worn_out: Box::new(move |reason| told(worn_out.recycle(reason), "this process is worn out")),
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

const PURGE_EVERY: Duration = Duration::from_secs(60);
const SEE_OFF_EVERY: Duration = Duration::from_secs(60);
