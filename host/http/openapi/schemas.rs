//! What requests and answers look like. Texts here are read by integrators: they stand in the document.
#![expect(dead_code, reason = "types that only describe: what handlers read and answer is JSON, compared by tests")]

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

pub(super) use super::records::*;

/// A member that is always there, and may be null; an `Option` is one that may be absent.
pub(super) struct OrNull<T>(T);

impl<T: JsonSchema> JsonSchema for OrNull<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Option::<T>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Option::<T>::json_schema(generator)
    }
}

/// An error (RFC 9457).
#[derive(JsonSchema)]
pub(super) struct Problem {
    /// Where it is said what the code means.
    r#type: String,
    title: String,
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    /// Stable: compare this, not the texts.
    code: String,
    detail: String,
    /// With 400: everything that is wrong.
    #[schemars(default)]
    errors: Vec<String>,
}

/// What pages and clients need before anybody logs in.
#[derive(JsonSchema)]
pub(super) struct Config {
    api_prefix: String,
    admin_scope: String,
    profile_scope: String,
    /// Whether people may delete themselves.
    delete_profile: bool,
}

#[derive(JsonSchema)]
pub(super) struct Status {
    status: String,
}

/// What the link for the first administrator asks for.
#[derive(JsonSchema)]
pub(super) struct FirstAdministrator {
    /// What the link holds.
    token: String,
    username: String,
    #[schemars(length(min = 1, max = 1024))]
    password: String,
    name: Option<String>,
    email: Option<String>,
}

/// A module that a library declares, or that is built in.
#[derive(JsonSchema)]
pub(super) struct Module {
    name: String,
    display_name: String,
    description: String,
    /// A JSON Schema of the parameters.
    parameters_schema: Value,
    /// The rights that it asks for.
    needs: Vec<String>,
}

/// Modules by kind.
#[derive(JsonSchema)]
pub(super) struct ModuleTypes {
    plugin: Vec<Module>,
    scheme: Vec<Module>,
    user: Vec<Module>,
    user_middleware: Vec<Module>,
    client: Vec<Module>,
}

/// What can be set of an instance beside its parameters; which of them depends on the kind.
#[derive(JsonSchema)]
pub(super) struct Settings {
    /// Schemes: how long a proof counts, in seconds; 0 means for ever.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    expiration: Option<i64>,
    /// Schemes: how often a proof counts; 0 means without end.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    max_use: Option<i64>,
    /// Schemes: whether people may register themselves.
    allow_user_register: Option<bool>,
    /// Schemes: whether people do not see it in their profile.
    forbid_user_profile: Option<bool>,
    /// Schemes: whether nobody resets lost credentials with it.
    forbid_user_reset_credential: Option<bool>,
    /// Back ends and middlewares: the place among the others, the lowest first.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    order_rank: Option<i64>,
    /// Back ends: whether nothing is written to it.
    readonly: Option<bool>,
    /// Back ends: whether somebody may have several passwords.
    multiple_passwords: Option<bool>,
}

/// An instance to be added.
#[derive(JsonSchema)]
pub(super) struct NewInstance {
    module: String,
    /// Not a name that the host has itself.
    #[schemars(regex(pattern = "^[a-z0-9][a-z0-9_-]{0,63}$"))]
    name: String,
    #[schemars(length(max = 256))]
    display_name: Option<String>,
    /// What `init` gets: see the module's schema. `(secret)`, which is shown instead of a secret, is no value.
    parameters: Option<Map<String, Value>>,
    /// Rights granted; null means all that the module needs.
    grants: Option<Vec<String>>,
    /// Whether a service may have public endpoints.
    allow_public: Option<bool>,
    #[schemars(flatten)]
    settings: Settings,
}

/// What is changed of an instance; what is absent or null stays, but `grants`, where null grants all.
#[derive(JsonSchema)]
pub(super) struct InstanceChange {
    /// Only the one that it has.
    module: Option<String>,
    #[schemars(length(max = 256))]
    display_name: Option<String>,
    /// All of them. `(secret)` means what is stored at this place; in a list only while that is as long as it was.
    parameters: Option<Map<String, Value>>,
    grants: Option<Vec<String>>,
    allow_public: Option<bool>,
    #[schemars(flatten)]
    settings: Settings,
}

/// An instance.
#[derive(JsonSchema)]
pub(super) struct Instance {
    module: String,
    name: String,
    display_name: String,
    /// `(secret)` stands for what the module's schema calls `writeOnly` or a password, for what is named like a secret,
    /// and, while no library declares the module, for every text.
    parameters: Map<String, Value>,
    /// Rights granted; null means all that the module needs.
    grants: OrNull<Vec<String>>,
    /// What it may ask of the host; null while no library declares its module.
    rights: OrNull<Vec<String>>,
    allow_public: bool,
    /// Whether the configuration file declares it: then it is changed there.
    declared: bool,
    /// Where the file, as it is now, and the server disagree about it, in a sentence.
    drift: OrNull<String>,
    /// Whether the file declared it once and does so no more, and nobody has enabled it since.
    orphan: bool,
    /// Whether it should run.
    enabled: bool,
    status: InstanceStatus,
    /// Why it does not run.
    error: OrNull<String>,
    /// Why it was taken out.
    quarantine: OrNull<String>,
    health: OrNull<Health>,
    /// Those that it registered; none while it does not run.
    endpoints: Vec<Endpoint>,
    #[schemars(flatten)]
    settings: Settings,
}

