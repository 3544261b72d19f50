//! What requests and answers about people, applications, scopes and keys look like; see [`super::schemas`].
#![expect(dead_code, reason = "types that only describe: what handlers read and answer is JSON, compared by tests")]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::{Map, Value};

use super::schemas::OrNull;

/// A person. Further members are properties, of any type.
#[derive(JsonSchema)]
pub(super) struct User {
    username: String,
    name: String,
    email: String,
    scope: Vec<String>,
    enabled: bool,
    /// The back end that keeps the person.
    source: String,
    #[schemars(flatten)]
    properties: Map<String, Value>,
}

/// A person to be added. Further members are properties.
#[derive(JsonSchema)]
pub(super) struct NewUser {
    #[schemars(length(min = 1, max = 128))]
    username: String,
    #[schemars(length(max = 256))]
    name: Option<String>,
    #[schemars(length(max = 256))]
    email: Option<String>,
    /// Without one no password opens.
    #[schemars(length(min = 1, max = 1024))]
    password: Option<String>,
    scope: Option<Vec<String>>,
    enabled: Option<bool>,
    /// The back end to add it at; by default the first that takes new ones.
    source: Option<String>,
    #[schemars(flatten)]
    properties: Map<String, Value>,
}

/// What is changed of a person. Further members are properties; null takes one away.
#[derive(JsonSchema)]
pub(super) struct UserChange {
    #[schemars(length(max = 256))]
    name: Option<String>,
    #[schemars(length(max = 256))]
    email: Option<String>,
    #[schemars(length(min = 1, max = 1024))]
    password: Option<String>,
    scope: Option<Vec<String>>,
    enabled: Option<bool>,
    #[schemars(flatten)]
    properties: Map<String, Value>,
}

/// A person as they see themselves. Further members are properties.
#[derive(JsonSchema)]
pub(super) struct Profile {
    username: String,
    name: String,
    email: String,
    scope: Vec<String>,
    enabled: bool,
    #[schemars(flatten)]
    properties: Map<String, Value>,
}

/// What people change of themselves: the name, and the properties that the configuration names. The rest may be sent back
/// as it was.
#[derive(JsonSchema)]
pub(super) struct ProfileChange {
    #[schemars(length(max = 256))]
    name: Option<String>,
    #[schemars(flatten)]
    properties: Map<String, Value>,
}

#[derive(JsonSchema)]
pub(super) struct PasswordChange {
    /// Administrators who act for others need not know it.
    old_password: Option<String>,
    #[schemars(length(min = 1, max = 1024))]
    password: String,
}

/// An application. Further members are properties.
#[derive(JsonSchema)]
pub(super) struct Client {
    client_id: String,
    name: String,
    description: String,
    confidential: bool,
    authorization_type: Vec<String>,
    redirect_uri: Vec<String>,
    scope: Vec<String>,
    enabled: bool,
    source: String,
    #[schemars(flatten)]
    properties: Map<String, Value>,
}

/// An application to be added. Further members are properties.
#[derive(JsonSchema)]
pub(super) struct NewClient {
    #[schemars(length(min = 1, max = 128))]
    client_id: String,
    source: Option<String>,
    #[schemars(flatten)]
    change: ClientChange,
}

/// What is changed of an application; a secret that is null opens no more. Further members are properties.
#[derive(JsonSchema)]
pub(super) struct ClientChange {
    #[schemars(length(max = 256))]
    name: Option<String>,
    #[schemars(length(max = 4096))]
    description: Option<String>,
    confidential: Option<bool>,
    #[schemars(length(min = 1, max = 1024))]
    password: Option<String>,
    #[schemars(length(min = 1, max = 1024))]
    client_secret: Option<String>,
    authorization_type: Option<Vec<String>>,
    redirect_uri: Option<Vec<String>>,
    scope: Option<Vec<String>>,
    enabled: Option<bool>,
    #[schemars(flatten)]
    properties: Map<String, Value>,
}

/// A scope.
#[derive(JsonSchema)]
pub(super) struct Scope {
    name: String,
    display_name: String,
    description: String,
    password_required: bool,
    /// How old a proof of the password may be, in seconds; 0 means any age.
    password_max_age: i64,
    /// Groups of schemes, all of which must be satisfied.
    scheme: BTreeMap<String, Vec<SchemeOfGroup>>,
    /// How many schemes of each group.
    scheme_required: BTreeMap<String, u32>,
}

#[derive(JsonSchema)]
pub(super) struct SchemeOfGroup {
    scheme_name: String,
}

/// A scope to be added.
#[derive(JsonSchema)]
pub(super) struct NewScope {
    /// Printable ASCII but space, `"` and `\` (RFC 6749, section 3.3).
    #[schemars(length(min = 1, max = 256))]
    name: String,
    #[schemars(flatten)]
    change: ScopeChange,
}

/// What is changed of a scope.
#[derive(JsonSchema)]
pub(super) struct ScopeChange {
    #[schemars(length(max = 256))]
    display_name: Option<String>,
    #[schemars(length(max = 4096))]
    description: Option<String>,
    password_required: Option<bool>,
    #[schemars(range(min = 0, max = 3_162_240_000_i64))]
    password_max_age: Option<i64>,
    scheme: Option<BTreeMap<String, Vec<SchemeOfGroup>>>,
    /// Only with `scheme`; by default 1.
    scheme_required: Option<BTreeMap<String, u32>>,
}

