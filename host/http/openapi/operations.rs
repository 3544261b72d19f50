//! The host's own routes, each with what it takes and what it answers.
//!
//! Start at [`all`]. `tests/it/http/openapi.rs` compares this table with the router, and answers with the schemas.

use schemars::{Schema, SchemaGenerator};

use super::schemas as s;
use crate::http::error as e;
use crate::http::error::Kind;

/// The schema of a type.
pub(super) type Of = fn(&mut SchemaGenerator) -> Schema;

fn of<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Who may ask.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody.
    All,
    /// Whoever is in a session.
    Session,
    /// Whoever is in a session with the scope for one's own data.
    Profile,
    /// Administrators, by session or key.
    Admin,
    /// Administrators in a session.
    SessionAdmin,
    /// Whoever may open the control socket.
    Local,
}

/// What an answer with status 200 holds.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    Nothing,
    Json(Of),
    List(Of),
    Text(&'static [&'static str]),
}

/// What may stand in the query.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Query {
    Nothing,
    /// `offset`, `limit`, `pattern`.
    Page,
    /// As `Page`, where a limit of 0 means all.
    PageOrAll,
    /// Names with what they mean; whole numbers where `true`.
    These(&'static [(&'static str, &'static str, bool)]),
}

/// A method of a route.
#[derive(Clone)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) below_prefix: bool,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) access: Access,
    pub(super) query: Query,
    pub(super) body: Option<Of>,
    pub(super) body_required: bool,
    pub(super) answer: Answer,
    /// Beside those that follow from the rest.
    pub(super) problems: &'static [Kind],
}

impl Operation {
    fn new(method: &'static str, path: &str, tag: &'static str, summary: &'static str, access: Access) -> Self {
        Self {
            method,
            path: path.to_owned(),
            below_prefix: true,
            tag,
            summary,
            access,
            query: Query::Nothing,
            body: None,
            body_required: true,
            answer: Answer::Nothing,
            problems: &[],
        }
    }

    fn takes(self, body: Of) -> Self {
        Self { body: Some(body), ..self }
    }

    fn may_take(self, body: Of) -> Self {
        Self { body: Some(body), body_required: false, ..self }
    }

    fn asks(self, query: Query) -> Self {
        Self { query, ..self }
    }

    fn answers(self, answer: Answer) -> Self {
        Self { answer, ..self }
    }

    fn or(self, problems: &'static [Kind]) -> Self {
        Self { problems, ..self }
    }

    fn outside(self) -> Self {
        Self { below_prefix: false, ..self }
    }
}

