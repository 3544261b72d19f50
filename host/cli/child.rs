//! `porth child`: the server itself, where the floors are put together, lowest first.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::{Failure, now_ms};
use crate::abi;
use crate::domain::StoreError;
use crate::domain::access::Access;
use crate::domain::clients::Clients;
use crate::domain::instances::Instances;
use crate::domain::keys::ApiKeys;
use crate::domain::lockout::{Lockout, LockoutRules};
use crate::domain::login::LoginSessions;
use crate::domain::passwords::Passwords;
use crate::domain::scopes::Scopes;
use crate::domain::users::Users;
use crate::http::server::{Connections, serve_local, serve_tcp};
use crate::http::{self, App};
use crate::runtime::{self, Libraries, Runtime};
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
    let libraries = {
        let (config, refused) = (Arc::clone(&config), start.refused.clone());
        let refused =
            move |file: &str| refused.iter().find(|entry| entry.library == file).map(|entry| entry.reason.clone());
        tokio::task::spawn_blocking(move || Libraries::scan(&config, refused)).await?.map_err(Failure::configuration)?
    };
    let lifted = {
        let control = control.clone();
        move |instance: &str| {
            if let Err(error) = control.lifted(instance) {
                tracing::warn!(%error, "the parent was not told that {instance} is lifted: {error}");
            }
        }
    };
    let (access, clients) = identity(&db);
    let runtime = Runtime::new(Arc::clone(&config), libraries, Instances::new(db.clone()), access.clone(), lifted);
    runtime.start(&from_parent(start), now_ms()).await.map_err(Failure::configuration)?;

    for (scope, display_name) in [(&config.admin_scope, "Administration"), (&config.profile_scope, "One's own profile")]
    {
        access.scopes.ensure(scope, display_name).await.map_err(Failure::configuration)?;
    }
    tokio::spawn(purge(access.clone()));
    let app = App::new(config, runtime.clone(), ApiKeys::new(db.clone()), access, clients);
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

    let deadline = drained.wait_for(Option::is_some).await?.unwrap_or_default();
    app.set_ready(false);
    let open = connections.drain(deadline).await;
    if open > 0 {
        tracing::warn!(open, "{open} connections were still open after {} ms", deadline.as_millis());
    }
    runtime.stop().await;
    db.close().await;
    drop(lock);
    Ok(())
}

/// Everything that is known of people and applications.
fn identity(db: &Db) -> (Access, Clients) {
    // One processor stays free for everything that is no log-in.
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let passwords = Passwords::new(processors.saturating_sub(1), PASSWORDS_WAITING_MAX);
    let access = Access {
        users: Users::new(db.clone(), passwords.clone()),
        scopes: Scopes::new(db.clone()),
        sessions: LoginSessions::new(db.clone(), SESSION_LIFETIME_MS),
        lockout: Lockout::new(db.clone(), LockoutRules::default()),
    };
    (access, Clients::new(db.clone(), passwords))
}

/// Deletes now and then what is over.
async fn purge(access: Access) {
    let mut interval = tokio::time::interval(PURGE_EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        match access.purge(now_ms()).await {
            Ok(()) => {}
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "expired sessions were not deleted: {error}"),
        }
    }
}

/// What the parent says, in the runtime's words.
fn from_parent(start: message::Start) -> runtime::Start {
    let quarantine = start.quarantine.into_iter().map(|quarantined| runtime::Quarantined {
        instance: quarantined.instance,
        library: quarantined.library,
        reason: quarantined.reason,
    });
    runtime::Start { quarantine: quarantine.collect(), without_plugins: start.without_plugins }
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

/// How many log-ins may wait for their password's hash; more are told to come again.
const PASSWORDS_WAITING_MAX: usize = 256;
/// How long a log-in session lives after its last log-in: four weeks.
const SESSION_LIFETIME_MS: i64 = 28 * 86_400_000;
const PURGE_EVERY: Duration = Duration::from_secs(60);
