//! People whom instances keep: their records, and their identities at first sight.

use std::collections::HashMap;
use std::sync::Arc;

use super::{PutUserError, User, UserChange, Users, identity};
use crate::domain::back_ends::{BackEnd, BackEndError, Keeper, Reader, Record, Source, Sources, View, failed};
use crate::domain::departures;
use crate::domain::username::Username;
use crate::domain::{Page, StoreError, new_id, now_ms};
use crate::store::users as rows;
use crate::store::{Transaction, scopes};

/// A person, and who keeps them.
pub(super) struct Kept {
    pub(super) user: User,
    pub(super) readonly: bool,
    pub(super) back_end: Arc<dyn BackEnd>,
}

/// Where nobody was found.
#[derive(Default)]
pub(super) struct Nobody {
    /// The id of an identity of that name, which is nobody's any more.
    pub(super) stale: Option<String>,
    /// Somebody could not be asked.
    pub(super) failure: Option<StoreError>,
}

impl Users {
    /// Looks for a person whom the house's own database does not know.
    ///
    /// # Errors
    /// [`StoreError`]; also when the back end that the name belongs to does not answer.
    pub(super) async fn find_kept(
        &self,
        sources: &Sources,
        username: &Username,
        view: View,
    ) -> Result<Result<Kept, Nobody>, StoreError> {
        let mut nobody = Nobody::default();
        let known = rows::identity(&self.db, username.as_str()).await?;
        if let Some(known) = &known
            && let Some(source) = sources.find(&known.back_end)
        {
            match &source.keeper {
                Keeper::Instance(back_end) => {
                    if let Some(record) = ask(source, &**back_end, username, view).await? {
                        return Ok(Ok(kept(source, back_end, &known.id, username.clone(), record)?));
                    }
                }
                Keeper::Disabled => return Ok(Err(nobody)),
                // The record is gone, or is just being made.
                Keeper::Database => {}
            }
        }
        let home = known.as_ref().map(|known| known.back_end.as_str());
        nobody.stale = known.as_ref().map(|known| known.id.clone());
        for (source, back_end) in sources.instances().filter(|(source, _)| Some(source.name.as_str()) != home) {
            match ask(source, &**back_end, username, view).await {
                Ok(None) => {}
                Ok(Some(record)) => {
                    let left = self.free(username, nobody.stale.take()).await?;
                    if left.blocks {
                        nobody.failure = Some(StoreError::BackEnd {
                            back_end: source.name.clone(),
                            reason: format!(
                                "who had a name before is not forgotten everywhere yet: {}",
                                left.failures.join("; ")
                            ),
                        });
                        continue;
                    }
                    let Some(id) = self.meet(username, &source.name).await? else { continue };
                    return Ok(Ok(kept(source, back_end, &id, username.clone(), record)?));
                }
                Err(error) => nobody.failure = nobody.failure.or(Some(error)),
            }
        }
        Ok(Err(nobody))
    }

    /// The id of a person whom a back end knows, made if this is the first sight. `None` means that the name belongs to
    /// another, or could be taken for another's.
    pub(super) async fn meet(&self, username: &Username, back_end: &str) -> Result<Option<String>, StoreError> {
        let met = self.meet_all(std::slice::from_ref(username), back_end).await?.pop().flatten();
        Ok(met)
    }

    /// The same for several, at once.
    async fn meet_all(&self, usernames: &[Username], back_end: &str) -> Result<Vec<Option<String>>, StoreError> {
        let now_ms = now_ms();
        let named: Vec<_> = usernames.iter().map(|username| (username.clone(), new_id(now_ms))).collect();
        let meeting = Arc::new((named, back_end.to_owned()));
        let work = self.db.transaction(move |transaction| {
            let meeting = Arc::clone(&meeting);
            Box::pin(async move {
                let (named, back_end) = &*meeting;
                let mut met = Vec::with_capacity(named.len());
                for (username, id) in named {
                    met.push(meet(transaction, username, back_end, id, now_ms).await?);
                }
                Ok(met)
            })
        });
        let met: Vec<Option<String>> = work.await?;
        if met.iter().any(Option::is_none) {
            tracing::warn!(
                instance = back_end,
                "instance {back_end} knows a user whose name belongs to another or can be taken for another's"
            );
        }
        Ok(met)
    }

