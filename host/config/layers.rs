//! The sources of the configuration, laid one over the other.
//!
//! Start at [`Layers`]. What each says is checked by itself, since only then it is known whose mistake it is.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;

use toml::de::DeTable;
use toml::{Table, Value};

use super::environment::Environment;
use super::keys::{Key, Kind, keys};
use super::load::{ConfigError, Origin, Overrides};
use super::place::Place;
use super::unknown::{closest, unknown_keys};
use super::{Config, PLUGINS_LOCK};

/// What was said so far.
#[derive(Default)]
pub(super) struct Layers {
    pub(super) table: Table,
    /// Who said what, by key.
    pub(super) origins: BTreeMap<String, Origin>,
    pub(super) problems: Vec<String>,
}

impl Layers {
    pub(super) fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let what = "the configuration file";
        let unreadable = |source| ConfigError::Unreadable { what, path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let malformed = |source| ConfigError::Malformed { path: path.to_owned(), source: Box::new(source) };
        self.table = toml::from_str(&text).map_err(malformed)?;
        let spans = DeTable::parse(&text).map_err(malformed)?;
        let problems = unknown_keys(&text, spans.get_ref());
        if !problems.is_empty() {
            return Err(ConfigError::Unknown { path: path.to_owned(), problems });
        }
        // By itself, since only so a mistake has a place.
        toml::from_str::<Config>(&text).map_err(malformed)?;

        let folder = path.parent().unwrap_or(Path::new(""));
        for key in keys() {
            if let Some(span) = find(spans.get_ref(), &key.path) {
                let line = Place::of(&text, &span).line;
                self.origins.insert(key.path.clone(), Origin::File { line });
                if let Some(value) = get_mut(&mut self.table, &key.path) {
                    rebase(key, value, folder);
                }
            } else if let Some(default) = default_path(key) {
                put(&mut self.table, &key.path, folder.join(default).to_string_lossy().into_owned().into());
            }
        }
        Ok(())
    }

    pub(super) fn read_credentials(&mut self, environment: &Environment) -> Result<(), ConfigError> {
        let Some(folder) = &environment.credentials else { return Ok(()) };
        for key in keys().iter().filter(|key| key.is_secret) {
            let name = format!("porth.{}", key.path);
            let path = folder.join(&name);
            if path.exists() {
                let value = first_line(&path, "the credential")?;
                self.say(key, &value, Origin::Credential(name));
            }
        }
        Ok(())
    }

    pub(super) fn read_environment(&mut self, environment: &Environment) {
        for name in &environment.no_text {
            self.problems.push(format!("the environment variable `{name}` is no text in UTF-8"));
        }
        for (key, variable, value) in environment.keys() {
            self.say(key, value, Origin::Environment(variable.to_owned()));
        }
    }

    pub(super) fn read_command_line(&mut self, overrides: Overrides) {
        for pair in &overrides.set {
            let (path, value) = pair.split_once('=').unwrap_or((pair, ""));
            match Key::find(path) {
                Some(key) => self.say(key, value, Origin::CommandLine(format!("--set {path}"))),
                None => {
                    let suggestion = closest(path, keys().iter().map(|key| key.path.as_str()));
                    self.problems.push(format!("`--set {path}`: there is no key `{path}`{suggestion}"));
                }
            }
        }
        let listen = overrides.listen.map(|listen| listen.to_string().into());
        for (path, value) in [("data", overrides.data), ("plugins", overrides.plugins), ("listen", listen)] {
            if let (Some(value), Some(key)) = (value, Key::find(path)) {
                self.say(key, &value.to_string_lossy(), Origin::CommandLine(format!("--{path}")));
            }
        }
    }

    /// Takes a value over what was said of its key before, if it is one.
    fn say(&mut self, key: &Key, text: &str, origin: Origin) {
        let read = key.read(text).and_then(|value| {
            let mut alone = Table::new();
            put(&mut alone, &key.path, value.clone());
            let understood: Result<Config, toml::de::Error> = Value::Table(alone).try_into();
            understood.map(|_| value).map_err(|error| error.message().to_owned())
        });
        match read {
            Ok(value) => {
                put(&mut self.table, &key.path, value);
                self.origins.insert(key.path.clone(), origin);
            }
            Err(wrong) => {
                let shown = if key.is_secret { "…" } else { text };
                self.problems.push(format!("`{origin}` is `{shown}`: {wrong}"));
            }
        }
    }

    /// Of keys that say the same in different ways the one that was said later.
    pub(super) fn choose(&mut self) {
        for (one, other) in ALTERNATIVES {
            let (Some(first), Some(second)) = (self.origins.get(one), self.origins.get(other)) else { continue };
            let dropped = match first.rank().cmp(&second.rank()) {
                Ordering::Less => one,
                Ordering::Greater => other,
                Ordering::Equal => {
                    self.problems.push(format!("`{one}` and `{other}` are both given; one of them must go"));
                    continue;
                }
            };
            self.table.remove(dropped);
            self.origins.remove(dropped);
        }
    }
}

/// What a path is beside a configuration file that says nothing of it.
fn default_path(key: &Key) -> Option<&str> {
    if key.path == "plugins_lock" { Some(PLUGINS_LOCK) } else { key.default.as_str().filter(|_| key.is_path) }
}

/// Paths of a file count from its folder.
fn rebase(key: &Key, value: &mut Value, folder: &Path) {
    match value {
        Value::String(path) if key.is_path => *path = folder.join(&*path).to_string_lossy().into_owned(),
        Value::Array(items) if key.kind == Kind::Tables => {
            for item in items.iter_mut().filter_map(Value::as_table_mut) {
                for member in &key.members {
                    let name = member.path.get(key.path.len() + 1..).unwrap_or_default();
                    if let Some(value) = get_mut(item, name) {
                        rebase(member, value, folder);
                    }
                }
            }
        }
        _ => {}
    }
}

pub(super) fn first_line(path: &Path, what: &'static str) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|source| ConfigError::Unreadable { what, path: path.to_owned(), source })?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

fn find(table: &DeTable<'_>, path: &str) -> Option<std::ops::Range<usize>> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let (name, value) = table.iter().find(|(name, _)| name.get_ref() == first)?;
    match rest {
        None => Some(name.span()),
        Some(rest) => find(value.get_ref().as_table()?, rest),
    }
}

fn get_mut<'a>(table: &'a mut Table, path: &str) -> Option<&'a mut Value> {
    match path.split_once('.') {
        None => table.get_mut(path),
        Some((first, rest)) => get_mut(table.get_mut(first)?.as_table_mut()?, rest),
    }
}

fn put(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(table.insert(path.to_owned(), value)),
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            // Files whose tables are none were refused before.
            if let Some(inner) = inner.as_table_mut() {
                put(inner, rest, value);
            }
        }
    }
}

/// Keys of which one is enough.
const ALTERNATIVES: [(&str, &str); 2] = [(DATABASE, DATABASE_FILE), ("listen", "listener")];
pub(super) const DATABASE: &str = "database";
pub(super) const DATABASE_FILE: &str = "database_file";
