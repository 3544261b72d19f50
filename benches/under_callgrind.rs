//! Porth with its child under callgrind: the parent as `porth serve` makes it, but for the command of the child.

use std::path::{Path, PathBuf};

use porth::config::{Config, ConfigError, Overrides};
use porth::supervisor::{Sources, Supervisor};

use crate::callgrind::under_callgrind;
use crate::{Result, servers};

/// The command that serves it.
pub(crate) const COMMAND: &str = "under-callgrind";

/// Serves what a configuration file says until it is asked to stop; callgrind writes to `output`.
pub(crate) fn serve(config: &str, output: &str) -> Result<()> {
    let (config, output) = (PathBuf::from(config), PathBuf::from(output));
    let read = move || -> std::result::Result<Config, ConfigError> {
        let overrides = Overrides { listen: Some(([127, 0, 0, 1], 0).into()), ..Overrides::default() };
        let mut config = Config::load(Some(&config), overrides)?;
        // Fifty times slower, it may seem to hang.
        config.limits.hang_ms = 0;
        Ok(config)
    };
    let command = move |_: &Path| {
        let mut child = servers::porth();
        child.arg("child");
        under_callgrind(&child, &output)
    };
    let config = read()?;
    Supervisor::new(config, Sources { config: Box::new(read), command: Box::new(command) })?.run()?;
    Ok(())
}