    /// A part of the people of a back end, with how many of them it gave; those whose names belong to others are left out.
    pub(super) async fn list_kept(
        &self,
        source: &Source,
        back_end: &Arc<dyn BackEnd>,
        page: &Page,
    ) -> Result<(usize, Vec<User>), StoreError> {
        let records = back_end.list(page).await.map_err(|error| failed(&source.name, &error))?;
        let given = records.len();
        let (mut known, mut unknown) = (HashMap::new(), Vec::new());
        let mut named = Vec::with_capacity(given);
        for record in records {
            let name = record.get("username").and_then(serde_json::Value::as_str).unwrap_or_default();
            let Ok(username) = Username::new(name) else {
                let name = &source.name;
                tracing::warn!(instance = name, "instance {name} keeps a user without a possible name");
                continue;
            };
            match rows::identity(&self.db, username.as_str()).await? {
                Some(identity) if identity.back_end == source.name => {
                    known.insert(username.clone(), identity.id);
                }
                // Who really has the name is found out when somebody asks for it.
                Some(_) => continue,
                None => unknown.push(username.clone()),
            }
            named.push((username, record));
        }
        if !unknown.is_empty() {
            let met = self.meet_all(&unknown, &source.name).await?;
            known.extend(unknown.into_iter().zip(met).filter_map(|(username, id)| Some((username, id?))));
        }
        let mut users = Vec::with_capacity(named.len());
        for (username, record) in named {
            // Somebody who is there twice is shown once.
            let Some(id) = known.remove(&username) else { continue };
            match read(&id, username, &source.name, record) {
                Ok(user) => users.push(user),
                Err(error) => tracing::warn!(instance = source.name, %error, "a user is left out of a list: {error}"),
            }
        }
        Ok((given, users))
    }

    /// Whether one of the first ten thousand of those whom an instance keeps may log in and has a scope.
    ///
    /// # Errors
    /// [`StoreError`]; also when an instance does not answer.
    pub(in crate::domain) async fn is_scope_kept(&self, scope: &str) -> Result<bool, StoreError> {
        for (source, back_end) in self.back_ends.users().instances() {
            for offset in (0..LOOKED_AT_MAX).step_by(PAGE as usize) {
                let page = Page { pattern: String::new(), offset, limit: PAGE };
                let records = back_end.list(&page).await.map_err(|error| failed(&source.name, &error))?;
                let has = |record: &Record| {
                    let scopes = record.get("scope").and_then(serde_json::Value::as_array);
                    record.get("enabled") != Some(&false.into())
                        && scopes.is_some_and(|scopes| scopes.iter().any(|found| found == scope))
                };
                if records.iter().any(has) {
                    return Ok(true);
                }
                if records.len() < PAGE as usize {
                    break;
                }
            }
        }
        Ok(false)
    }

    /// Which of some scopes do not exist, as errors.
    pub(super) async fn check_scopes(&self, names: &[String]) -> Result<(), PutUserError> {
        let names = Arc::new(names.to_vec());
        let work = self.db.transaction(move |transaction| {
            let names = Arc::clone(&names);
            Box::pin(async move { scopes::missing(transaction, &names).await })
        });
        let missing: Vec<String> = work.await?;
        if missing.is_empty() { Ok(()) } else { Err(PutUserError::Invalid(identity::missing_scopes(missing))) }
    }

    /// Takes back an identity whose person was not added.
    pub(super) async fn forget(&self, id: &str) -> Result<(), StoreError> {
        let id = Arc::new(id.to_owned());
        let work = self.db.transaction(move |transaction| {
            let id = Arc::clone(&id);
            Box::pin(async move { rows::forget(transaction, &id).await.map(drop) })
        });
        work.await
    }
}

impl Kept {
    /// Writes a change to who keeps the person.
    pub(super) async fn change(self, change: UserChange) -> Result<(), PutUserError> {
        let Self { mut user, back_end, .. } = self;
        user.name = change.name.unwrap_or(user.name);
        user.email = change.email.unwrap_or(user.email);
        user.enabled = change.enabled.unwrap_or(user.enabled);
        user.scopes = change.scopes.map_or(user.scopes, identity::distinct);
        user.properties.extend(change.properties);
        user.properties.retain(|_, value| !value.is_null());
        let mut record = write(&user);
        write_passwords(&mut record, change.password, change.passwords);
        let set = back_end.set(user.username.as_str(), &record).await;
        set.map_err(|error| refused(&user, error))
    }
}

const PAGE: u32 = 200;
const LOOKED_AT_MAX: u32 = 10_000;

/// What a back end said of a record to be stored.
pub(super) fn refused(user: &User, error: BackEndError) -> PutUserError {
    match error {
        BackEndError::Refused(errors) => PutUserError::Invalid(errors),
        BackEndError::NotFound => PutUserError::Unknown { username: user.username.to_string() },
        error @ BackEndError::Unsupported => PutUserError::Invalid(vec![format!("source: {error}")]),
        error @ BackEndError::Failed(_) => failed(&user.source, &error).into(),
    }
}

