//! The text of a new plug-in's files: the templates, with the blanks filled in.
//!
//! Start at [`Template`].

mod c;

use std::path::{Path, PathBuf};

use super::new::{Kind, With};

/// A plug-in's name in its spellings.
pub(super) struct Names {
    /// As the author gave it.
    name: String,
    /// As a crate: `mail_code`.
    krate: String,
    /// As a type: `MailCode`.
    r#type: String,
    /// For people: `Mail code`.
    display: String,
}

impl Names {
    pub(super) fn new(name: &str) -> Self {
        let words = || name.split(['-', '_']).filter(|word| !word.is_empty());
        let mut r#type: String = words().map(capitalised).collect();
        if TAKEN.contains(&r#type.as_str()) {
            r#type.push_str("Module");
        }
        let display = capitalised(&words().collect::<Vec<_>>().join(" "));
        Self { name: name.to_owned(), krate: name.replace('-', "_"), r#type, display }
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// Types that the templates name, so that the plug-in's own is called otherwise.
const TAKEN: &[&str] = &[
    "Arc",
    "Auth",
    "BTreeMap",
    "Box",
    "Caller",
    "CanUse",
    "ClientBackEnd",
    "Code",
    "Collection",
    "Consumed",
    "Counter",
    "Document",
    "Documents",
    "Duration",
    "Err",
    "Error",
    "Event",
    "Health",
    "HealthReport",
    "HookError",
    "Host",
    "HostError",
    "InitError",
    "JsonSchema",
    "KeptClient",
    "KeptUser",
    "Kind",
    "Map",
    "Module",
    "None",
    "Ok",
    "Operation",
    "Option",
    "Parameters",
    "Part",
    "Plugin",
    "Request",
    "Response",
    "Result",
    "Right",
    "Scheme",
    "Send",
    "Sent",
    "Some",
    "String",
    "Sync",
    "TcpStream",
    "TestHost",
    "TestUser",
    "UserBackEnd",
    "UserMiddleware",
    "UserRevoke",
    "Value",
];

/// Makes the files of a plug-in.
pub(super) struct Template<'a> {
    names: &'a Names,
    sdk: Option<&'a Path>,
}

/// What an example adds to the plug-in.
#[derive(Default)]
struct Parts {
    uses: String,
    fields: String,
    needs: String,
    endpoints: String,
    made: Vec<&'static str>,
    counted: &'static str,
    counted_test: &'static str,
    methods: String,
    tests: String,
}

impl<'a> Template<'a> {
    /// A crate.
    pub(super) fn rust(names: &'a Names, kind: Kind, with: &[With], sdk: Option<&'a Path>) -> Vec<(PathBuf, String)> {
        let template = Self { names, sdk };
        let (kind_name, source, description, parameters) = match kind {
            Kind::Plugin => ("plugin", PLUGIN, "Greets whoever asks", "{ greeting = \"Hello\" }"),
            Kind::Scheme => ("scheme", SCHEME, "Asks for a code that the person has chosen", "{ length_min = 4 }"),
            Kind::User => ("user", USER, "Keeps a few users", "{ people = { ann = \"change me\" } }"),
            Kind::Client => ("client", CLIENT, "Keeps a few clients", "{ clients = { app = \"change me\" } }"),
            Kind::UserMiddleware => {
                ("user_middleware", USER_MIDDLEWARE, "Adds a property to every user", "{ organisation = \"ACME\" }")
            }
        };
        let parts = Parts::of(with);
        let needs = match kind {
            Kind::Plugin => parts.needs.clone(),
            Kind::Scheme => ".kind(Kind::Scheme)".to_owned(),
            Kind::User => ".kind(Kind::User)".to_owned(),
            Kind::Client => ".kind(Kind::Client)".to_owned(),
            Kind::UserMiddleware => ".kind(Kind::UserMiddleware)".to_owned(),
        };
        let lib = fill(source, &[("module", &template.module(description, &needs))]);
        let lib = template.fill(&parts.fill(&lib));
        let kind_line = if kind == Kind::Plugin { String::new() } else { format!("kind = \"{kind_name}\"\n") };
        let server = fill(SERVER, &[("kind_line", &kind_line), ("parameters", parameters)]);
        let readme = fill(README, &[("ask", &template.ask(kind, kind_name)), ("sdk_text", template.sdk_text())]);
        vec![
            (PathBuf::from("Cargo.toml"), template.manifest(with.contains(&With::Tokio))),
            (PathBuf::from(".gitignore"), GITIGNORE.to_owned()),
            (PathBuf::from("README.md"), template.fill(&readme)),
            (PathBuf::from("porth.toml"), template.fill(&server)),
            (PathBuf::from("src/lib.rs"), lib),
        ]
    }

    /// A folder with a source file in C.
    pub(super) fn c(names: &Names, kind: Kind, with: &[With], sdk: Option<&Path>) -> Vec<(PathBuf, String)> {
        c::files(names, kind, with, sdk)
    }

    /// Fills in the names.
    fn fill(&self, text: &str) -> String {
        let Names { name, krate, r#type, display } = self.names;
        fill(text, &[("name", name), ("crate", krate), ("Type", r#type), ("display", display)])
    }

    fn manifest(&self, tokio: bool) -> String {
        let own = Path::new("sdk/plugin-api");
        let sdk = self.sdk.unwrap_or(own).display().to_string();
        // Otherwise the copy would be a part of the author's workspace, whose settings are the author's.
        let exclude = if self.sdk.is_none() { "exclude = [\"sdk\"]\n" } else { "" };
        let (features, crates) = if tokio {
            let crates = "tokio = { version = \"1\", features = [\"net\", \"rt-multi-thread\", \"time\"] }\n";
            (", features = [\"tokio\"]", crates)
        } else {
            ("", "")
        };
        let text = fill(MANIFEST, &[("sdk", &sdk), ("exclude", exclude), ("features", features), ("tokio", crates)]);
        format!("{}\n", self.fill(&text).trim_end())
    }

    /// What the module says of itself.
    fn module(&self, description: &str, needs: &str) -> String {
        let Names { name, display, .. } = self.names;
        format!("    const MODULE: Module = Module::new(\"{name}\", \"{display}\", \"{description}\"){needs};")
    }

    /// What shows that it works.
    fn ask(&self, kind: Kind, kind_name: &str) -> String {
        match kind {
            Kind::Plugin => format!(
                "and, in another terminal, ask it:\n\n```sh\ncurl http://127.0.0.1:4593/api/{}/hello/World\n```",
                self.names.name
            ),
            _ => format!(
                "and, in another terminal, see it run:\n\n```sh\nKEY=$(porth key new --name me --config porth.toml | head -n 1)\n\
                 curl -H \"Authorization: token $KEY\" http://127.0.0.1:4593/api/mod/{kind_name}/{}\n```",
                self.names.name
            ),
        }
    }

    fn sdk_text(&self) -> &'static str {
        match self.sdk {
            Some(_) => "",
            None => {
                "`sdk/` is the source of Porth's SDK, which this is built with and which is on no registry; leave it as it is. \
                 A newer\nPorth may want a newer one: replace the folder by that of `porth plugin new`.\n"
            }
        }
    }
}

impl Parts {
    fn of(with: &[With]) -> Self {
        let mut parts = Self::default();
        for with in with {
            parts.add(*with);
        }
        parts
    }

    fn add(&mut self, with: With) {
        match with {
            With::Documents => {
                self.fields.push_str("    visits: Collection<u64>,\n");
                self.endpoints.push_str("        endpoints.post(\"/visits\", Self::visit).auth(Auth::None).add()?;\n");
                self.made.push("visits: host.documents().collection(\"visits\")");
                self.methods.push_str(DOCUMENTS);
                self.tests.push_str(DOCUMENTS_TEST);
            }
            With::Sessions => {
                self.needs.push_str(".needs(&[Right::Sessions])");
                self.endpoints.push_str("        endpoints.get(\"/me\", Self::me).auth(Auth::Session).add()?;\n");
                self.methods.push_str(SESSIONS);
                self.tests.push_str(SESSIONS_TEST);
            }
            With::Metrics => {
                self.uses.push_str("use porth_plugin::Counter;\n");
                self.fields.push_str("    greetings: Counter,\n");
                self.made.push("greetings: host.metrics().counter(\"greetings_total\", \"Greetings\")?");
                self.counted = "        self.greetings.increment(&[]);\n";
                self.counted_test = "        assert_eq!(instance.metric(\"greetings_total\", &[]), Some(1.0));\n";
            }
            With::Tokio => {
                self.uses.push_str("use tokio::net::TcpStream;\nuse tokio::time::timeout;\n");
                self.needs.push_str(".tokio(1)");
                // Without `auth` it is for administrators.
                self.endpoints.push_str("        endpoints.get(\"/port/{port}\", Self::port).add()?;\n");
                self.methods.push_str(TOKIO);
                self.tests.push_str(TOKIO_TEST);
            }
            With::Events => {
                self.uses.push_str("use porth_plugin::stream::produce;\n");
                self.fields.push_str("    host: Host<Self>,\n");
                self.endpoints.push_str("        endpoints.get(\"/ticks\", Self::ticks).auth(Auth::None).add()?;\n");
                // The last one: it moves.
                self.made.push("host");
                self.methods.push_str(EVENTS);
                self.tests.push_str(EVENTS_TEST);
            }
        }
    }

    fn fill(&self, text: &str) -> String {
        let mut made = vec!["greeting: parameters.greeting"];
        made.extend(&self.made);
        let made = match made.as_slice() {
            [only] => format!("        Ok(Self {{\n            {only},\n        }})"),
            all => {
                let fields: String = all.iter().map(|field| format!("            {field},\n")).collect();
                format!("        Ok(Self {{\n{fields}        }})")
            }
        };
        let std = if self.methods.contains("Duration::") { "use std::time::Duration;\n\n" } else { "" };
        let mut uses: Vec<&str> = self.uses.lines().collect();
        uses.push("use porth_plugin::prelude::*;");
        // As rustfmt has them: types come before modules.
        uses.sort_by_key(|line| (!line.contains("::Counter"), *line));
        let imports = format!("{std}{}\n", uses.join("\n"));
        fill(
            text,
            &[
                ("imports", &imports),
                ("fields", &self.fields),
                ("endpoints", &self.endpoints),
                ("made", &made),
                ("counted", self.counted),
                ("counted_test", self.counted_test),
                ("methods", &self.methods),
                ("tests", &self.tests),
                ("testing", if self.tests.contains("TestUser") { "{TestHost, TestUser}" } else { "TestHost" }),
            ],
        )
    }
}

/// Puts values in the place of their names in double braces.
fn fill(text: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value))
}

const MANIFEST: &str = include_str!("templates/Cargo.toml.in");
const GITIGNORE: &str = include_str!("templates/gitignore.in");
const README: &str = include_str!("templates/README.md.in");
const SERVER: &str = include_str!("templates/porth.toml.in");
const PLUGIN: &str = include_str!("templates/plugin.rs.in");
const SCHEME: &str = include_str!("templates/scheme.rs.in");
const USER: &str = include_str!("templates/user.rs.in");
const CLIENT: &str = include_str!("templates/client.rs.in");
const USER_MIDDLEWARE: &str = include_str!("templates/user_middleware.rs.in");
const DOCUMENTS: &str = include_str!("templates/documents.rs.in");
const DOCUMENTS_TEST: &str = include_str!("templates/documents.test.rs.in");
const SESSIONS: &str = include_str!("templates/sessions.rs.in");
const SESSIONS_TEST: &str = include_str!("templates/sessions.test.rs.in");
const TOKIO: &str = include_str!("templates/tokio.rs.in");
const TOKIO_TEST: &str = include_str!("templates/tokio.test.rs.in");
const EVENTS: &str = include_str!("templates/events.rs.in");
const EVENTS_TEST: &str = include_str!("templates/events.test.rs.in");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_spellings() {
        let Names { krate, r#type, display, .. } = Names::new("mail-code_2");
        assert_eq!((krate.as_str(), r#type.as_str(), display.as_str()), ("mail_code_2", "MailCode2", "Mail code 2"));
        assert_eq!(Names::new("request").r#type, "RequestModule");
    }

    #[test]
    fn no_blank_is_left() {
        let names = Names::new("greeter");
        let all = [With::Documents, With::Sessions, With::Metrics, With::Tokio, With::Events];
        for kind in [Kind::Plugin, Kind::Scheme, Kind::User, Kind::Client, Kind::UserMiddleware] {
            let of_c = Template::c(&names, kind, &all, None);
            for (path, text) in Template::rust(&names, kind, &all, None).into_iter().chain(of_c) {
                // Two braces in a row are also Rust's.
                let left = text.split("{{").nth(1).filter(|rest| rest.contains("}}"));
                assert_eq!(left, None, "{kind:?} {}", path.display());
            }
        }
    }
}
