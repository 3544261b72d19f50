//! `porth child`: the server itself, where the floors are put together, lowest first.

use std::process::ExitCode;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::{Failure, now_ms};
use crate::abi::fault;
use crate::domain::instances::Instances;
use crate::store::Db;
use crate::supervisor::child::{Control, EXIT_CONFIGURATION, Handover};
use crate::telemetry;

/// Serves until the parent says otherwise. Never returns once it has a parent.
pub(super) fn run() -> Result<ExitCode, Failure> {
    let (control, handover) = Control::from_stdin(fault::exit_now)?;
    telemetry::init().map_err(Failure::new)?;
    fault::install(control.socket())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match runtime.block_on(serve(&control, handover)) {
        Ok(()) => control.leave(0),
        Err(failure) => {
            tracing::error!("{}", failure.message);
            control.leave(failure.code)
        }
    }
}

async fn serve(control: &Control, handover: Handover) -> Result<(), Failure> {
    let Handover { config, lock, .. } = handover;
    // None until the parent asks to finish, then how long that may take.
    let (drain, mut drained) = watch::channel(None);
    control.listen(move |deadline| {
        drain.send_replace(Some(deadline));
    })?;
    if config.limits.hang_ms > 0 {
        tokio::spawn(beat(control.clone(), Duration::from_millis(config.limits.hang_ms / 4)));
    }

    let db = Db::open(&config.database, &config.data, now_ms()).await.map_err(not_again)?;
    let instances = Instances::new(db.clone());
    instances.declare(&config.instances, now_ms()).await.map_err(not_again)?;

    control.ready()?;
    let _deadline = drained.wait_for(Option::is_some).await?;
    db.close().await;
    drop(lock);
    Ok(())
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

/// A failure that the next child would only repeat.
fn not_again(error: impl std::error::Error) -> Failure {
    Failure { code: EXIT_CONFIGURATION, message: error.to_string() }
}
