//! Log-in sessions: who has proved to be whom, by what, and when.
//!
//! Start at [`LoginSessions`]. A session is told by its cookie, 256 random bits of which only the SHA-256 is kept; the
//! bits are always made here, never taken from a request. Several users may share a session; the one chosen last is the
//! current one. [`Standing`] decides when a session is enough for a scope.

mod enough;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

pub use self::enough::{Proof, Proofs, SchemeLimits, Schemes, Standing};
use super::scopes::Scope;
use super::username::Username;
use super::{StoreError, new_id};
use crate::store::login_sessions::{self as rows, ProofRow, SessionRow};
use crate::store::{Db, Transaction};

/// A session that has not expired. It has at least one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginSession {
    /// What the house calls it; opens nothing.
    pub id: String,
    /// The current user.
    pub current: SessionUser,
    /// The others, the one chosen last first.
    pub others: Vec<SessionUser>,
}

/// A user of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionUser {
    /// The user's id.
    pub id: String,
    /// The user's name.
    pub username: Username,
}

/// A session as its user sees it among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEntry {
    /// What it is ended by; opens nothing.
    pub id: String,
    /// What the browser said of itself.
    pub user_agent: String,
    /// The address that it was made from.
    pub peer: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// When its user proved something there last, in milliseconds since 1970.
    pub proved_at_ms: i64,
    /// When it ends by itself, in milliseconds since 1970.
    pub expires_at_ms: i64,
}

/// What was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means<'a> {
    /// The password.
    Password,
    /// A scheme, by the name of its instance.
    Scheme(&'a str),
}

/// Where a log-in comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// What the browser says of itself.
    pub user_agent: String,
    /// The address.
    pub peer: String,
}

/// Why a proof was not stored.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The user went meanwhile.
    #[error("the user was deleted meanwhile")]
    UserGone,
    /// The system gave no random bytes.
    #[error("the system has no random bytes: {0}")]
    Random(getrandom::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All log-in sessions.
#[derive(Clone)]
pub struct LoginSessions {
    db: Db,
    lifetime_ms: i64,
}

impl LoginSession {
    /// The user of a name in any spelling.
    #[must_use]
    pub fn user(&self, username: &str) -> Option<&SessionUser> {
        let username = Username::new(username).ok()?;
        std::iter::once(&self.current).chain(&self.others).find(|user| user.username == username)
    }
}

impl LoginSessions {
    /// The sessions in a database. Each lives so many milliseconds from the last proof.
    #[must_use]
    pub fn new(db: Db, lifetime_ms: i64) -> Self {
        Self { db, lifetime_ms }
    }

    /// The session of a cookie.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(&self, cookie: &str, now_ms: i64) -> Result<Option<LoginSession>, StoreError> {
        let Some(hash) = hash(cookie) else { return Ok(None) };
        let mut id = String::new();
        let mut users = Vec::new();
        for row in rows::find(&self.db, &hash, now_ms).await? {
            id = row.session_id;
            users.push(SessionUser { id: row.user_id, username: Username::from_stored(row.username) });
        }
        let mut users = users.into_iter();
        Ok(users.next().map(|current| LoginSession { id, current, others: users.collect() }))
    }

    /// Stores that a user proved something, in the session of the cookie or, where there is none, in a new one. The user
    /// is the current one then. Gives the session's cookie: the same for a session that there was.
    ///
    /// # Errors
    /// [`ProveError`].
    pub async fn prove(
        &self,
        cookie: Option<&str>,
        user_id: &str,
        means: Means<'_>,
        origin: Origin,
        now_ms: i64,
    ) -> Result<String, ProveError> {
        let old = cookie.and_then(|cookie| Some((cookie.to_owned(), hash(cookie)?)));
        let (new_cookie, new_hash) = new_cookie().map_err(ProveError::Random)?;
        let (id, expires_at) = (new_id(now_ms), now_ms.saturating_add(self.lifetime_ms));
        let Origin { user_agent, peer } = origin;
        let user_agent = user_agent.chars().filter(|found| !found.is_control()).take(USER_AGENT_CHARS_MAX).collect();
        let row = SessionRow { id, user_agent, peer, created_at: now_ms, expires_at };
        let scheme = match means {
            Means::Password => PASSWORD,
            Means::Scheme(name) => name,
        };
        let proof = Arc::new((old, new_cookie, new_hash, row, user_id.to_owned(), scheme.to_owned()));
        let work = self.db.transaction(move |transaction| {
            let proof = Arc::clone(&proof);
            Box::pin(async move {
                let (old, new_cookie, new_hash, row, user_id, scheme) = &*proof;
                let mut found = None;
                if let Some((cookie, hash)) = old {
                    found = rows::find_id(transaction, hash, now_ms).await?.map(|id| (id, cookie));
                }
                let (id, cookie) = match found {
                    Some(found) => found,
                    None => {
                        rows::insert(transaction, new_hash, row).await?;
                        (row.id.clone(), new_cookie)
                    }
                };
                rows::prove(transaction, &id, user_id, scheme, now_ms, row.expires_at).await?;
                Ok(cookie.clone())
            })
        });
        work.await.map_err(|error| match error {
            StoreError::Reference(_) => ProveError::UserGone,
            error => error.into(),
        })
    }

    /// Gives a session another cookie; the old one opens nothing any more. `None` means that there is no such session.
    ///
    /// # Errors
    /// [`ProveError`].
    pub async fn renew(&self, cookie: &str, now_ms: i64) -> Result<Option<String>, ProveError> {
        let Some(old) = hash(cookie) else { return Ok(None) };
        let (cookie, new) = new_cookie().map_err(ProveError::Random)?;
        Ok(rows::exchange_cookie(&self.db, &old, &new, now_ms).await?.then_some(cookie))
    }

    /// Makes a user of a session its current one. False means that the session has no such user.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn choose(&self, session_id: &str, user_id: &str) -> Result<bool, StoreError> {
        rows::choose(&self.db, session_id, user_id).await
    }

    /// Logs a user out of a session, which ends with its last user. False means that the session has no such user.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn leave(&self, session_id: &str, user_id: &str) -> Result<bool, StoreError> {
        rows::leave(&self.db, session_id, user_id).await
    }

    /// Ends a session. False means that there was none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end(&self, session_id: &str) -> Result<bool, StoreError> {
        rows::delete(&self.db, session_id).await
    }

    /// The sessions that a user is in, in the order they were made.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn of_user(&self, user_id: &str, now_ms: i64) -> Result<Vec<SessionEntry>, StoreError> {
        let entry = |(row, proved_at_ms): (SessionRow, i64)| SessionEntry {
            proved_at_ms,
            id: row.id,
            user_agent: row.user_agent,
            peer: row.peer,
            created_at_ms: row.created_at,
            expires_at_ms: row.expires_at,
        };
        Ok(rows::list_of_user(&self.db, user_id, now_ms).await?.into_iter().map(entry).collect())
    }

    /// What a user has proved in a session.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn proofs(&self, session_id: &str, user_id: &str) -> Result<Proofs, StoreError> {
        Ok(read(rows::proofs(&self.db, session_id, user_id).await?))
    }

    /// Counts a use of every proof that these scopes rely on, if what the user has proved is enough for all of them.
    /// False means that it is not, and then nothing is counted. Of several at once only so many get true as the proofs
    /// allow uses.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn spend(
        &self,
        session_id: &str,
        user_id: &str,
        scopes: Vec<Scope>,
        schemes: Schemes,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let asked = Arc::new((session_id.to_owned(), user_id.to_owned(), scopes, schemes));
        let work = self.db.transaction(move |transaction| {
            let asked = Arc::clone(&asked);
            Box::pin(async move {
                let (session_id, user_id, scopes, schemes) = &*asked;
                spend(transaction, session_id, user_id, scopes, schemes, now_ms).await
            })
        });
        work.await
    }

    /// Deletes the sessions that have expired.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn purge(&self, now_ms: i64) -> Result<(), StoreError> {
        while rows::purge(&self.db, now_ms).await? > 0 {}
        Ok(())
    }
}

