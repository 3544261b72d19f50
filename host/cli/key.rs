//! `porth key`: keys with which programs administer the server.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::output::Output;
use super::{Failure, Place, local, now_ms};
use crate::config::Config;
use crate::domain::keys::ApiKeys;
use crate::store::Db;
use crate::supervisor::{DataLock, LockError, local_path};

/// Makes a key: a running server does it, or this process, which then keeps one from starting meanwhile.
pub(super) fn new(name: &str, place: &Place, output: Output) -> Result<ExitCode, Failure> {
    let config = place.load(None, None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let key = match DataLock::take(&config.data) {
        Ok(lock) => {
            let key = runtime.block_on(in_store(&config, name))?;
            drop(lock);
            key
        }
        Err(in_use @ LockError::InUse { .. }) => runtime
            .block_on(in_server(&config, name))
            .map_err(|failure| Failure::new(format!("{in_use}, and {}", failure.message)))?,
        Err(other) => return Err(other.into()),
    };
    output.print(&json!({"key": key}), |_| println!("{key}"));
    Ok(ExitCode::SUCCESS)
}

async fn in_server(config: &Config, name: &str) -> Result<String, Failure> {
    let path = format!("/{}/local/key", config.api_prefix);
    let answer = local::post(&local_path(&config.data), &path, &json!({ "name": name })).await?;
    let key = answer.get("key").and_then(Value::as_str);
    Ok(key.ok_or_else(|| Failure::new("the server answers without a key"))?.to_owned())
}

async fn in_store(config: &Config, name: &str) -> Result<String, Failure> {
    let db = Db::open(&config.database, &config.data, now_ms()).await?;
    let made = ApiKeys::new(db.clone()).create(name, now_ms()).await;
    db.close().await;
    Ok(made?.key)
}