/// Every method of every route.
pub(super) fn all() -> Vec<Operation> {
    use Access::{Admin, All, Local, Profile, SessionAdmin};
    use Answer::{Json, List, Text};
    let op = Operation::new;
    let mut all = vec![
        op("get", "/config", "server", "What is needed before anybody logs in", All)
            .outside()
            .answers(Json(of::<s::Config>)),
        op("get", "/health/live", "server", "Whether the process answers", All)
            .outside()
            .answers(Json(of::<s::Status>)),
        op("get", "/health/ready", "server", "Whether the server is ready; 503 with the same form when not", All)
            .outside()
            .answers(Json(of::<s::Status>)),
        op("get", "/metrics", "server", "What was counted, for Prometheus or as OpenMetrics", Admin)
            .outside()
            .answers(Text(&["text/plain", "application/openmetrics-text"])),
        op("get", "/docs", "server", "This document as a page", All).outside().answers(Text(&["text/html"])),
        op("get", "/docs/problems", "server", "What each code of an error means", All)
            .outside()
            .answers(Text(&["text/html"])),
        op("get", "/openapi.json", "server", "This document", All).answers(Json(|_| true.into())),
        op("get", "/setup", "server", "The form for the first administrator", All)
            .outside()
            .asks(Query::These(&[("token", "What the link holds.", false)]))
            .answers(Text(&["text/html"]))
            .or(&[e::NOT_FOUND]),
        op("post", "/setup", "server", "Makes the first administrator", All)
            .outside()
            .takes(of::<s::FirstAdministrator>)
            .or(&[e::NOT_FOUND, e::PASSWORDS_BUSY]),
    ];
    all.extend(instances());
    all.extend(records());
    all.extend(log_in());
    all.extend(vec![
        op("get", "/admin/audit", "audit", "The newest entries of the audit log, the newest first", Admin)
            .asks(Query::These(&[
                ("who", "The name of a user, a key, or an instance.", false),
                ("action", "An action, as `user.change`, or all of a kind, as `user`.", false),
                ("object", "A kind of object, or a kind, `/` and a name.", false),
                ("from", "No earlier than this, in milliseconds since 1970.", true),
                ("to", "No later than this, in milliseconds since 1970.", true),
                ("before", "Only entries before the one of this id: for the next part.", false),
                ("offset", "How many are left out.", true),
                ("limit", "How many at most: 1 to 200, by default 100.", true),
            ]))
            .answers(List(of::<s::AuditEvent>)),
        op("get", "/key", "keys", "All API keys", SessionAdmin).asks(Query::Page).answers(List(of::<s::Key>)),
        op("post", "/key", "keys", "Makes a key of the current user's", SessionAdmin)
            .may_take(of::<s::NewKey>)
            .answers(Json(of::<s::MadeKey>)),
        op("delete", "/key/{hash}", "keys", "Ends a key", SessionAdmin),
        op("get", "/local/key", "control socket", "All API keys", Local).asks(Query::Page).answers(List(of::<s::Key>)),
        op("post", "/local/key", "control socket", "Makes a key that is nobody's", Local)
            .takes(of::<s::NewLocalKey>)
            .answers(Json(of::<s::MadeKey>)),
        op("delete", "/local/key/{hash}", "control socket", "Ends a key", Local),
        op("get", "/local/status", "control socket", "How the server does", Local).answers(Json(|_| true.into())),
    ]);
    for (base, tag, access) in [
        ("/profile", "profile", Profile),
        ("/delegate/{username}/profile", "delegate", Admin),
        ("/delegate/{username}", "delegate", Admin),
    ] {
        let of_person = profile(tag, access).into_iter();
        all.extend(of_person.map(|operation| Operation { path: format!("{base}{}", operation.path), ..operation }));
    }
    all
}

/// Modules, instances, libraries.
fn instances() -> Vec<Operation> {
    use Access::Admin;
    use Answer::{Json, List};
    let op = Operation::new;
    const CHANGE: &[Kind] = &[e::NOT_FOUND, e::CONFLICT, e::DECLARED, e::RECYCLING, e::INIT_FAILED];
    vec![
        op("get", "/mod/type", "instances", "Modules by kind", Admin).answers(Json(of::<s::ModuleTypes>)),
        op("get", "/mod/{kind}", "instances", "The instances of a kind", Admin)
            .asks(Query::Page)
            .answers(List(of::<s::Instance>)),
        op("post", "/mod/{kind}", "instances", "Adds an instance and starts it", Admin)
            .takes(of::<s::NewInstance>)
            .or(CHANGE),
        op("get", "/mod/{kind}/{name}", "instances", "An instance", Admin).answers(Json(of::<s::Instance>)),
        op("put", "/mod/{kind}/{name}", "instances", "Changes what is given, and starts it anew", Admin)
            .takes(of::<s::InstanceChange>)
            .or(CHANGE),
        op("delete", "/mod/{kind}/{name}", "instances", "Deletes an instance with all it keeps", Admin).or(CHANGE),
        op("put", "/mod/{kind}/{name}/{action}", "instances", "`enable`, `disable` or `reset`; 400 for others", Admin)
            .or(&[e::INVALID, e::NOT_FOUND, e::CONFLICT, e::DECLARED, e::RECYCLING, e::INIT_FAILED]),
        op("put", "/mod/reload", "libraries", "Looks at every file of the plug-in directory", Admin)
            .answers(List(of::<s::Report>))
            .or(&[e::CONFLICT, e::RECYCLING]),
        op("get", "/admin/listener", "listeners", "Where the server listens, and with which certificates", Admin)
            .answers(List(of::<s::Listener>)),
        op("get", "/admin/drift", "instances", "Where the configuration file and the server disagree", Admin)
            .answers(Json(of::<s::Disagreements>)),
        op("get", "/admin/library", "libraries", "Every file that was seen", Admin).answers(List(of::<s::Library>)),
        op("get", "/admin/library/{file}", "libraries", "A file", Admin).answers(Json(of::<s::Library>)),
        op("put", "/admin/library/{file}/reload", "libraries", "Reloads a file; answers after the exchange", Admin)
            .answers(Json(of::<s::Report>))
            .or(&[e::INVALID, e::CONFLICT, e::RECYCLING]),
    ]
}

