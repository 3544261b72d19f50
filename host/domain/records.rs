//! People and applications as JSON, as administrators, their scripts and plug-ins read and write them.
//!
//! Reading takes the known members out of [`Fields`]; whatever is left over is a property. What an answer says of a record but
//! cannot be changed may stand in what is read: it may have been an answer.

use serde_json::{Map, Value, json};

use super::clients::{Client, ClientDetails, ClientSecrets, SecretChange};
use super::fields::Fields;
use super::grants::ClientGrant;
use super::users::{NewUser, User, UserChange};
use crate::config::Profile;

impl NewUser {
    /// Reads a person to be added, who is enabled unless it says otherwise.
    pub fn read(fields: &mut Fields) -> Self {
        let username = fields.required_text("username");
        let UserChange { name, email, password, passwords, scopes, enabled, properties } = UserChange::read(fields);
        Self {
            username,
            name: name.unwrap_or_default(),
            email: email.unwrap_or_default(),
            password,
            passwords,
            scopes: scopes.unwrap_or_default(),
            enabled: enabled.unwrap_or(true),
            properties,
        }
    }
}

impl UserChange {
    /// Reads what is changed of a person.
    pub fn read(fields: &mut Fields) -> Self {
        let passwords = if fields.is_list("password") { fields.texts("password").flatten() } else { None };
        let mut change = Self {
            name: fields.text("name"),
            email: fields.text("email"),
            password: fields.text("password"),
            passwords,
            scopes: fields.texts("scope").flatten(),
            enabled: fields.flag("enabled"),
            properties: Map::new(),
        };
        change.properties = fields.rest();
        change.properties.retain(|name, _| !matches!(name.as_str(), "username" | "source"));
        change
    }
}

impl User {
    /// As administrators see a person.
    #[must_use]
    pub fn view(self) -> Value {
        let fields = json!({
            "username": self.username.as_str(),
            "name": self.name,
            "email": self.email,
            "scope": self.scopes,
            "enabled": self.enabled,
            "source": self.source,
        });
        with_properties(self.properties, fields)
    }

    /// As people see themselves, when the properties are those of their profile.
    #[must_use]
    pub fn profile_view(self) -> Value {
        let fields = json!({
            "username": self.username.as_str(),
            "name": self.name,
            "email": self.email,
            "scope": self.scopes,
            "enabled": self.enabled,
        });
        with_properties(self.properties, fields)
    }
}

impl User {
    /// A profile as people see it: with those of the properties that administrators see, which may be what they note, that
    /// the configuration names.
    #[must_use]
    pub fn profile_with(self, noted: Option<&Self>, settings: &Profile) -> Value {
        let mut view = self.profile_view();
        if let Some(view) = view.as_object_mut() {
            for (name, value) in noted.into_iter().flat_map(|noted| &noted.properties) {
                let named = settings.properties_shown.contains(name) || settings.properties_writable.contains(name);
                if named && !view.contains_key(name) {
                    view.insert(name.clone(), value.clone());
                }
            }
        }
        view
    }
}

impl ClientSecrets {
    /// Reads what is done to the secrets: null takes one away.
    pub fn read(fields: &mut Fields) -> Self {
        let mut change = |name| {
            if name == "password" && fields.is_list(name) {
                return fields.texts(name).flatten().map_or(SecretChange::Keep, SecretChange::Several);
            }
            let named = fields.has(name);
            match fields.text(name) {
                Some(secret) => SecretChange::Set(secret),
                None if named => SecretChange::Remove,
                None => SecretChange::Keep,
            }
        };
        Self { password: change("password"), secret: change("client_secret") }
    }
}

impl ClientDetails {
    /// Reads an application to be added, which is enabled unless it says otherwise. The secrets are read before.
    pub fn read(fields: &mut Fields) -> Self {
        let client_id = fields.required_text("client_id");
        Self { client_id, enabled: true, ..Self::default() }.changed(fields)
    }

    /// This application with what is read. The secrets are read before.
    #[must_use]
    pub fn changed(self, fields: &mut Fields) -> Self {
        let mut new = Self {
            name: fields.text("name").unwrap_or(self.name),
            description: fields.text("description").unwrap_or(self.description),
            confidential: fields.flag("confidential").unwrap_or(self.confidential),
            authorization_types: fields.texts("authorization_type").flatten().unwrap_or(self.authorization_types),
            redirect_uris: fields.texts("redirect_uri").flatten().unwrap_or(self.redirect_uris),
            scopes: fields.texts("scope").flatten().unwrap_or(self.scopes),
            enabled: fields.flag("enabled").unwrap_or(self.enabled),
            client_id: self.client_id,
            properties: self.properties,
        };
        let mut properties = fields.rest();
        properties.retain(|name, _| !matches!(name.as_str(), "client_id" | "source"));
        new.properties.extend(properties);
        new
    }
}

impl Client {
    /// As administrators see an application. Secrets are not shown.
    #[must_use]
    pub fn view(self) -> Value {
        let details = self.details;
        let fields = json!({
            "client_id": details.client_id,
            "name": details.name,
            "description": details.description,
            "confidential": details.confidential,
            "authorization_type": details.authorization_types,
            "redirect_uri": details.redirect_uris,
            "scope": details.scopes,
            "enabled": details.enabled,
            "source": self.source,
        });
        with_properties(details.properties, fields)
    }
}

impl ClientGrant {
    /// An application and scopes, with whether they are granted.
    #[must_use]
    pub fn view(&self) -> Value {
        let scopes = self.scopes.iter().map(|grant| {
            let scope = &grant.scope;
            json!({
                "name": scope.name,
                "display_name": scope.display_name,
                "description": scope.description,
                "password_required": scope.password_required,
                "granted": grant.granted,
            })
        });
        let details = &self.client.details;
        json!({"client": {"client_id": details.client_id, "name": details.name}, "scope": scopes.collect::<Value>()})
    }
}

/// A record's fields among its properties; no property hides a field.
fn with_properties(mut properties: Map<String, Value>, fields: Value) -> Value {
    if let Value::Object(fields) = fields {
        properties.extend(fields);
    }
    Value::Object(properties)
}
