//! Logging in, and what a session permits.
//!
//! Start at [`Access`], which puts together users, scopes, sessions and lock-out.

mod schemes;

use std::net::IpAddr;

use super::StoreError;
use super::audit::Audit;
use super::clients::{Client, Clients};
use super::lockout::{Attempt, Guesser, LockedOut, Lockout};
use super::login::{LoginSession, LoginSessions, Means, Origin, ProveError, Standing};
use super::passwords::PasswordError;
use super::schemes::{SchemeError, Schemes};
use super::scopes::{Scope, Scopes};
use super::users::{CheckError, PutUserError, Told, User, Users};

pub use self::schemes::{Offer, OfferedScheme, SchemeProof};

/// Who comes in, and where to. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    /// Everybody.
    pub users: Users,
    /// All scopes.
    pub scopes: Scopes,
    /// All log-in sessions.
    pub sessions: LoginSessions,
    /// Failed log-ins.
    pub lockout: Lockout,
    /// What there is beside the password.
    pub schemes: Schemes,
    /// What of all that administrators, their programs and plug-ins did.
    pub audit: Audit,
}

/// Why somebody was not logged in.
#[derive(Debug, thiserror::Error)]
pub enum LogInError {
    /// The name or the password is wrong, or the user is disabled; which of them is not told.
    #[error("the user name or the password is wrong")]
    Wrong,
    /// Too many failed before.
    #[error(transparent)]
    LockedOut(#[from] LockedOut),
    /// The password could not be compared.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The scheme brought no answer.
    #[error(transparent)]
    Scheme(#[from] SchemeError),
    /// The system gave no random bytes.
    #[error("the system has no random bytes: {0}")]
    Random(getrandom::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a password was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangePasswordError {
    /// The old one is another.
    #[error("it is not the password")]
    Wrong,
    /// Too many failed before.
    #[error(transparent)]
    LockedOut(#[from] LockedOut),
    /// The new one cannot be, or the user is gone.
    #[error(transparent)]
    Put(#[from] PutUserError),
}

/// A session with its current user, who is enabled.
#[derive(Clone, Debug, PartialEq)]
pub struct Present {
    /// The session.
    pub session: LoginSession,
    /// Its current user.
    pub user: User,
}

/// A scope that was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The scope.
    pub scope: Scope,
    /// What is proved of what it wants.
    pub standing: Standing,
    /// Whether the user has it at all.
    pub available: bool,
}

impl Access {
    /// Logs somebody in by name and password, in the session of the cookie or, where there is none, in a new one. Gives
    /// the session's cookie.
    ///
    /// # Errors
    /// [`LogInError`].
    pub async fn log_in(
        &self,
        cookie: Option<&str>,
        username: &str,
        password: &str,
        peer: Option<IpAddr>,
        user_agent: &str,
        now_ms: i64,
    ) -> Result<String, LogInError> {
        let told = self.told_by_password(username, password, peer.into(), now_ms).await?;
        let opened = self.proved(cookie, &told.id, Means::Password, peer, user_agent, now_ms).await?;
        // A change of the password ends the sessions that there are; one that came between comparing and proving missed this
        // one.
        if !self.users.is_still_told(username, &told).await? {
            if let Some(session) = self.sessions.find(&opened, now_ms).await? {
                self.sessions.leave(&session.id, &told.id).await?;
            }
            return Err(LogInError::Wrong);
        }
        Ok(opened)
    }

    /// The id of the user whom a name and a password tell, without a session: what fails counts for the lock-out of the name
    /// and of whoever guesses.
    ///
    /// # Errors
    /// [`LogInError`].
    pub async fn check_password(
        &self,
        username: &str,
        password: &str,
        guesser: Guesser<'_>,
        now_ms: i64,
    ) -> Result<String, LogInError> {
        Ok(self.told_by_password(username, password, guesser, now_ms).await?.id)
    }

    async fn told_by_password(
        &self,
        username: &str,
        password: &str,
        guesser: Guesser<'_>,
        now_ms: i64,
    ) -> Result<Told, LogInError> {
        let attempt = Attempt::new(username, guesser);
        if let Some(locked_out) = self.lockout.check(&attempt, now_ms).await? {
            return Err(locked_out.into());
        }
        let told = self.users.told(username, password).await?;
        let locked_out = match &told {
            Some(_) => self.lockout.succeeded(&attempt, now_ms).await?,
            None => self.lockout.failed(&attempt, now_ms).await?,
        };
        if let Some(locked_out) = locked_out {
            return Err(locked_out.into());
        }
        told.ok_or(LogInError::Wrong)
    }

    /// Of these scopes, those that a user has and that want nothing but, perhaps, the password.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn opened_by_password(&self, user: &User, scopes: &[String]) -> Result<Vec<String>, StoreError> {
        let mut opened = Vec::new();
        for scope in self.scopes_of(user, scopes).await? {
            if scope.groups.is_empty() {
                opened.push(scope.name);
            }
        }
        Ok(opened)
    }

    /// Of these scopes, those that a user has.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn scopes_of(&self, user: &User, scopes: &[String]) -> Result<Vec<Scope>, StoreError> {
        let mut found = Vec::new();
        for name in scopes.iter().filter(|name| user.scopes.contains(name)) {
            found.extend(self.scopes.get(name).await?);
        }
        Ok(found)
    }

    /// Stores what somebody proved, and gives the session's cookie.
    async fn proved(
        &self,
        cookie: Option<&str>,
        user_id: &str,
        means: Means<'_>,
        peer: Option<IpAddr>,
        user_agent: &str,
        now_ms: i64,
    ) -> Result<String, LogInError> {
        let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
        let origin = Origin { user_agent: user_agent.to_owned(), peer };
        let proved = self.sessions.prove(cookie, user_id, means, origin, now_ms).await;
        proved.map_err(|error| match error {
            ProveError::UserGone => LogInError::Wrong,
            ProveError::Random(error) => LogInError::Random(error),
            ProveError::Store(error) => error.into(),
        })
    }

    /// Changes a password for who knows the old one, and ends the sessions of the user but the one to keep. Wrong ones count as failed log-ins, so that a session that somebody
    /// got hold of is no way to guess.
    ///
    /// # Errors
    /// [`ChangePasswordError`].
    pub async fn change_password(
        &self,
        username: &str,
        old: &str,
        new: &str,
        keep_session: Option<&str>,
        peer: Option<IpAddr>,
        now_ms: i64,
    ) -> Result<(), ChangePasswordError> {
        let store = |error: StoreError| ChangePasswordError::Put(error.into());
        let attempt = Attempt::new(username, peer);
        if let Some(locked_out) = self.lockout.check(&attempt, now_ms).await.map_err(store)? {
            return Err(locked_out.into());
        }
        let changed = self.users.change_password(username, old, new, keep_session, now_ms).await?;
        let locked_out = match changed {
            true => self.lockout.succeeded(&attempt, now_ms).await,
            false => self.lockout.failed(&attempt, now_ms).await,
        };
        match locked_out.map_err(store)? {
            _ if changed => Ok(()),
            Some(locked_out) => Err(locked_out.into()),
            None => Err(ChangePasswordError::Wrong),
        }
    }

    /// The application that a client id and one of these secrets tell, if it is enabled. Failures lock who guesses only:
    /// whoever knows a client id must not be able to keep the application out.
    ///
    /// # Errors
    /// [`LogInError`], but never that the name is wrong.
    pub async fn check_client(
        &self,
        clients: &Clients,
        client_id: &str,
        secrets: &[String],
        guesser: Guesser<'_>,
        now_ms: i64,
    ) -> Result<Option<Client>, LogInError> {
        let attempt = Attempt::of_guesser(guesser);
        if let Some(locked_out) = self.lockout.check(&attempt, now_ms).await? {
            return Err(locked_out.into());
        }
        for secret in secrets {
            if let Some(client) = clients.check_secret(client_id, secret).await? {
                // Whoever guessed many at once was locked out meanwhile, and is told nothing.
                let locked_out = self.lockout.succeeded(&attempt, now_ms).await?;
                return locked_out.map_or(Ok(Some(client)), |locked_out| Err(locked_out.into()));
            }
        }
        self.lockout.failed(&attempt, now_ms).await?.map_or(Ok(None), |locked_out| Err(locked_out.into()))
    }

    /// The session of a cookie, if its current user may still log in.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn present(&self, cookie: &str, now_ms: i64) -> Result<Option<Present>, StoreError> {
        let Some(session) = self.sessions.find(cookie, now_ms).await? else { return Ok(None) };
        let user = self.users.get(session.current.username.as_str()).await?;
        // A name that was given anew meanwhile is somebody else's.
        let user = user.filter(|user| user.enabled && user.id == session.current.id);
        Ok(user.map(|user| Present { session, user }))
    }

    /// The users of a session who may still log in, the current one first, as they see themselves.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn users_of(&self, session: &LoginSession) -> Result<Vec<User>, StoreError> {
        let mut users = Vec::new();
        for member in std::iter::once(&session.current).chain(&session.others) {
            let user = self.users.profile(member.username.as_str()).await?;
            users.extend(user.filter(|user| user.enabled && user.id == member.id));
        }
        Ok(users)
    }

    /// Makes another user of a session its current one. False means that no such user is in it who may still log in.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn switch(&self, session: &LoginSession, username: &str) -> Result<bool, StoreError> {
        let Some(user) = self.users.get(username).await?.filter(|user| user.enabled) else { return Ok(false) };
        self.sessions.choose(&session.id, &user.id).await
    }

