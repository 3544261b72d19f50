//! Logging in by schemes, and what a session may still be asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures_util::future::join_all;
use serde_json::Value;

use super::{Access, Asked, LogInError, Present};
use crate::domain::StoreError;
use crate::domain::lockout::Attempt;
use crate::domain::login::{Means, Proofs, Schemes as Limits, Standing};
use crate::domain::schemes::{AskError, CanUse, Scheme, SchemeError, Sent};
use crate::domain::scopes::Scope;
use crate::domain::username::Username;
use crate::domain::users::User;

/// A proof by a scheme.
#[derive(Clone, Copy, Debug)]
pub struct SchemeProof<'a> {
    /// Whose it is; none where the scheme is to tell.
    pub username: Option<&'a str>,
    /// The name of the scheme's module.
    pub module: &'a str,
    /// The name of the scheme's instance.
    pub scheme: &'a str,
    /// What the scheme checks, with where it comes from.
    pub sent: &'a Sent,
}

/// A scope with the schemes that somebody may prove for it.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The scope, and how the session stands towards it.
    pub asked: Asked,
    /// By group, those of its schemes that are enabled.
    pub schemes: BTreeMap<String, Vec<OfferedScheme>>,
}

/// A scheme that somebody may prove.
#[derive(Clone, Debug)]
pub struct OfferedScheme {
    /// The scheme.
    pub scheme: Scheme,
    /// Whether it is proved at present.
    pub proved: bool,
    /// Whether the user is registered with it.
    pub registered: bool,
}

impl Access {
    /// Logs somebody in by a scheme, as [`log_in`](Self::log_in) does by a password.
    ///
    /// # Errors
    /// [`LogInError`].
    pub async fn log_in_by_scheme(
        &self,
        cookie: Option<&str>,
        proof: SchemeProof<'_>,
        peer: Option<IpAddr>,
        user_agent: &str,
        now_ms: i64,
    ) -> Result<String, LogInError> {
        let scheme = self.schemes.find(Some(proof.module), proof.scheme).await?;
        let attempt = Attempt::by_scheme(proof.username, &scheme.name, peer);
        if let Some(locked_out) = self.lockout.check(&attempt, now_ms).await? {
            return Err(locked_out.into());
        }
        let told = match self.told(&scheme, proof).await {
            Ok(told) => told,
            Err(LogInError::Scheme(SchemeError::Ask(AskError::Unauthorized(_) | AskError::NotFound(_)))) => None,
            // As for somebody who does not exist, whom no scheme is asked about.
            Err(LogInError::Scheme(SchemeError::Ask(AskError::Invalid(_) | AskError::Conflict(_))))
                if proof.username.is_some() =>
            {
                None
            }
            // It is told what is wrong with it, and counts as a guess all the same.
            Err(error @ LogInError::Scheme(SchemeError::Ask(AskError::Invalid(_) | AskError::Conflict(_)))) => {
                return Err(self.lockout.failed(&attempt, now_ms).await?.map_or(error, LogInError::from));
            }
            Err(error) => return Err(error),
        };
        let locked_out = match &told {
            Some(_) => self.lockout.succeeded(&attempt, now_ms).await?,
            None => self.lockout.failed(&attempt, now_ms).await?,
        };
        if let Some(locked_out) = locked_out {
            return Err(locked_out.into());
        }
        let user = told.ok_or(LogInError::Wrong)?;
        let triggered = Attempt::of_trigger(proof.username, &scheme.name, peer);
        // Whoever comes in may begin as often again; where others have gone too far, they wait as all do.
        self.lockout.succeeded(&triggered, now_ms).await?;
        self.proved(cookie, &user.id, Means::Scheme(&scheme.name), peer, user_agent, now_ms).await
    }

    /// Whose proof it is, if they may log in.
    async fn told(&self, scheme: &Scheme, proof: SchemeProof<'_>) -> Result<Option<User>, LogInError> {
        let SchemeProof { username, sent, .. } = proof;
        let Some(username) = username else {
            let username = self.schemes.identify(scheme, sent).await.map_err(SchemeError::from)?;
            return Ok(self.enabled(&username).await?);
        };
        let Some(user) = self.enabled(username).await? else { return Ok(None) };
        self.schemes.validate(scheme, &user.username, sent).await.map_err(SchemeError::from)?;
        Ok(Some(user))
    }

