//! The session behind a request, as the host knows it.

use std::collections::BTreeMap;
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
///
/// ```
/// # use porth_plugin::prelude::*;
/// async fn greet(request: Request) -> Result<Response, Error> {
///     let user = request.session().user().await?; // None without a valid session
///     let name = user.map_or_else(|| "stranger".to_owned(), |user| user.username);
///     Ok(Response::text(format!("Hello, {name}")))
/// }
/// ```
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

/// How a session stands towards some scopes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Standing {
    /// The current user.
    pub user: User,
    /// What is missing, by scope; nothing when the session satisfies all.
    pub missing: BTreeMap<String, Missing>,
    /// What the host says about each scope, when it satisfies all.
    pub scope: Map<String, Value>,
}

/// What a session lacks for a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Missing {
    /// The user does not have the scope, or there is none: nothing helps that they could prove.
    Scope,
    /// The password, or a newer proof of it.
    Password,
    /// A scheme.
    Scheme,
}

#[derive(Deserialize)]
struct Answer {
    session: SessionRecord,
    #[serde(default)]
    missing: BTreeMap<String, Missing>,
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
    /// satisfied (see [`standing`](Self::standing)), and what else the host fails with.
    pub async fn check(self, scopes: &str) -> Result<SessionRecord, HostError> {
        let call = self.start(scopes)?;
        Ok(decode::<Answer>(&call.await.map_err(readable)?)?.session)
    }

    /// As [`check`](Self::check), but waits on this thread.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn check_blocking(self, scopes: &str) -> Result<SessionRecord, HostError> {
        Ok(decode::<Answer>(&self.start(scopes)?.wait().map_err(readable)?)?.session)
    }

    /// Who it is, and what they must still prove for `scopes` (separated by spaces): to send them where they can.
    ///
    /// ```
    /// # use porth_plugin::prelude::*;
    /// # use porth_plugin::Missing;
    /// async fn pay(request: Request) -> Result<Response, Error> {
    ///     let standing = request.session().standing("payments").await?;
    ///     match standing.missing.get("payments") {
    ///         None => Ok(Response::text(format!("{} pays", standing.user.username))),
    ///         Some(Missing::Scope) => Ok(Response::empty(403)), // nothing that they prove would help
    ///         Some(_) => Response::empty(303).with_header("location", "/login?scope=payments"),
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// [`HostError::NotFound`] for no such session, [`HostError::Unauthorized`] for no cookie, and what else the
    /// host fails with.
    pub fn standing(self, scopes: &str) -> Ask<Standing> {
        Ask::new(self.start(scopes), |answer| {
            let Answer { session, missing } = match answer {
                Ok(answer) => decode(&answer)?,
                Err(HostError::Unauthorized(detail)) => {
                    serde_json::from_str(&detail).map_err(|_| HostError::Unauthorized(detail))?
                }
                Err(error) => return Err(error),
            };
            Ok(Standing { user: session.user, missing, scope: session.scope })
        })
    }

    /// Counts a use of every proof that these scopes (separated by spaces) rely on: the proofs of a scheme count only as
    /// often as its administrator says. To be asked once for what the scopes were wanted for; of many that ask at once no
    /// more succeed than there are uses.
    ///
    /// # Errors
    /// [`HostError::NotFound`] for no such session, [`HostError::Unauthorized`] for no cookie or a scope that is
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
    /// [`HostError::NotFound`] for no such session, [`HostError::Unauthorized`] for no cookie, and what else the
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

/// The detail of a session that does not suffice, as a sentence.
fn readable(error: HostError) -> HostError {
    let HostError::Unauthorized(detail) = error else { return error };
    let Ok(Answer { missing, .. }) = serde_json::from_str(&detail) else { return HostError::Unauthorized(detail) };
    let wanting = missing.iter().map(|(scope, what)| match what {
        Missing::Scope => format!("{scope}: the user does not have it"),
        Missing::Password => format!("{scope}: the password is missing"),
        Missing::Scheme => format!("{scope}: a scheme is missing"),
    });
    HostError::Unauthorized(wanting.collect::<Vec<_>>().join("; "))
}

fn user_of(session: Result<SessionRecord, HostError>) -> Result<Option<User>, HostError> {
    match session {
        Ok(session) => Ok(Some(session.user)),
        Err(HostError::NotFound(_) | HostError::Unauthorized(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
