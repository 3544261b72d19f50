//! Reading the configuration: defaults, the file, secrets from the service manager, the environment, the command line;
//! what comes later wins.
//!
//! Start at [`Loaded::load`].

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::Value;

use super::environment::Environment;
use super::layers::{DATABASE, DATABASE_FILE, Layers, first_line};
use super::{Config, DeclaredInstance};

/// What the command line says instead of the file and the environment.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The data directory.
    pub data: Option<PathBuf>,
    /// The directory of libraries.
    pub plugins: Option<PathBuf>,
    /// Where to listen, in plain HTTP and instead of all listeners of the file.
    pub listen: Option<SocketAddr>,
    /// Any keys, as `KEY=VALUE`.
    pub set: Vec<String>,
}

/// A configuration, and where it comes from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What counts.
    pub config: Config,
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// Who said what is no default, by key.
    pub origins: BTreeMap<String, Origin>,
    /// What is odd and keeps nothing from working, one sentence each.
    pub warnings: Vec<String>,
}

/// Where a configuration comes from, for who reads it again.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// The environment as it was at the start.
    pub environment: Environment,
}

impl Source {
    /// The instances that the file declares now.
    ///
    /// # Errors
    /// As [`Loaded::load`]; the command line is not asked.
    pub fn declared(&self) -> Result<Vec<DeclaredInstance>, ConfigError> {
        let loaded = Loaded::load(self.file.as_deref(), &self.environment, Overrides::default())?;
        Ok(loaded.config.instances)
    }
}

/// Who said what a key is. Of two, the later one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
    Default,
    /// The configuration file.
    File {
        /// The line, from 1.
        line: usize,
    },
    /// The service manager, in a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// This environment variable.
    Environment(String),
    /// This option of the command line.
    CommandLine(String),
}

impl Origin {
    /// A word for the kind of it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File { .. } => "file",
            Self::Credential(_) => "credential",
            Self::Environment(_) => "environment",
            Self::CommandLine(_) => "command line",
        }
    }

    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Credential(_) => 2,
            Self::Environment(_) => 3,
            Self::CommandLine(_) => 4,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File { line } => write!(formatter, "line {line}"),
            Self::Credential(name) => write!(formatter, "$CREDENTIALS_DIRECTORY/{name}"),
            Self::Environment(name) | Self::CommandLine(name) => formatter.write_str(name),
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {what} `{}`: {source}", path.display())]
    Unreadable {
        /// Which: the configuration file, or one that it names.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no TOML, or has a value of another type; the text names line and column.
    #[error("the configuration file `{}` is not understood\n{}", path.display(), source.to_string().trim_end())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// The file has keys that there are not, all of them at once.
    #[error("the configuration file `{}` is not understood\n  {}", path.display(), problems.join("\n  "))]
    Unknown {
        /// The file.
        path: PathBuf,
        /// One sentence each, with line and column.
        problems: Vec<String>,
    },
    /// Values that cannot be used, all of them at once.
    #[error("the configuration cannot be used:\n  {}", problems.join("\n  "))]
    Invalid {
        /// One sentence each.
        problems: Vec<String>,
    },
}

impl Config {
    /// The configuration in `file` with what `overrides` says instead; the environment says nothing.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(file: Option<&Path>, overrides: Overrides) -> Result<Self, ConfigError> {
        Loaded::load(file, &Environment::default(), overrides).map(|loaded| loaded.config)
    }
}