/// Users, clients, scopes, settings.
fn records() -> Vec<Operation> {
    use Access::Admin;
    use Answer::{Json, List};
    let op = Operation::new;
    const PUT: &[Kind] = &[e::PASSWORDS_BUSY, e::BACK_END_FAILED];
    vec![
        op("get", "/user", "users", "Users, by back end and name", Admin)
            .asks(Query::Page)
            .answers(List(of::<s::User>)),
        op("post", "/user", "users", "Adds a user", Admin).takes(of::<s::NewUser>).or(PUT),
        op("get", "/user/{username}", "users", "A user", Admin).answers(Json(of::<s::User>)).or(&[e::BACK_END_FAILED]),
        op("put", "/user/{username}", "users", "Changes what is given", Admin).takes(of::<s::UserChange>).or(PUT),
        op("delete", "/user/{username}", "users", "Deletes a user with everything that refers to them", Admin)
            .or(&[e::INVALID, e::BACK_END_FAILED]),
        op("get", "/client", "clients", "Clients, by back end and id", Admin)
            .asks(Query::Page)
            .answers(List(of::<s::Client>)),
        op("post", "/client", "clients", "Adds a client", Admin).takes(of::<s::NewClient>).or(PUT),
        op("get", "/client/{client_id}", "clients", "A client", Admin)
            .answers(Json(of::<s::Client>))
            .or(&[e::BACK_END_FAILED]),
        op("put", "/client/{client_id}", "clients", "Changes what is given", Admin)
            .takes(of::<s::ClientChange>)
            .or(PUT),
        op("delete", "/client/{client_id}", "clients", "Deletes a client", Admin).or(&[e::INVALID, e::BACK_END_FAILED]),
        op("get", "/scope", "scopes", "Scopes, by name", Admin).asks(Query::PageOrAll).answers(List(of::<s::Scope>)),
        op("post", "/scope", "scopes", "Adds a scope", Admin).takes(of::<s::NewScope>),
        op("get", "/scope/{scope}", "scopes", "A scope", Admin).answers(Json(of::<s::Scope>)),
        op("put", "/scope/{scope}", "scopes", "Changes what is given", Admin).takes(of::<s::ScopeChange>),
        op("delete", "/scope/{scope}", "scopes", "Deletes a scope", Admin),
        op("get", "/misc", "settings", "Settings of other programs", Admin)
            .asks(Query::Page)
            .answers(List(of::<s::NamedSetting>)),
        op("get", "/misc/{name}", "settings", "A setting", Admin).answers(Json(of::<s::Setting>)),
        op("put", "/misc/{name}", "settings", "Adds or replaces a setting", Admin).takes(of::<s::Setting>),
        op("delete", "/misc/{name}", "settings", "Deletes a setting", Admin),
    ]
}

