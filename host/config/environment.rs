//! What the environment says: `PORTH_<KEY>`, and secrets that a service manager hands over as files.

use std::path::PathBuf;

use super::keys::{Key, keys};
use super::unknown::closest_by;

/// The part of a process's environment that concerns Porth.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Variables whose names begin with `PORTH_`, by name.
    pub(super) variables: Vec<(String, String)>,
    /// Those of them that are no text.
    pub(super) no_text: Vec<String>,
    /// Where a service manager left secrets for this process (systemd: `$CREDENTIALS_DIRECTORY`).
    pub(super) credentials: Option<PathBuf>,
}

/// Variables that are no keys, with what they are for.
pub const OTHER_VARIABLES: [(&str, &str); 3] = [
    ("PORTH_CONFIG", "the configuration file, as `--config`"),
    ("PORTH_LOG", "what is logged: `info`, `debug`, `porth=debug,plugin=trace`"),
    ("PORTH_LOG_FORMAT", "`text` or `json`"),
];

impl Environment {
    /// That of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let mut environment = Self { credentials, ..Self::default() };
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
            match value.into_string() {
                Ok(value) => environment.variables.push((name.to_owned(), value)),
                Err(_) => environment.no_text.push(name.to_owned()),
            }
        }
        environment.variables.sort();
        environment
    }

    /// What is set, by key. What is empty counts as not set, since many a service manager cannot take a variable away.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&'static Key, &str, &str)> {
        let set = self.variables.iter().filter(|(_, value)| !value.is_empty());
        set.filter_map(|(name, value)| Some((of(name)?, name.as_str(), value.as_str())))
    }

    /// A sentence for each variable that means nothing.
    ///
    /// They are no errors: a cluster may set some by itself, such as `PORTH_PORT` for a service that is called `porth`.
    pub(super) fn unknown(&self) -> Vec<String> {
        let names = self.variables.iter().map(|(name, _)| name);
        let unknown = names.filter(|name| {
            let other = OTHER_VARIABLES.iter().any(|(known, _)| known == name) || OF_THE_BUILD.contains(&name.as_str());
            !other && !name.starts_with(FOR_TESTS) && of(name).is_none()
        });
        let variables: Vec<String> = keys().iter().map(Key::variable).collect();
        let known = variables.iter().map(String::as_str).chain(OTHER_VARIABLES.map(|(name, _)| name));
        let known: Vec<&str> = known.collect();
        unknown
            .map(|name| {
                // What all have in common says nothing of what was meant.
                let own = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
                let likely = closest_by(name, known.iter().copied(), own);
                format!("the environment variable `{name}` means nothing{likely}")
            })
            .collect()
    }
}

fn of(variable: &str) -> Option<&'static Key> {
    keys().iter().find(|key| key.variable() == variable)
}

const PREFIX: &str = "PORTH_";
const FOR_TESTS: &str = "PORTH_TEST_";
/// What the build script stamps into the program, which Cargo also hands to programs that it runs.
const OF_THE_BUILD: [&str; 5] =
    ["PORTH_ABI_FINGERPRINT", "PORTH_BUILD_ID", "PORTH_COMMIT", "PORTH_RUSTC", "PORTH_TARGET"];

#[cfg(test)]
mod tests {
    use super::*;

    fn of_names(names: &[&str]) -> Environment {
        let variables = names.iter().map(|name| ((*name).to_owned(), "x".to_owned()));
        Environment { variables: variables.collect(), ..Environment::default() }
    }

    #[test]
    fn what_cargo_sets_means_nothing_and_is_no_news() {
        let script = include_str!("../../build.rs");
        let stamped: Vec<&str> = script.split("stamp(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(stamped.len() > 3 && stamped.iter().all(|name| OF_THE_BUILD.contains(name)), "{stamped:?}");
        assert_eq!(of_names(&stamped).unknown(), Vec::<String>::new());
    }

    #[test]
    fn every_key_has_a_variable_of_its_own() {
        let mut names: Vec<String> = keys().iter().map(Key::variable).collect();
        assert!(names.contains(&"PORTH_LIMITS__BODY_BYTES_MAX".to_owned()), "{names:?}");
        names.extend(OTHER_VARIABLES.map(|(name, _)| name.to_owned()));
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(!names.iter().any(|name| name.starts_with(FOR_TESTS)));
    }

    #[test]
    fn variables_that_mean_nothing_are_told() {
        let known = of_names(&["PORTH_CONFIG", "PORTH_TEST_SCALE", "PORTH_LISTEN", "PORTH_LOGIN__NAME_LOCK_S"]);
        assert_eq!(known.unknown(), Vec::<String>::new());
        assert_eq!(
            of_names(&["PORTH_LIMITS_DEADLINE_MS", "PORTH_QQ"]).unknown(),
            [
                "the environment variable `PORTH_LIMITS_DEADLINE_MS` means nothing; did you mean \
                 `PORTH_LIMITS__DEADLINE_MS`?",
                "the environment variable `PORTH_QQ` means nothing"
            ]
        );
    }

    #[test]
    fn what_is_empty_is_not_set() {
        let mut environment = of_names(&["PORTH_LISTEN", "PORTH_DATA"]);
        environment.variables[0].1.clear();
        let set: Vec<&str> = environment.keys().map(|(key, ..)| key.path.as_str()).collect();
        assert_eq!(set, ["data"]);
    }
}