impl Loaded {
    /// The configuration in `file` (all defaults without one), with what the environment and the command line say
    /// instead.
    ///
    /// Relative paths in the file, and those of defaults, count from its folder; all others, and defaults without a file,
    /// from the working directory.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(file: Option<&Path>, environment: &Environment, overrides: Overrides) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        if let Some(path) = file {
            layers.read_file(path)?;
        }
        layers.read_credentials(environment)?;
        layers.read_environment(environment);
        layers.read_command_line(overrides);
        layers.choose();
        let Layers { table, mut origins, problems } = layers;
        if !problems.is_empty() {
            return Err(ConfigError::Invalid { problems });
        }
        // Each value was understood by itself.
        let read = Value::Table(table).try_into();
        let mut config: Config =
            read.map_err(|error: toml::de::Error| ConfigError::Invalid { problems: vec![error.message().to_owned()] })?;
        if let Some(path) = &config.database_file {
            config.database = first_line(path, "the file that `database_file` names,")?;
            if let Some(origin) = origins.get(DATABASE_FILE).cloned() {
                origins.insert(DATABASE.to_owned(), origin);
            }
        }
        config.validate()?;
        Ok(Self { config, file: file.map(Path::to_owned), origins, warnings: environment.unknown() })
    }

    /// Who said what a key is.
    #[must_use]
    pub fn origin(&self, path: &str) -> &Origin {
        self.origins.get(path).unwrap_or(&Origin::Default)
    }
}