/// Logging in and out, and what people grant.
fn log_in() -> Vec<Operation> {
    use Access::{All, Session};
    use Answer::{Json, List};
    let op = Operation::new;
    const PROVE: &[Kind] = &[
        e::UNAUTHORIZED,
        e::FORBIDDEN,
        e::NOT_FOUND,
        e::CONFLICT,
        e::LOCKED_OUT,
        e::PLUGIN_FAILED,
        e::PASSWORDS_BUSY,
        e::BACK_END_FAILED,
        e::INSTANCE_NOT_RUNNING,
    ];
    vec![
        op("post", "/auth", "log-in", "Logs in, and sets the session's cookie", All).takes(of::<s::LogIn>).or(PROVE),
        op("delete", "/auth", "log-in", "Logs out one user of the session, or all", All)
            .asks(Query::These(&[("username", "Who; without it, all.", false)]))
            .or(&[e::UNAUTHORIZED, e::NOT_FOUND]),
        op("get", "/auth/scheme", "log-in", "What there is to prove for some scopes, by scope", All)
            .asks(Query::These(&[("scope", "Scopes, divided by spaces.", false)]))
            .answers(Json(of::<std::collections::BTreeMap<String, s::Offer>>))
            .or(&[e::NOT_FOUND, e::BACK_END_FAILED]),
        op("post", "/auth/scheme/trigger", "log-in", "Begins a proof", All)
            .takes(of::<s::ToScheme>)
            .answers(Json(|_| true.into()))
            .or(PROVE),
        op("get", "/auth/grant/{client_id}/{scopes}", "log-in", "Which of these scopes a client was granted", Session)
            .answers(Json(of::<s::Grant>))
            .or(&[e::BACK_END_FAILED]),
        op("put", "/auth/grant/{client_id}", "log-in", "Grants a client these scopes and no others", Session)
            .takes(of::<s::GrantChange>)
            .or(&[e::BACK_END_FAILED]),
        op("get", "/profile_list", "profile", "The users of the session, the current one first", Session)
            .answers(List(of::<s::Profile>))
            .or(&[e::BACK_END_FAILED]),
    ]
}

/// What people see and change of themselves, and administrators of them.
fn profile(tag: &'static str, access: Access) -> Vec<Operation> {
    use Answer::{Json, List};
    let op = |method, path, summary| Operation::new(method, path, tag, summary, access);
    const KEPT: &[Kind] = &[e::NOT_FOUND, e::BACK_END_FAILED];
    const PROVE: &[Kind] =
        &[e::FORBIDDEN, e::NOT_FOUND, e::CONFLICT, e::PLUGIN_FAILED, e::BACK_END_FAILED, e::INSTANCE_NOT_RUNNING];
    vec![
        op("get", "", "The profile").answers(Json(of::<s::Profile>)).or(KEPT),
        op("put", "", "Changes what people may").takes(of::<s::ProfileChange>).or(KEPT),
        op("delete", "", "Deletes or disables the user, as the configuration says").or(&[
            e::INVALID,
            e::FORBIDDEN,
            e::NOT_FOUND,
            e::BACK_END_FAILED,
        ]),
        op("put", "/password", "Changes the password").takes(of::<s::PasswordChange>).or(&[
            e::NOT_FOUND,
            e::LOCKED_OUT,
            e::PASSWORDS_BUSY,
            e::BACK_END_FAILED,
        ]),
        op("get", "/grant", "What was granted, and to whom")
            .asks(Query::Page)
            .answers(List(of::<s::GrantRow>))
            .or(KEPT),
        op("get", "/scheme", "The schemes of the user's scopes").answers(List(of::<s::Scheme>)).or(KEPT),
        op("post", "/scheme/register", "Registers with a scheme")
            .takes(of::<s::ToScheme>)
            .answers(Json(|_| true.into()))
            .or(PROVE),
        op("put", "/scheme/register", "What is registered with a scheme")
            .takes(of::<s::ToScheme>)
            .answers(Json(|_| true.into()))
            .or(PROVE),
        op("get", "/plugin", "What there is to use").answers(List(of::<s::PlugIn>)).or(KEPT),
        op("get", "/session", "Where the user is logged in").asks(Query::Page).answers(List(of::<s::Session>)).or(KEPT),
        op("delete", "/session/{hash}", "Logs the user out there").or(KEPT),
    ]
}
