//! The services of the domain, put together the same way for the server and for a command that works without one.

use crate::config::{Config, Login, Source};
use crate::domain::access::Access;
use crate::domain::audit::Audit;
use crate::domain::clients::Clients;
use crate::domain::documents::Documents;
use crate::domain::grants::Grants;
use crate::domain::keys::ApiKeys;
use crate::domain::lockout::{Lockout, LockoutRules};
use crate::domain::login::LoginSessions;
use crate::domain::misc::Misc;
use crate::domain::passwords::Passwords;
use crate::domain::schemes::Schemes;
use crate::domain::scopes::{PutScopeError, Scopes};
use crate::domain::setup::Setup;
use crate::domain::store_meter::StoreMeter;
use crate::domain::users::Users;
use crate::http::Services;
use crate::store::Db;

/// Everything that is known of people and applications.
pub(super) fn identity(db: &Db, login: &Login, documents: &Documents) -> (Access, Clients) {
    // One processor stays free for everything that is no log-in.
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let passwords = Passwords::new(processors.saturating_sub(1), login.passwords_waiting_max);
    let rules = LockoutRules {
        name_failures_max: login.name_failures_max,
        name_lock_ms: milliseconds(login.name_lock_s),
        peer_failures_max: login.peer_failures_max,
        peer_window_ms: milliseconds(login.peer_window_s),
    };
    let access = Access {
        users: Users::new(db.clone(), passwords.clone()),
        scopes: Scopes::new(db.clone()),
        sessions: LoginSessions::new(db.clone(), milliseconds(login.session_lifetime_s)),
        lockout: Lockout::new(db.clone(), rules),
        schemes: Schemes::new(db.clone()),
        audit: Audit::new(db.clone()),
    };
    access.users.departing().connect_documents(documents.clone());
    let clients = Clients::new(db.clone(), passwords).of(access.users.back_ends().clone());
    (access, clients)
}

/// What the routes ask.
pub(super) fn services(db: &Db, config: &Config, source: Source, access: Access, clients: Clients) -> Services {
    Services {
        keys: ApiKeys::new(db.clone()),
        grants: Grants::new(db.clone(), access.scopes.clone(), clients.clone()),
        misc: Misc::new(db.clone()),
        setup: Setup::new(db.clone(), access.users.clone(), config.admin_scope.clone()),
        store: StoreMeter::new(db.clone()),
        access,
        clients,
        source,
    }
}

/// Adds the scopes that the house itself needs.
pub(super) async fn ensure_scopes(scopes: &Scopes, config: &Config) -> Result<(), PutScopeError> {
    for (scope, display_name) in [(&config.admin_scope, "Administration"), (&config.profile_scope, "One's own profile")]
    {
        scopes.ensure(scope, display_name).await?;
    }
    Ok(())
}

fn milliseconds(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX)
}
