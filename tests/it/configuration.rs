//! `docs/configuration.md` is what the code says: names, variables, defaults, meanings.
//!
//! After a change of keys, `UPDATE_EXPECT=1 cargo test --test it -- configuration` writes the page anew between its
//! marks.

use std::fmt::Write as _;
use std::path::Path;

use porth::config::{Key, Kind, OTHER_VARIABLES, keys};

#[test]
fn the_configuration_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once(BEGIN).expect("the mark before the keys");
    let (_, tail) = rest.split_once(END).expect("the mark after the keys");
    expect_test::expect_file![path].assert_eq(&format!("{head}{BEGIN}{}{END}{tail}", documentation()));
}

/// Otherwise a path in the file would count from wherever the server was started.
#[test]
fn paths_are_marked_as_such() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("host/config");
    let mut marked = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        // Of a struct of the configuration, and of no other.
        for declared in text.split("\n}\n").filter(|declared| declared.contains("JsonSchema)]")) {
            for (at, _) in declared.match_indices("PathBuf") {
                let before = &declared[..at];
                let (field, line) = (before.lines().rev().nth(1).unwrap(), before.lines().next_back().unwrap());
                if line.trim_start().starts_with("pub ") {
                    assert!(field.contains("x-path"), "{line}: say `#[schemars(extend(\"x-path\" = true))]` above it");
                    marked += 1;
                }
            }
        }
    }
    assert!(marked >= 4, "{marked}");
}

fn documentation() -> String {
    let mut text = String::from("\n## Outside tables\n\n");
    let mut table = "";
    text.push_str(HEAD);
    for key in keys().iter().filter(|key| key.kind != Kind::Tables) {
        let within = key.path.rsplit_once('.').map_or("", |(within, _)| within);
        if within != table {
            table = within;
            write!(text, "\n## `[{within}]`\n\n{HEAD}").unwrap();
        }
        let name = key.path.rsplit('.').next().unwrap();
        writeln!(text, "| `{name}` | `{}` | {} | {} |", key.variable(), default(key), meaning(key)).unwrap();
    }
    for key in keys().iter().filter(|key| key.kind == Kind::Tables) {
        write!(text, "\n## `[[{}]]`\n\n{} In the environment `{}`, ", key.path, key.description, key.variable())
            .unwrap();
        text.push_str("a list of tables in TOML.\n\n| key | |\n|---|---|\n");
        for member in &key.members {
            let name = member.path.strip_prefix(&format!("{}.", key.path)).unwrap();
            writeln!(text, "| `{name}` | {} |", meaning(member)).unwrap();
        }
    }
    text.push_str("\n## Variables that are no keys\n\n| variable | |\n|---|---|\n");
    for (name, meaning) in OTHER_VARIABLES {
        writeln!(text, "| `{name}` | {meaning} |").unwrap();
    }
    text + "\n"
}

fn default(key: &Key) -> String {
    toml::Value::try_from(&key.default).map_or_else(|_| String::new(), |value| format!("`{value}`"))
}

fn meaning(key: &Key) -> String {
    let choices = key.choices.iter().map(|choice| format!("`{}`: {}", choice.value, choice.description));
    let choices: Vec<String> = choices.collect();
    format!("{} {}", key.description, choices.join(" ")).trim_end().replace('|', "\\|")
}

const HEAD: &str = "| key | variable | default | |\n|---|---|---|---|\n";
const BEGIN: &str = "<!-- keys: written by tests/it/configuration.rs -->\n";
const END: &str = "<!-- /keys -->\n";