/// A person as the record that crosses the border.
pub(super) fn write(user: &User) -> Record {
    let mut record = user.properties.clone();
    record.insert("username".to_owned(), user.username.as_str().into());
    record.insert("name".to_owned(), user.name.as_str().into());
    record.insert("email".to_owned(), user.email.as_str().into());
    record.insert("scope".to_owned(), user.scopes.clone().into());
    record.insert("enabled".to_owned(), user.enabled.into());
    record
}

/// What becomes of the passwords, in the record that crosses the border.
pub(super) fn write_passwords(record: &mut Record, password: Option<String>, passwords: Option<Vec<String>>) {
    let password = passwords.map(serde_json::Value::from).or(password.map(serde_json::Value::from));
    record.extend(password.map(|password| ("password".to_owned(), password)));
}

/// The person of a record.
///
/// # Errors
/// What is wrong with the record.
pub(super) fn read(id: &str, username: Username, source: &str, record: Record) -> Result<User, StoreError> {
    let mut fields = Reader::new(record);
    let name = fields.text("name");
    let email = fields.text("email");
    let scopes = identity::distinct(fields.texts("scope").unwrap_or_default());
    let enabled = fields.flag("enabled").unwrap_or(true);
    let properties = fields.properties().map_err(|reason| {
        let reason = format!("{reason} (user `{username}`)");
        StoreError::BackEnd { back_end: source.to_owned(), reason }
    })?;
    Ok(User { id: id.to_owned(), username, name, email, scopes, enabled, source: source.to_owned(), properties })
}

/// What is given of a change, as a record.
pub(super) fn write_change(change: &UserChange) -> Record {
    let mut record = change.properties.clone();
    let mut put = |field: &str, value: Option<serde_json::Value>| {
        if let Some(value) = value {
            record.insert(field.to_owned(), value);
        }
    };
    put("name", change.name.clone().map(Into::into));
    put("email", change.email.clone().map(Into::into));
    put("scope", change.scopes.clone().map(Into::into));
    put("enabled", change.enabled.map(Into::into));
    record
}

/// The change of a record; the password is not in it.
pub(super) fn read_change(record: Record, password: Option<String>) -> Result<UserChange, StoreError> {
    let mut fields = Reader::new(record);
    let mut change = UserChange {
        name: fields.optional_text("name"),
        email: fields.optional_text("email"),
        password,
        scopes: fields.texts("scope"),
        enabled: fields.flag("enabled"),
        ..UserChange::default()
    };
    let malformed = |reason| StoreError::BackEnd { back_end: "user_middleware".to_owned(), reason };
    change.properties = fields.properties().map_err(malformed)?;
    Ok(change)
}

async fn ask(
    source: &Source,
    back_end: &dyn BackEnd,
    username: &Username,
    view: View,
) -> Result<Option<Record>, StoreError> {
    let record = back_end.get(username.as_str(), view).await.map_err(|error| failed(&source.name, &error))?;
    if let Some(record) = &record
        && let Some(name) = record.get("username")
        && name.as_str().and_then(|name| Username::new(name).ok()).as_ref() != Some(username)
    {
        let reason = format!("asked for the user `{username}`, it answered with {name}");
        return Err(StoreError::BackEnd { back_end: source.name.clone(), reason });
    }
    Ok(record)
}

fn kept(
    source: &Source,
    back_end: &Arc<dyn BackEnd>,
    id: &str,
    username: Username,
    record: Record,
) -> Result<Kept, StoreError> {
    let user = read(id, username, &source.name, record)?;
    Ok(Kept { user, readonly: source.readonly, back_end: Arc::clone(back_end) })
}

async fn meet(
    transaction: &Transaction<'_>,
    username: &Username,
    back_end: &str,
    id: &str,
    now_ms: i64,
) -> Result<Option<String>, StoreError> {
    if departures::blocks(transaction, username.as_str()).await? {
        return Ok(None);
    }
    let skeleton = username.skeleton();
    if rows::alike(transaction, &skeleton).await?.iter().any(|other| username.looks_like(other)) {
        return Ok(None);
    }
    if rows::insert_identity(transaction, id, username.as_str(), &skeleton, back_end, now_ms).await? {
        return Ok(Some(id.to_owned()));
    }
    let known = rows::identity_inside(transaction, username.as_str()).await?;
    Ok(known.filter(|known| known.back_end == back_end).map(|known| known.id))
}
