//! The host without its parent, for callgrind: `porth child` put together from the same parts, lowest first.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use porth::config::{Config, Overrides};
use porth::domain::access::Access;
use porth::domain::clients::Clients;
use porth::domain::documents::{DocumentLimits, Documents};
use porth::domain::instances::Instances;
use porth::domain::keys::ApiKeys;
use porth::domain::leadership::LeaderToken;
use porth::domain::lockout::{Lockout, LockoutRules};
use porth::domain::login::LoginSessions;
use porth::domain::passwords::Passwords;
use porth::domain::scopes::Scopes;
use porth::domain::users::Users;
use porth::http::server::{Connections, serve_tcp};
use porth::http::{self, App};
use porth::runtime::{Hooks, Libraries, Runtime, Start, mark_worker, unmark_worker};
use porth::store::Db;
use porth::supervisor::DataLock;

use crate::{Result, callgrind};

/// The command that serves it.
pub(crate) const COMMAND: &str = "in-process";

/// Serves what a configuration file says until standard input ends; the first line of standard output is the address.
pub(crate) fn serve(config: &str) -> Result<()> {
    let config = Arc::new(Config::load(Some(Path::new(config)), Overrides::default())?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(mark_worker)
        .on_thread_stop(unmark_worker)
        .build()?;
    let _lock = DataLock::take_within(&config.data, Duration::from_secs(1))?;
    runtime.block_on(async {
        let db = Db::open(&config.database, &config.data, 0).await?;
        let libraries = Libraries::scan(&config, |_| None).await?;
        let hooks = Hooks { on_lifted: Box::new(|_| ()), on_worn_out: Box::new(|_| ()) };
        let passwords = Passwords::new(1, 1);
        let access = Access {
            users: Users::new(db.clone(), passwords.clone()),
            scopes: Scopes::new(db.clone()),
            sessions: LoginSessions::new(db.clone(), 1),
            lockout: Lockout::new(db.clone(), LockoutRules::default()),
        };
        let (_token, leadership) = LeaderToken::new(true);
        let limits = DocumentLimits { documents_max: 1, documents_bytes_max: 1, document_bytes_max: 1 };
        let documents = Documents::new(db.clone(), limits);
        let records = Instances::new(db.clone());
        let instances =
            Runtime::new(Arc::clone(&config), libraries, records, access.clone(), leadership, documents, hooks);
        instances.start(&Start::default(), 0).await?;
        let clients = Clients::new(db.clone(), passwords);
        let app = App::new(config, instances, ApiKeys::new(db), access, clients);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        tokio::spawn(serve_tcp(listener, http::router(&app), Connections::default()));
        Result::Ok(())
    })?;
    callgrind::obey()
}