    /// Begins a proof by a scheme: for a user, or for whoever the scheme will tell. Each counts, whatever comes of it, until
    /// the user has logged in by the scheme.
    ///
    /// # Errors
    /// [`LogInError`], the scheme's Unauthorized also for users who do not exist or may not log in.
    pub async fn trigger(
        &self,
        module: &str,
        scheme: &str,
        username: Option<&str>,
        sent: &Sent,
        peer: Option<IpAddr>,
        now_ms: i64,
    ) -> Result<Value, LogInError> {
        let scheme = self.schemes.find(Some(module), scheme).await?;
        let attempt = Attempt::of_trigger(username, &scheme.name, peer);
        if let Some(locked_out) = self.lockout.check(&attempt, now_ms).await? {
            return Err(locked_out.into());
        }
        // The one that reaches the limit is let through.
        self.lockout.failed(&attempt, now_ms).await?;
        let user = match username {
            None => None,
            Some(username) => {
                let user = self.enabled(username).await?;
                // As for one who is not registered.
                let nobody = || SchemeError::from(AskError::Unauthorized("no such user".to_owned()));
                Some(user.ok_or_else(nobody)?)
            }
        };
        match self.schemes.trigger(&scheme, user.as_ref(), sent).await {
            // As for one who does not exist.
            Err(AskError::NotFound(why)) if user.is_some() => {
                Err(SchemeError::from(AskError::Unauthorized(why)).into())
            }
            answer => Ok(answer.map_err(SchemeError::from)?),
        }
    }

    async fn enabled(&self, username: &str) -> Result<Option<User>, StoreError> {
        match self.users.get(username).await {
            Ok(user) => Ok(user.filter(|user| user.enabled)),
            // Which names a back end has that fails must not show.
            Err(error @ StoreError::BackEnd { .. }) => {
                tracing::warn!(%error, "a user was not looked up: {error}");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What somebody may prove for some scopes; without a session nothing is proved yet. `None` means that one of the
    /// scopes does not exist.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn offers(
        &self,
        present: Option<&Present>,
        scopes: &[String],
        now_ms: i64,
    ) -> Result<Option<Vec<Offer>>, StoreError> {
        let Some(found) = self.all(scopes).await? else { return Ok(None) };
        let proofs = match present {
            Some(Present { session, user }) => self.sessions.proofs(&session.id, &user.id).await?,
            None => Proofs::default(),
        };
        let limits = self.limits_for(&found).await?;
        let schemes = self.named_by(&found).await?;
        let registered = self.registered(present.map(|present| &present.user.username), schemes.values()).await;
        let offers = found.into_iter().map(|scope| {
            let standing = Standing::of(&scope, &proofs, &limits, now_ms);
            let offered = |(name, proved): &(String, bool)| {
                let (scheme, registered) = (schemes.get(name)?.clone(), registered.contains(name));
                Some(OfferedScheme { scheme, proved: *proved, registered })
            };
            let groups = standing.groups.iter();
            let groups = groups.map(|(group, members)| (group.clone(), members.iter().filter_map(offered).collect()));
            let groups = groups.collect();
            let available = present.is_some_and(|present| present.user.scopes.contains(&scope.name));
            Offer { asked: Asked { scope, standing, available }, schemes: groups }
        });
        Ok(Some(offers.collect()))
    }

    /// The schemes that a user's scopes name, with whether the user can prove something with them. Of one that does not
    /// answer that is unknown, and the log says why.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn schemes_of(&self, user: &User) -> Result<Vec<(Scheme, Option<CanUse>)>, StoreError> {
        let scopes = self.existing(&user.scopes).await?;
        let schemes: Vec<Scheme> = self.named_by(&scopes).await?.into_values().collect();
        let can_use = join_all(schemes.iter().map(|scheme| self.can_use(scheme, &user.username))).await;
        Ok(schemes.into_iter().zip(can_use).collect())
    }

    /// Counts a use of what the current user of a session has proved, if that is enough for all of these scopes and the
    /// user has them. False means that it is not; `None` that one of them does not exist.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn spend(&self, present: &Present, scopes: &[String], now_ms: i64) -> Result<Option<bool>, StoreError> {
        let Some(scopes) = self.all(scopes).await? else { return Ok(None) };
        if scopes.iter().any(|scope| !present.user.scopes.contains(&scope.name)) {
            return Ok(Some(false));
        }
        let limits = self.limits_for(&scopes).await?;
        self.sessions.spend(&present.session.id, &present.user.id, scopes, limits, now_ms).await.map(Some)
    }