/// A URL without the password in it.
#[must_use]
pub fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let rest = match rest.rsplit_once('@') {
        Some((user, place)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:…@{place}"),
            None => format!("{user}@{place}"),
        },
        None => rest.to_owned(),
    };
    let hidden = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if name.contains("password") => format!("{name}=…"),
        _ => pair.to_owned(),
    };
    let query = query.map(|query| query.split('&').map(hidden).collect::<Vec<_>>().join("&"));
    format!("{scheme}://{rest}{}", query.map(|query| format!("?{query}")).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::super::{Trust, keys};
    use super::*;

    fn load(text: &str, overrides: Overrides) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("porth.toml");
        std::fs::write(&path, text).unwrap();
        let shown = |text: String| text.replace(directory.path().to_str().unwrap(), "DIR");
        let mut config = Config::load(Some(&path), overrides).map_err(|error| shown(error.to_string()))?;
        config.data = shown(config.data.to_str().unwrap().to_owned()).into();
        config.plugins = shown(config.plugins.to_str().unwrap().to_owned()).into();
        config.plugins_lock = Some(shown(config.plugins_lock().to_str().unwrap().to_owned()).into());
        Ok(config)
    }

    fn check_refused(text: &str, expected: Expect) {
        expected.assert_eq(&load(text, Overrides::default()).unwrap_err());
    }

    #[test]
    fn without_a_file_everything_has_a_default() {
        let config = Config::load(None, Overrides::default()).unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.external_url(), "http://127.0.0.1:4593");
    }

    #[test]
    fn an_empty_file_means_the_defaults_beside_it() {
        let config = load("", Overrides::default()).unwrap();
        let expected = Config {
            data: "DIR/data".into(),
            plugins: "DIR/plugins".into(),
            plugins_lock: Some("DIR/plugins.lock".into()),
            ..Config::default()
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn the_list_of_digests_lies_beside_the_file_or_else_in_the_data_directory() {
        let overrides = || Overrides { data: Some("d".into()), ..Overrides::default() };
        assert_eq!(load("", overrides()).unwrap().plugins_lock(), Path::new("DIR/plugins.lock"));
        let config = load("plugins_lock = 'safe/list'\ntrust = 'lock'", overrides()).unwrap();
        assert_eq!((config.plugins_lock().as_path(), config.trust), (Path::new("DIR/safe/list"), Trust::Lock));
        let config = Config::load(None, overrides()).unwrap();
        assert_eq!(config.plugins_lock(), Path::new("d/plugins.lock"));
    }

    #[test]
    fn the_command_line_wins() {
        let overrides =
            Overrides { data: Some("d".into()), listen: Some("[::1]:1".parse().unwrap()), ..Overrides::default() };
        let config = load("data = '/srv'\nlisten = '127.0.0.1:2'\nplugins = '/opt/p'", overrides).unwrap();
        assert_eq!(config.data, Path::new("d"));
        assert_eq!(config.plugins, Path::new("/opt/p"));
        assert_eq!(config.external_url(), "http://[::1]:1");
    }

    #[test]
    fn an_instance_has_parameters() {
        let config =
            load("[[instance]]\nmodule = 'hello'\nname = 'h'\nparameters = { greeting = 'Hi' }", Overrides::default());
        let instance = config.unwrap().instances.remove(0);
        assert_eq!((instance.kind.as_str(), instance.module.as_str()), ("plugin", "hello"));
        assert_eq!(instance.parameters["greeting"], "Hi");
        assert_eq!(instance.grants, None);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Config::load(Some(Path::new("/nowhere/porth.toml")), Overrides::default()).unwrap_err();
        expect!["cannot read the configuration file `/nowhere/porth.toml`: No such file or directory (os error 2)"]
            .assert_eq(&error.to_string());
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        check_refused(
            "listen = '127.0.0.1:2'\n[limits]\nbody_byte_max = 3",
            expect![[r#"
                the configuration file `DIR/porth.toml` is not understood
                  line 3, column 1: there is no key `limits.body_byte_max`; did you mean `limits.body_bytes_max`?"#]],
        );
    }

    #[test]
    fn a_value_of_another_type_is_refused_with_its_place() {
        check_refused(
            "listen = 4593",
            expect![[r#"
                the configuration file `DIR/porth.toml` is not understood
                TOML parse error at line 1, column 10
                  |
                1 | listen = 4593
                  |          ^^^^
                invalid type: integer `4593`, expected socket address"#]],
        );
    }

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Environment { variables: variables.collect(), ..Environment::default() }
    }

    #[test]
    fn the_command_line_comes_before_the_environment_before_the_file_before_defaults() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("porth.toml");
        std::fs::write(&path, "admin_scope = 'f'\n\n[login]\nname_lock_s = 1\npeer_window_s = 1").unwrap();
        let environment = environment(&[
            ("PORTH_DATA", "e"),
            ("PORTH_LISTEN", "127.0.0.1:1"),
            ("PORTH_LOGIN__NAME_LOCK_S", "2"),
            ("PORTH_CORS_ORIGINS", "https://a,https://b"),
            ("PORTH_LOG", "debug"),
        ]);
        let set = ["login.session_lifetime_s=100".to_owned(), "listen=127.0.0.1:3".to_owned()];
        let overrides = Overrides { data: Some("c".into()), set: set.into(), ..Overrides::default() };
        let loaded = Loaded::load(Some(&path), &environment, overrides).unwrap();

        let config = &loaded.config;
        assert_eq!(config.data, Path::new("c"));
        assert_eq!(config.listen.unwrap().to_string(), "127.0.0.1:3");
        assert_eq!(config.admin_scope, "f");
        let login = &config.login;
        assert_eq!((login.session_lifetime_s, login.name_lock_s, login.peer_window_s), (100, 2, 1));
        assert_eq!(config.cors_origins, ["https://a", "https://b"]);
        assert_eq!(config.plugins, directory.path().join("plugins"));

        let origin = |path: &str| loaded.origin(path).to_string();
        assert_eq!(origin("data"), "--data");
        assert_eq!(origin("listen"), "--set listen");
        assert_eq!(origin("admin_scope"), "line 1");
        assert_eq!(origin("login.peer_window_s"), "line 5");
        assert_eq!(origin("login.name_lock_s"), "PORTH_LOGIN__NAME_LOCK_S");
        assert_eq!((origin("plugins"), loaded.warnings.len()), ("default".to_owned(), 0));
    }

    #[test]
    fn every_mistake_outside_the_file_names_who_made_it() {
        let environment = environment(&[("PORTH_WATCH", "maybe"), ("PORTH_TRUST", "locked"), ("PORTH_LISTEN", "x")]);
        let set = ["limits.deadline=1".to_owned()];
        let overrides = Overrides { set: set.into(), ..Overrides::default() };
        let error = Loaded::load(None, &environment, overrides).unwrap_err().to_string();
        expect![[r#"
            the configuration cannot be used:
              `PORTH_WATCH` is `maybe`: expected `true` or `false`
              `PORTH_TRUST` is `locked`: unknown variant `locked`, expected `directory` or `lock`
              `PORTH_LISTEN` is `x`: invalid socket address syntax
              `--set limits.deadline`: there is no key `limits.deadline`; did you mean `limits.deadline_ms`?"#]]
        .assert_eq(&error);
    }

    #[test]
    fn every_key_can_be_set_from_outside() {
        for key in keys() {
            let text = match (&key.default, key.kind) {
                _ if key.path == DATABASE_FILE => continue,
                (serde_json::Value::Null, _) if key.path == "listen" => "127.0.0.1:1".to_owned(),
                (serde_json::Value::Null, _) => "https://example.org".to_owned(),
                (serde_json::Value::String(text), _) => text.clone(),
                (other, _) => other.to_string(),
            };
            let environment = environment(&[(key.variable().as_str(), text.as_str())]);
            let loaded = Loaded::load(None, &environment, Overrides::default()).unwrap();
            assert_eq!(loaded.origin(&key.path), &Origin::Environment(key.variable()), "{}", key.path);
        }
    }

    #[test]
    fn the_database_may_stand_in_a_file_or_be_a_credential() {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        std::fs::write(&secret, "postgres://a:b@c/d\nmore\n").unwrap();
        let config = directory.path().join("porth.toml");
        let load = |text: &str, environment: &Environment| {
            std::fs::write(&config, text).unwrap();
            Loaded::load(Some(&config), environment, Overrides::default())
        };
        let nothing = Environment::default();
        assert_eq!(load("database_file = 'secret'", &nothing).unwrap().config.database, "postgres://a:b@c/d");

        let both = load("database_file = 'secret'\ndatabase = 'sqlite'", &nothing).unwrap_err().to_string();
        assert!(both.contains("`database` and `database_file` are both given"), "{both}");
        let missing = load("database_file = 'none'", &nothing).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read the file that `database_file` names, `"), "{missing}");

        let from_outside = environment(&[("PORTH_DATABASE_FILE", secret.to_str().unwrap())]);
        let loaded = load("database = 'sqlite'", &from_outside).unwrap();
        assert_eq!(loaded.config.database, "postgres://a:b@c/d");
        assert_eq!(loaded.origin(DATABASE), &Origin::Environment("PORTH_DATABASE_FILE".to_owned()));

        std::fs::write(directory.path().join("porth.database"), "postgres://e").unwrap();
        let handed = Environment { credentials: Some(directory.path().to_owned()), ..Environment::default() };
        let loaded = load("database_file = 'secret'", &handed).unwrap();
        assert_eq!((loaded.config.database.as_str(), loaded.config.database_file), ("postgres://e", None));
        assert_eq!(loaded.origins[DATABASE].to_string(), "$CREDENTIALS_DIRECTORY/porth.database");
    }

    /// JSON has none.
    #[test]
    fn dates_among_the_parameters_are_texts() {
        let text = "[[instance]]\nmodule = 'm'\nname = 'n'\nparameters = { list = [{ at = 2026-01-01 }] }";
        let config = load(text, Overrides::default()).unwrap();
        assert_eq!(config.instances[0].parameters["list"], serde_json::json!([{"at": "2026-01-01"}]));
    }

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("sqlite", "sqlite"),
            ("postgres://a:b:c@d:1/e?x=y", "postgres://a:…@d:1/e?x=y"),
            ("postgres://a:p@q@d/e", "postgres://a:…@d/e"),
            ("postgres://a@d/e", "postgres://a@d/e"),
            ("postgres://d/e?password=b&sslmode=require", "postgres://d/e?password=…&sslmode=require"),
        ] {
            assert_eq!(redacted(url), shown);
        }
    }
}
