//! The session behind a request, as the host knows it.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::callbacks::{HostCall, decode};
use crate::documents::Ask;
use crate::host_error::HostError;
use crate::request::Request;

/// Asks the host for the session that a request's cookie belongs to.
///
/// Needs [`Right::Sessions`](crate::Right::Sessions): without it every question fails with [`HostError::Denied`]. Forms
/// that end in `_blocking` are for synchronous handlers on threads of their own; anywhere else they fail with
/// [`HostError::WouldBlock`].
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    request: &'a Request,
}

/// A valid session.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SessionRecord {
    /// The current user.
    pub user: User,
    /// What the host says about each scope that was asked for.
    #[serde(default)]
    pub scope: Map<String, Value>,
}

/// A user as the host shows it to this instance.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct User {
    /// The name that the user logs in with.
    pub username: String,
    /// Everything else: `name`, `email`, and what the user's back end adds.
    #[serde(flatten)]
    pub properties: Map<String, Value>,
}

#[derive(Deserialize)]
struct Answer {
    session: SessionRecord,
}

impl<'a> Session<'a> {
    pub(crate) const fn new(request: &'a Request) -> Self {
        Self { request }
    }

    /// The session's current user; `None` without a valid session.
    ///
    /// # Errors
    /// What the host fails with.
    pub async fn user(self) -> Result<Option<User>, HostError> {
        user_of(self.check("").await)
    }

    /// As [`user`](Self::user), but waits on this thread.
    ///
    /// # Errors
    /// What the host fails with.
    pub fn user_blocking(self) -> Result<Option<User>, HostError> {
        user_of(self.check_blocking(""))
    }

    /// The session, if it is valid and satisfies all `scopes` (separated by spaces).
    ///
    /// # Errors
    /// [`HostError::NotFound`] for no such session, [`HostError::Unauthorized`] for no cookie or a scope that is not
    /// satisfied, and what else the host fails with.
    pub async fn check(self, scopes: &str) -> Result<SessionRecord, HostError> {
        let call = self.start(scopes)?;
        Ok(decode::<Answer>(&call.await?)?.session)
    }

    /// As [`check`](Self::check), but waits on this thread.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn check_blocking(self, scopes: &str) -> Result<SessionRecord, HostError> {
        Ok(decode::<Answer>(&self.start(scopes)?.wait()?)?.session)
    }

    /// Counts a use of every proof that these scopes (separated by spaces) rely on: the proofs of a scheme count only as
    /// often as its administrator says. To be asked once for what the scopes were wanted for; of many that ask at once no
    /// more succeed than there are uses.
    ///
    /// # Errors
    /// [`HostError::NotFound`] for no such session or scope, [`HostError::Unauthorized`] for no cookie or a scope that is
    /// not satisfied, and what else the host fails with; then nothing is counted.
    pub fn used(self, scopes: &str) -> Ask<()> {
        // SAFETY: the handle is valid as long as the request, which is borrowed here.
        let call = unsafe { self.request.callbacks().trigger_session_used(self.request.handle(), scopes) };
        Ask::new(call, |answer| answer.map(drop))
    }

    /// When the session's user last proved something that one of these scopes (separated by spaces) asks for; `None` for
    /// never.
    ///
    /// # Errors
    /// [`HostError::NotFound`] for no such session or scope, [`HostError::Unauthorized`] for no cookie, and what else the
    /// host fails with.
    pub fn proved_at(self, scopes: &str) -> Ask<Option<SystemTime>> {
        // SAFETY: the handle is valid as long as the request, which is borrowed here.
        let call = unsafe { self.request.callbacks().get_session_age(self.request.handle(), scopes) };
        Ask::new(call, |answer| {
            let seconds: u64 = decode(&answer?)?;
            Ok((seconds > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
        })
    }

    fn start(self, scopes: &str) -> Result<HostCall, HostError> {
        // SAFETY: the handle is valid as long as the request, which is borrowed here.
        unsafe { self.request.callbacks().check_session_valid(self.request.handle(), scopes) }
    }
}

fn user_of(session: Result<SessionRecord, HostError>) -> Result<Option<User>, HostError> {
    match session {
        Ok(session) => Ok(Some(session.user)),
        Err(HostError::NotFound(_) | HostError::Unauthorized(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