    /// When the current user of a session last proved something that one of these scopes asks for, in seconds since 1970;
    /// 0 means never. A scope that does not exist asks for nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn age(&self, present: &Present, scopes: &[String]) -> Result<i64, StoreError> {
        let scopes = self.existing(scopes).await?;
        let proofs = self.sessions.proofs(&present.session.id, &present.user.id).await?;
        let password = proofs.password.filter(|_| scopes.iter().any(|scope| scope.password_required));
        let asked = names(&scopes);
        let by_schemes = proofs.schemes.iter().filter(|(scheme, _)| asked.contains(scheme.as_str()));
        let newest = by_schemes.map(|(_, proof)| *proof).chain(password).map(|proof| proof.proved_at_ms).max();
        Ok(newest.unwrap_or_default() / 1_000)
    }

    /// What the proofs are worth that these scopes ask for.
    pub(super) async fn limits_for(&self, scopes: &[Scope]) -> Result<Limits, StoreError> {
        // Most scopes ask for the password alone.
        if scopes.iter().all(|scope| scope.groups.is_empty()) { Ok(Limits::new()) } else { self.schemes.limits().await }
    }

    /// Those of the scopes that there are.
    async fn existing(&self, names: &[String]) -> Result<Vec<Scope>, StoreError> {
        let mut scopes = Vec::new();
        for name in names {
            scopes.extend(self.scopes.get(name).await?);
        }
        Ok(scopes)
    }

    /// All of the scopes; `None` when one of them does not exist.
    async fn all(&self, names: &[String]) -> Result<Option<Vec<Scope>>, StoreError> {
        let mut scopes = Vec::new();
        for name in names {
            let Some(scope) = self.scopes.get(name).await? else { return Ok(None) };
            scopes.push(scope);
        }
        Ok(Some(scopes))
    }

    /// The enabled schemes that scopes name, by name.
    async fn named_by(&self, scopes: &[Scope]) -> Result<BTreeMap<String, Scheme>, StoreError> {
        let names = names(scopes);
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let schemes = self.schemes.list().await?.into_iter().filter(|scheme| names.contains(scheme.name.as_str()));
        Ok(schemes.map(|scheme| (scheme.name.clone(), scheme)).collect())
    }

    /// The names of those schemes that a user is registered with.
    async fn registered<'a>(
        &self,
        username: Option<&Username>,
        schemes: impl Iterator<Item = &'a Scheme>,
    ) -> BTreeSet<String> {
        let Some(username) = username else { return BTreeSet::new() };
        let asked = schemes.map(|scheme| async move { (scheme, self.can_use(scheme, username).await) });
        let registered = join_all(asked).await.into_iter().filter(|(_, can_use)| *can_use == Some(CanUse::Registered));
        registered.map(|(scheme, _)| scheme.name.clone()).collect()
    }

    async fn can_use(&self, scheme: &Scheme, username: &Username) -> Option<CanUse> {
        let can_use = self.schemes.can_use(scheme, username).await;
        let name = &scheme.name;
        can_use
            .inspect_err(
                |error| tracing::warn!(scheme = name, %error, "scheme {name} does not say who can use it: {error}"),
            )
            .ok()
    }
}

/// The names of the schemes that scopes ask for.
fn names(scopes: &[Scope]) -> BTreeSet<&str> {
    scopes.iter().flat_map(|scope| scope.groups.values()).flat_map(|group| &group.schemes).map(String::as_str).collect()
}
