//! A new plug-in in C.
//!
//! Start at [`files`]: one frame for every kind, filled with what the kind and the examples bring.

use std::path::{Path, PathBuf};

use super::super::new::{Kind, With};
use super::{Names, SERVER, Template, fill};

/// What a kind of module brings.
struct OfKind {
    name: &'static str,
    purpose: &'static str,
    description: &'static str,
    /// The only parameter, its schema, and a value as `porth.toml` has it.
    parameter: &'static str,
    schema: &'static str,
    parameters: &'static str,
    /// The id of its table by its name in `porth.h`; none for endpoints.
    extension: Option<&'static str>,
}

const TEXT: &str = "{\\\"type\\\":\\\"string\\\"}";
const TEXTS: &str = "{\\\"type\\\":\\\"object\\\",\\\"additionalProperties\\\":{\\\"type\\\":\\\"string\\\"}}";
const LENGTH: &str = "{\\\"type\\\":\\\"integer\\\",\\\"minimum\\\":1,\\\"maximum\\\":100}";

const fn of_kind(kind: Kind) -> OfKind {
    match kind {
        Kind::Plugin => OfKind {
            name: "plugin",
            purpose: "greets whoever asks",
            description: "Greets whoever asks",
            parameter: "greeting",
            schema: TEXT,
            parameters: "{ greeting = \"Hello\" }",
            extension: None,
        },
        Kind::Scheme => OfKind {
            name: "scheme",
            purpose: "a way to authenticate by a code that the person has chosen",
            description: "Asks for a code that the person has chosen",
            parameter: "length_min",
            schema: LENGTH,
            parameters: "{ length_min = 4 }",
            extension: Some("PORTH_SCHEME"),
        },
        Kind::User => OfKind {
            name: "user",
            purpose: "people whom something else than the host keeps; here, the parameters",
            description: "Keeps a few users",
            parameter: "people",
            schema: TEXTS,
            parameters: "{ people = { ann = \"change me\" } }",
            extension: Some("PORTH_USER_BACK_END"),
        },
        Kind::Client => OfKind {
            name: "client",
            purpose: "applications that something else than the host keeps; here, the parameters",
            description: "Keeps a few clients",
            parameter: "clients",
            schema: TEXTS,
            parameters: "{ clients = { app = \"change me\" } }",
            extension: Some("PORTH_CLIENT_BACK_END"),
        },
        Kind::UserMiddleware => OfKind {
            name: "user_middleware",
            purpose: "adds a property to everybody who is shown",
            description: "Adds a property to every user",
            parameter: "organisation",
            schema: TEXT,
            parameters: "{ organisation = \"ACME\" }",
            extension: Some("PORTH_USER_MIDDLEWARE"),
        },
    }
}

/// What an example adds to the plug-in.
#[derive(Default)]
struct Parts {
    fields: &'static str,
    needs: &'static str,
    init: &'static str,
    counted: &'static str,
    waits: &'static str,
    code: String,
    endpoints: String,
}

impl Parts {
    fn of(with: &[With]) -> Self {
        let mut parts = Self::default();
        for with in with {
            match with {
                With::Documents => {
                    parts.waits = WAITS;
                    parts.code.push_str(DOCUMENTS);
                    parts.endpoints.push_str("    {\"POST\", \"/visits\", \"none\", 0, visit},\n");
                }
                With::Sessions => {
                    parts.waits = WAITS;
                    parts.needs = "\\\"sessions\\\"";
                    parts.code.push_str(SESSIONS);
                    parts.endpoints.push_str("    {\"GET\", \"/me\", \"session\", 0, me},\n");
                }
                With::Metrics => {
                    parts.fields = "    /* Counts greetings. */\n    uint32_t greetings;\n";
                    parts.init = METRICS;
                    parts.counted =
                        "    host->metric_increment(instance->context, instance->greetings, NULL, 0, 1.0);\n";
                }
                With::Events => {
                    parts.code.push_str(EVENTS);
                    parts
                        .endpoints
                        .push_str("    {\"GET\", \"/ticks\", \"none\", PORTH_ENDPOINT_SHORT, begin_ticks},\n");
                }
                // Only Rust has it, and the command says so.
                With::Tokio => {}
            }
        }
        parts
    }
}