async fn spend(
    transaction: &Transaction<'_>,
    session_id: &str,
    user_id: &str,
    scopes: &[Scope],
    schemes: &Schemes,
    now_ms: i64,
) -> Result<bool, StoreError> {
    let proofs = read(rows::proofs_inside(transaction, session_id, user_id).await?);
    let standings: Vec<_> = scopes.iter().map(|scope| Standing::of(scope, &proofs, schemes, now_ms)).collect();
    if standings.iter().any(|standing| !standing.enough) {
        return Ok(false);
    }
    // A proof that several groups or scopes rely on is used once.
    let used: std::collections::BTreeSet<_> = standings.iter().flat_map(Standing::relied_on).collect();
    for scheme in used {
        rows::count_use(transaction, session_id, user_id, scheme).await?;
    }
    Ok(true)
}

fn read(rows: Vec<ProofRow>) -> Proofs {
    let mut proofs = Proofs::default();
    for ProofRow { scheme, proved_at, use_count } in rows {
        let proof = Proof { proved_at_ms: proved_at, use_count };
        if scheme == PASSWORD {
            proofs.password = Some(proof);
        } else {
            proofs.schemes.insert(scheme, proof);
        }
    }
    proofs
}

/// The hash of what can be a cookie of ours.
fn hash(cookie: &str) -> Option<[u8; 32]> {
    (cookie.len() == COOKIE_CHARS).then(|| Sha256::digest(cookie).into())
}

/// A new cookie with its hash.
fn new_cookie() -> Result<(String, [u8; 32]), getrandom::Error> {
    let mut bytes = [0; COOKIE_BYTES];
    getrandom::fill(&mut bytes)?;
    let cookie = URL_SAFE_NO_PAD.encode(bytes);
    let hash = Sha256::digest(&cookie).into();
    Ok((cookie, hash))
}

/// What stands for the password among the names of schemes; no instance has an empty name.
const PASSWORD: &str = "";
const COOKIE_BYTES: usize = 32;
const COOKIE_CHARS: usize = 43;
const USER_AGENT_CHARS_MAX: usize = 256;
