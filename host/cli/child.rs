//! `porth child`: the server itself, where the floors are put together, lowest first.

use std::process::ExitCode;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::Failure;
use crate::supervisor::child::{Control, Handover};
use crate::telemetry;

/// Serves until the parent says otherwise. Never returns once it has a parent.
pub(super) fn run() -> Result<ExitCode, Failure> {
    let (control, handover) = Control::from_stdin(std::process::exit)?;
    telemetry::init().map_err(Failure::new)?;
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

    control.ready()?;
    let _deadline = drained.wait_for(Option::is_some).await?;
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