/// The files of a folder with a source file in C.
pub(super) fn files(names: &Names, kind: Kind, with: &[With], sdk: Option<&Path>) -> Vec<(PathBuf, String)> {
    let template = Template { names, sdk };
    let include = sdk.map_or_else(|| PathBuf::from("porth"), |sdk| sdk.join("include")).display().to_string();
    let OfKind { name, purpose, description, parameter, schema, parameters, extension } = of_kind(kind);
    let parts = Parts::of(with);
    let back_end = |values: [&'static str; 5]| {
        let [member, more, secret, table, last] = values;
        fill(BACK_END, &[("member", member), ("more", more), ("secret", secret), ("table", table), ("last", last)])
    };
    let code = match kind {
        Kind::Plugin => fill(
            HELLO,
            &[
                ("waits", parts.waits),
                ("counted", parts.counted),
                ("parts", &parts.code),
                ("endpoints", &parts.endpoints),
            ],
        ),
        Kind::Scheme => fill(SCHEME, &[("waits", WAITS)]),
        Kind::User => back_end(["username", "", "password", "porth_user_back_end", ", NULL"]),
        Kind::Client => back_end(["client_id", CLIENT_MORE, "secret", "porth_client_back_end", ""]),
        Kind::UserMiddleware => USER_MIDDLEWARE.to_owned(),
    };
    let init = if kind == Kind::Plugin { format!("{}{ADD}", parts.init) } else { String::new() };
    let export = match extension {
        None => "PORTH_EXPORT_PLUGIN(load, unload, init_instance, close_instance);".to_owned(),
        Some(id) => fill(EXTENSION.trim_end(), &[("id", id)]),
    };
    let schema = format!("\\\"{parameter}\\\":{schema}");
    let source = fill(
        BASE,
        &[
            ("fields", parts.fields),
            ("code", &code),
            ("init", &init),
            ("export", &export),
            ("purpose", purpose),
            ("kind", name),
            ("description", description),
            ("needs", parts.needs),
            ("schema", &schema),
            ("parameter", parameter),
            ("include", &include),
        ],
    );
    let kind_line = if kind == Kind::Plugin { String::new() } else { format!("kind = \"{name}\"\n") };
    let server = fill(SERVER, &[("kind_line", &kind_line), ("parameters", parameters)]);
    let readme = fill(README, &[("ask", &template.ask(kind, name)), ("include", &include)]);
    vec![
        (PathBuf::from(".gitignore"), GITIGNORE.to_owned()),
        (PathBuf::from("Makefile"), template.fill(&fill(MAKEFILE, &[("include", &include)]))),
        (PathBuf::from("README.md"), template.fill(&readme)),
        (PathBuf::from("porth.toml"), template.fill(&server)),
        (PathBuf::from("json.h"), JSON.to_owned()),
        (PathBuf::from(format!("{}.c", names.krate)), template.fill(&source)),
    ]
}

const METRICS: &str = "    porth_bytes detail = porth_bytes_static(PORTH_STR(\"\"));
    int32_t code = host->metric_add(instance->context, PORTH_STR(\"greetings_total\"), PORTH_METRIC_COUNTER,
                                    PORTH_STR(\"Greetings\"), &instance->greetings, &detail);
    porth_bytes_drop(detail);
    if (code != PORTH_OK) {
        return refuse(instance, result, PORTH_ERROR, PORTH_STR(\"[\\\"the host refuses a metric\\\"]\"));
    }
";
const ADD: &str = "    if (add_endpoints(instance) != PORTH_OK) {
        return refuse(instance, result, PORTH_ERROR,
                      PORTH_STR(\"[\\\"the host refuses an endpoint; its log says why\\\"]\"));
    }
";
const CLIENT_MORE: &str = ",\\\"confidential\\\":true,\\\"authorization_type\\\":[\\\"client_credentials\\\"]";

const BASE: &str = include_str!("../templates/c/base.c.in");
const JSON: &str = include_str!("../templates/c/json.h.in");
const WAITS: &str = include_str!("../templates/c/waits.c.in");
const HELLO: &str = include_str!("../templates/c/hello.c.in");
const DOCUMENTS: &str = include_str!("../templates/c/documents.c.in");
const SESSIONS: &str = include_str!("../templates/c/sessions.c.in");
const EVENTS: &str = include_str!("../templates/c/events.c.in");
const SCHEME: &str = include_str!("../templates/c/scheme.c.in");
const BACK_END: &str = include_str!("../templates/c/back_end.c.in");
const USER_MIDDLEWARE: &str = include_str!("../templates/c/user_middleware.c.in");
const EXTENSION: &str = include_str!("../templates/c/extension.c.in");
const MAKEFILE: &str = include_str!("../templates/c/Makefile.in");
const README: &str = include_str!("../templates/c/README.md.in");
const GITIGNORE: &str = include_str!("../templates/c/gitignore.in");