/// An API key, but for the key itself.
#[derive(JsonSchema)]
pub(super) struct Key {
    /// The SHA-256 of the key, in base64url.
    token_hash: String,
    name: String,
    /// How often it was used.
    counter: i64,
    /// Whose it is; null for those of the command line.
    username: OrNull<String>,
    /// In seconds since 1970, as all times of keys.
    issued_at: i64,
    expires_at: OrNull<i64>,
    last_used_at: OrNull<i64>,
    issued_for: OrNull<String>,
    user_agent: OrNull<String>,
    /// False for a week after its end.
    enabled: bool,
}

/// A key to be made. There need not be a body.
#[derive(JsonSchema)]
pub(super) struct NewKey {
    /// By default the user's name.
    #[schemars(length(min = 1, max = 128))]
    name: Option<String>,
    /// When it ends, in seconds since 1970.
    expires_at: Option<i64>,
    /// When it ends, in seconds from now.
    #[schemars(range(min = 1, max = 3_162_240_000_i64))]
    expires_in: Option<i64>,
}

/// A key that is nobody's, to be made.
#[derive(JsonSchema)]
pub(super) struct NewLocalKey {
    #[schemars(length(min = 1, max = 128))]
    name: String,
    expires_at: Option<i64>,
    expires_in: Option<i64>,
}

/// The only time that anybody sees a key.
#[derive(JsonSchema)]
pub(super) struct MadeKey {
    key: String,
    token_hash: String,
}

/// A setting of other programs.
#[derive(JsonSchema)]
pub(super) struct Setting {
    #[schemars(length(max = 128))]
    r#type: String,
    /// Anything, up to 64 KiB.
    value: Value,
}

#[derive(JsonSchema)]
pub(super) struct NamedSetting {
    name: String,
    #[schemars(flatten)]
    setting: Setting,
}

/// By password `{username, password}`; another user of the session `{username}`; by a scheme `{username?, scheme_type,
/// scheme_name, value}`.
#[derive(JsonSchema)]
pub(super) struct LogIn {
    username: Option<String>,
    password: Option<String>,
    scheme_type: Option<String>,
    scheme_name: Option<String>,
    value: Option<Value>,
}

/// Which scheme, and what it is sent.
#[derive(JsonSchema)]
pub(super) struct ToScheme {
    username: Option<String>,
    scheme_type: String,
    scheme_name: String,
    value: Option<Value>,
}

/// What a scope wants, and what of it is proved.
#[derive(JsonSchema)]
pub(super) struct Offer {
    password_required: bool,
    password_authenticated: bool,
    schemes: BTreeMap<String, Vec<OfferedScheme>>,
    scheme_required: BTreeMap<String, u32>,
    display_name: String,
    description: String,
    /// Whether the user has the scope at all.
    available: bool,
}

#[derive(JsonSchema)]
pub(super) struct OfferedScheme {
    scheme_type: String,
    scheme_name: String,
    scheme_display_name: String,
    scheme_authenticated: bool,
    scheme_registered: bool,
}

/// A scheme as people see it.
#[derive(JsonSchema)]
pub(super) struct Scheme {
    module: String,
    name: String,
    display_name: String,
    expiration: i64,
    max_use: i64,
    allow_user_register: bool,
    forbid_user_profile: bool,
    forbid_user_reset_credential: bool,
    /// 0 cannot, 1 could, 2 registered; null where the scheme does not answer.
    #[schemars(range(min = 0, max = 2))]
    can_use: OrNull<u8>,
}

/// What is granted to an application.
#[derive(JsonSchema)]
pub(super) struct Grant {
    client: GrantClient,
    scope: Vec<GrantScope>,
}

#[derive(JsonSchema)]
pub(super) struct GrantClient {
    client_id: String,
    name: String,
}

#[derive(JsonSchema)]
pub(super) struct GrantScope {
    name: String,
    display_name: String,
    description: String,
    password_required: bool,
    granted: bool,
}

/// As `Grant`, as a row of a list.
#[derive(JsonSchema)]
pub(super) struct GrantRow {
    client_id: String,
    name: String,
    scope: Vec<GrantScope>,
}

/// Scopes divided by spaces; they replace what was granted.
#[derive(JsonSchema)]
pub(super) struct GrantChange {
    scope: String,
}

/// A plug-in that there is to use.
#[derive(JsonSchema)]
pub(super) struct PlugIn {
    module: String,
    name: String,
    display_name: String,
}

/// Where somebody is logged in; times in seconds since 1970.
#[derive(JsonSchema)]
pub(super) struct Session {
    session_hash: String,
    user_agent: String,
    issued_for: String,
    issued_at: i64,
    last_login: i64,
    expiration: i64,
    enabled: bool,
    /// Whether it is the one that asks.
    current: bool,
}

/// An entry of the audit log.
#[derive(JsonSchema)]
pub(super) struct AuditEvent {
    id: String,
    /// In milliseconds since 1970.
    at: i64,
    who: AuditActor,
    /// The address that it was asked from; empty where there is none.
    peer: String,
    action: String,
    object: AuditObject,
    /// The object before, without secrets.
    before: OrNull<Value>,
    /// The object after it, without secrets.
    after: OrNull<Value>,
    request_id: String,
    outcome: AuditOutcome,
    /// Why it was refused or failed.
    detail: String,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum AuditOutcome {
    /// Cut off with its process: nobody knows whether it was done.
    Begun,
    Done,
    Refused,
    Failed,
}

#[derive(JsonSchema)]
pub(super) struct AuditActor {
    kind: AuditActorKind,
    name: String,
    /// Tells two of one name apart.
    id: String,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum AuditActorKind {
    User,
    Key,
    Local,
    Instance,
    Configuration,
    Directory,
    Link,
    Nobody,
}

#[derive(JsonSchema)]
pub(super) struct AuditObject {
    kind: String,
    name: String,
}