/// Where the configuration file, as it is now, and the server disagree. A server takes over what the file says when it
/// starts, and at SIGHUP.
#[derive(JsonSchema)]
pub(super) struct Disagreements {
    /// Null where there is none.
    file: OrNull<String>,
    /// Why nobody knows.
    error: OrNull<String>,
    drift: Vec<Drift>,
}

/// A disagreement about an instance.
#[derive(JsonSchema)]
pub(super) struct Drift {
    kind: String,
    name: String,
    what: DriftWhat,
    /// What differs; of parameters `parameters.` and the name.
    members: Vec<String>,
    /// The same in a sentence.
    text: String,
}

/// `missing`: the file declares it, and there is none. `not_declared`: there is one that the file did not declare before.
/// `orphan`: the file declares it no more. `differs`: not as the file says.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum DriftWhat {
    Missing,
    NotDeclared,
    Orphan,
    Differs,
}

/// What an instance registered.
#[derive(JsonSchema)]
pub(super) struct Endpoint {
    /// `*` for any.
    method: String,
    /// Below the instance's prefix.
    path: String,
    /// Who may call: `none`, `session`, `scope:` and a scope, `admin`, or `client`.
    auth: String,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum InstanceStatus {
    Running,
    Stopped,
    Failed,
}

/// How an instance does; null while it does not run.
#[derive(JsonSchema)]
pub(super) struct Health {
    status: HealthStatus,
    reasons: Vec<String>,
    /// Whether it runs on threads of its own because it kept others waiting.
    moved: bool,
    /// Calls under way.
    calls: u64,
    threads: Threads,
    panics: u64,
    deadlines: u64,
    failures: u64,
    busy: u64,
    strikes: u64,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum HealthStatus {
    Healthy,
    Degraded,
    Broken,
}

/// The threads of an instance's own.
#[derive(JsonSchema)]
pub(super) struct Threads {
    running: u64,
    idle: u64,
    overdue: u64,
    waiting: u64,
}

/// What became of a file of the plug-in directory.
#[derive(JsonSchema)]
pub(super) struct Report {
    file: String,
    outcome: Outcome,
    errors: Vec<String>,
    generation: OrNull<u64>,
    modules: Vec<String>,
    instances: Vec<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum Outcome {
    Loaded,
    Reloaded,
    Unchanged,
    Refused,
    Unlisted,
    Draining,
    Gone,
}

/// An address that the server listens at.
#[derive(JsonSchema)]
pub(super) struct Listener {
    address: String,
    url: String,
    /// What it answers: `all`, `public`, `administration` or, nothing at all, `redirect`.
    serves: String,
    http2: bool,
    tls: OrNull<Certificate>,
}

/// The certificate that clients are shown.
#[derive(JsonSchema)]
pub(super) struct Certificate {
    /// Its file.
    certificate: String,
    /// The hosts and addresses that it is for.
    names: Vec<String>,
    /// From when it is valid, in seconds since 1970.
    not_before: u64,
    /// Until when, likewise.
    not_after: u64,
    /// Until when in days, negative when it has expired.
    days_left: f64,
    /// Why the files as they are now are not what is served, if so.
    error: OrNull<String>,
    warnings: Vec<String>,
}

/// A file of the plug-in directory.
#[derive(JsonSchema)]
pub(super) struct Library {
    file: String,
    verdict: Verdict,
    /// Why it was refused.
    reason: OrNull<String>,
    /// SHA-256 of what is loaded, in hexadecimal.
    digest: OrNull<String>,
    /// SHA-256 of the file as it is.
    file_digest: OrNull<String>,
    abi: OrNull<Abi>,
    modules: Vec<String>,
    generations: Generations,
    instances: Vec<InstanceOfLibrary>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub(super) enum Verdict {
    Loaded,
    Refused,
    Gone,
    Unlisted,
}

#[derive(JsonSchema)]
pub(super) struct Abi {
    draft: u32,
    major: u32,
    minor: u32,
}

#[derive(JsonSchema)]
pub(super) struct Generations {
    present: OrNull<u64>,
    /// The numbers of those that still have calls or instances.
    draining: Vec<u64>,
    retired: u64,
    retired_bytes: u64,
}

#[derive(JsonSchema)]
pub(super) struct InstanceOfLibrary {
    kind: String,
    name: String,
    status: InstanceStatus,
}
