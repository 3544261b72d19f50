//! Applications that instances keep: their records, and their identities at first sight.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Client, ClientDetails, ClientSecrets, Clients, PutClientError, SecretChange, identity};
use crate::domain::back_ends::{BackEnd, BackEndError, Keeper, Reader, Record, Source, Sources, View, failed};
use crate::domain::{Page, StoreError, new_id, now_ms};
use crate::store::clients as rows;
use crate::store::{Transaction, scopes};

/// An application, and who keeps it.
pub(super) struct Kept {
    pub(super) client: Client,
    pub(super) readonly: bool,
    pub(super) back_end: Arc<dyn BackEnd>,
}

/// Where nothing was found.
#[derive(Default)]
pub(super) struct Nobody {
    /// The id of an identity of that client id, which is nobody's any more.
    pub(super) stale: Option<String>,
    /// Somebody could not be asked.
    pub(super) failure: Option<StoreError>,
}

impl Clients {
    /// Looks for an application that the house's own database does not know.
    ///
    /// # Errors
    /// [`StoreError`]; also when the back end that the client id belongs to does not answer.
    pub(super) async fn find_kept(
        &self,
        sources: &Sources,
        client_id: &str,
    ) -> Result<Result<Kept, Nobody>, StoreError> {
        let mut nobody = Nobody::default();
        let known = rows::identity(&self.db, client_id).await?;
        if let Some((id, home)) = &known
            && let Some(source) = sources.find(home)
        {
            match &source.keeper {
                Keeper::Instance(back_end) => {
                    if let Some(record) = ask(source, &**back_end, client_id).await? {
                        return Ok(Ok(kept(source, back_end, id, record)?));
                    }
                }
                Keeper::Disabled => return Ok(Err(nobody)),
                // The record is gone, or is just being made.
                Keeper::Database => {}
            }
        }
        let (stale, home) = known.unzip();
        nobody.stale = stale;
        for (source, back_end) in sources.instances().filter(|(source, _)| Some(&source.name) != home.as_ref()) {
            match ask(source, &**back_end, client_id).await {
                Ok(None) => {}
                Ok(Some(record)) => {
                    let Some(id) = self.meet(client_id, &source.name, nobody.stale.take()).await? else { continue };
                    return Ok(Ok(kept(source, back_end, &id, record)?));
                }
                Err(error) => nobody.failure = nobody.failure.or(Some(error)),
            }
        }
        Ok(Err(nobody))
    }

    /// The id of an application that a back end knows, made if this is the first sight. `None` means that the client id
    /// belongs to another.
    pub(super) async fn meet(
        &self,
        client_id: &str,
        back_end: &str,
        stale: Option<String>,
    ) -> Result<Option<String>, StoreError> {
        Ok(self.meet_all(&[client_id.to_owned()], back_end, stale).await?.pop().flatten())
    }

    /// The same for several, at once.
    async fn meet_all(
        &self,
        client_ids: &[String],
        back_end: &str,
        stale: Option<String>,
    ) -> Result<Vec<Option<String>>, StoreError> {
        let now_ms = now_ms();
        let named: Vec<_> = client_ids.iter().map(|client_id| (client_id.clone(), new_id(now_ms))).collect();
        let meeting = Arc::new((named, back_end.to_owned(), stale));
        let work = self.db.transaction(move |transaction| {
            let meeting = Arc::clone(&meeting);
            Box::pin(async move {
                let (named, back_end, stale) = &*meeting;
                if let Some(stale) = stale {
                    rows::forget(transaction, stale).await?;
                }
                let mut met = Vec::with_capacity(named.len());
                for (client_id, id) in named {
                    met.push(meet(transaction, client_id, back_end, id, now_ms).await?);
                }
                Ok(met)
            })
        });
        work.await
    }

    /// A part of the applications of a back end, with how many of them it gave; those whose client ids belong to others are
    /// left out.
    pub(super) async fn list_kept(
        &self,
        source: &Source,
        back_end: &Arc<dyn BackEnd>,
        page: &Page,
    ) -> Result<(usize, Vec<Client>), StoreError> {
        let records = back_end.list(page).await.map_err(|error| failed(&source.name, &error))?;
        let given = records.len();
        let (mut known, mut unknown) = (HashMap::new(), Vec::new());
        let mut named = Vec::with_capacity(given);
        for record in records {
            let client_id = record.get("client_id").and_then(Value::as_str).unwrap_or_default().to_owned();
            if client_id.is_empty() || client_id.contains('\0') {
                let name = &source.name;
                tracing::warn!(instance = name, "instance {name} keeps a client without a possible client id");
                continue;
            }
            match rows::identity(&self.db, &client_id).await? {
                Some((id, home)) if home == source.name => {
                    known.insert(client_id.clone(), id);
                }
                // Who really has the client id is found out when somebody asks for it.
                Some(_) => continue,
                None => unknown.push(client_id.clone()),
            }
            named.push((client_id, record));
        }
        if !unknown.is_empty() {
            let met = self.meet_all(&unknown, &source.name, None).await?;
            known.extend(unknown.into_iter().zip(met).filter_map(|(client_id, id)| Some((client_id, id?))));
        }
        let mut clients = Vec::with_capacity(named.len());
        for (client_id, record) in named {
            // What is there twice is shown once.
            let Some(id) = known.remove(&client_id) else { continue };
            match read(&id, &source.name, record) {
                Ok(client) => clients.push(client),
                Err(error) => tracing::warn!(instance = source.name, %error, "a client is left out of a list: {error}"),
            }
        }
        Ok((given, clients))
    }