    /// Whether somebody is still the same, enabled, and has a scope; what was proved does not matter.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_scope(&self, user_id: &str, username: &str, scope: &str) -> Result<bool, StoreError> {
        let user = self.users.get(username).await?.filter(|user| user.id == user_id && user.enabled);
        Ok(user.is_some_and(|user| user.scopes.iter().any(|found| found == scope)))
    }

    /// Deletes sessions and counts of failures that are over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn purge(&self, now_ms: i64) -> Result<(), StoreError> {
        self.sessions.purge(now_ms).await?;
        self.lockout.purge(now_ms).await
    }

    /// How a session stands towards a scope. `None` means that there is no such scope.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn asked(&self, present: &Present, scope: &str, now_ms: i64) -> Result<Option<Asked>, StoreError> {
        let Present { session, user } = present;
        let Some(scope) = self.scopes.get(scope).await? else { return Ok(None) };
        let proofs = self.sessions.proofs(&session.id, &user.id).await?;
        let limits = self.limits_for(std::slice::from_ref(&scope)).await?;
        let standing = Standing::of(&scope, &proofs, &limits, now_ms);
        let available = user.scopes.contains(&scope.name);
        Ok(Some(Asked { scope, standing, available }))
    }

    /// Whether the current user of a session has a scope and has proved enough for it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn permits(&self, present: &Present, scope: &str, now_ms: i64) -> Result<bool, StoreError> {
        Ok(self.asked(present, scope, now_ms).await?.is_some_and(|asked| asked.permitted()))
    }
}

impl Asked {
    /// Whether the session may do what the scope is for.
    #[must_use]
    pub fn permitted(&self) -> bool {
        self.available && self.standing.enough
    }
}

impl From<CheckError> for LogInError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Password(error) => error.into(),
            CheckError::Store(error) => error.into(),
        }
    }
}