    /// Refuses scopes that do not exist.
    pub(super) async fn check_scopes(&self, names: &[String]) -> Result<(), PutClientError> {
        let names = Arc::new(names.to_vec());
        let work = self.db.transaction(move |transaction| {
            let names = Arc::clone(&names);
            Box::pin(async move { scopes::missing(transaction, &names).await })
        });
        let missing: Vec<String> = work.await?;
        if missing.is_empty() { Ok(()) } else { Err(PutClientError::Invalid(identity::missing_scopes(missing))) }
    }

    /// Takes back an identity whose application was not added.
    pub(super) async fn forget(&self, id: &str) -> Result<(), StoreError> {
        let id = Arc::new(id.to_owned());
        let work = self.db.transaction(move |transaction| {
            let id = Arc::clone(&id);
            Box::pin(async move { rows::forget(transaction, &id).await })
        });
        work.await
    }
}

/// What a back end said of a record to be stored.
pub(super) fn refused(back_end: &str, client_id: &str, error: BackEndError) -> PutClientError {
    match error {
        BackEndError::Refused(errors) => PutClientError::Invalid(errors),
        BackEndError::NotFound => PutClientError::Unknown { client_id: client_id.to_owned() },
        error @ BackEndError::Unsupported => PutClientError::Invalid(vec![format!("source: {error}")]),
        error @ BackEndError::Failed(_) => failed(back_end, &error).into(),
    }
}

/// An application as the record that crosses the border, with what becomes of its secrets.
pub(super) fn write(details: ClientDetails, secrets: ClientSecrets) -> Record {
    let mut record = details.properties;
    record.retain(|_, value| !value.is_null());
    let mut put = |field: &str, value: Value| record.insert(field.to_owned(), value);
    put("client_id", details.client_id.into());
    put("name", details.name.into());
    put("description", details.description.into());
    put("confidential", details.confidential.into());
    put("authorization_type", identity::distinct(details.authorization_types).into());
    put("redirect_uri", identity::distinct(details.redirect_uris).into());
    put("scope", identity::distinct(details.scopes).into());
    put("enabled", details.enabled.into());
    for (field, change) in [("password", secrets.password), ("client_secret", secrets.secret)] {
        match change {
            SecretChange::Keep => None,
            SecretChange::Remove => put(field, Value::Null),
            SecretChange::Set(secret) => put(field, secret.into()),
            SecretChange::Several(secrets) => put(field, secrets.into()),
        };
    }
    record
}

/// The application of a record.
fn read(id: &str, source: &str, record: Record) -> Result<Client, StoreError> {
    let mut fields = Reader::new(record);
    let mut details = ClientDetails {
        client_id: fields.text("client_id"),
        name: fields.text("name"),
        description: fields.text("description"),
        confidential: fields.flag("confidential").unwrap_or_default(),
        authorization_types: fields.texts("authorization_type").unwrap_or_default(),
        redirect_uris: fields.texts("redirect_uri").unwrap_or_default(),
        scopes: fields.texts("scope").unwrap_or_default(),
        enabled: fields.flag("enabled").unwrap_or(true),
        ..ClientDetails::default()
    };
    let malformed = |reason| StoreError::BackEnd { back_end: source.to_owned(), reason };
    details.properties = fields.properties().map_err(malformed)?;
    Ok(Client { id: id.to_owned(), details, source: source.to_owned() })
}

async fn ask(source: &Source, back_end: &dyn BackEnd, client_id: &str) -> Result<Option<Record>, StoreError> {
    let record = back_end.get(client_id, View::Administrator).await.map_err(|error| failed(&source.name, &error))?;
    if let Some(record) = &record
        && record.get("client_id").and_then(Value::as_str) != Some(client_id)
    {
        let reason = format!("asked for the client `{client_id}`, it answered with another");
        return Err(StoreError::BackEnd { back_end: source.name.clone(), reason });
    }
    Ok(record)
}

fn kept(source: &Source, back_end: &Arc<dyn BackEnd>, id: &str, record: Record) -> Result<Kept, StoreError> {
    let client = read(id, &source.name, record)?;
    Ok(Kept { client, readonly: source.readonly, back_end: Arc::clone(back_end) })
}

async fn meet(
    transaction: &Transaction<'_>,
    client_id: &str,
    back_end: &str,
    id: &str,
    now_ms: i64,
) -> Result<Option<String>, StoreError> {
    if rows::insert_identity(transaction, id, client_id, back_end, now_ms).await? {
        return Ok(Some(id.to_owned()));
    }
    let known = rows::identity_inside(transaction, client_id).await?;
    Ok(known.filter(|(_, home)| home == back_end).map(|(id, _)| id))
}
