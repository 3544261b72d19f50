//! Reading the configuration: the file, then what the command line says instead.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{Config, PLUGINS_LOCK};

/// What the command line or the environment says instead of the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The data directory.
    pub data: Option<PathBuf>,
    /// The directory of libraries.
    pub plugins: Option<PathBuf>,
    /// Where to listen, in plain HTTP and instead of all listeners of the file.
    pub listen: Option<SocketAddr>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no TOML, has an unknown key, or a value of another type; the text names line and column.
    #[error("the configuration file `{}` is not understood\n{}", path.display(), source.to_string().trim_end())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// Values that cannot be used, all of them at once.
    #[error("the configuration cannot be used:\n  {}", problems.join("\n  "))]
    Invalid {
        /// One sentence each.
        problems: Vec<String>,
    },
}

impl Config {
    /// The configuration in `file` (all defaults without one), with what `overrides` says instead.
    ///
    /// Relative paths count from the directory of the file; without a file, and in `overrides`, from the working
    /// directory.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(file: Option<&Path>, overrides: Overrides) -> Result<Self, ConfigError> {
        let mut config = match file {
            None => Self::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
                let mut config: Self = toml::from_str(&text)
                    .map_err(|source| ConfigError::Malformed { path: path.to_owned(), source: Box::new(source) })?;
                let directory = path.parent().unwrap_or(Path::new(""));
                config.data = directory.join(config.data);
                config.plugins = directory.join(config.plugins);
                let lock = config.plugins_lock.unwrap_or_else(|| PLUGINS_LOCK.into());
                config.plugins_lock = Some(directory.join(lock));
                config.place_certificates(directory);
                config
            }
        };
        let Overrides { data, plugins, listen } = overrides;
        config.data = data.unwrap_or(config.data);
        config.plugins = plugins.unwrap_or(config.plugins);
        if listen.is_some() {
            config.listen = listen;
            config.listeners.clear();
        }
        config.validate()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::super::Trust;
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
        let overrides = Overrides { data: Some("d".into()), plugins: None, listen: Some("[::1]:1".parse().unwrap()) };
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
            "listen = '127.0.0.1:2'\n[limits]\nbody = 3",
            expect![[r#"
                the configuration file `DIR/porth.toml` is not understood
                TOML parse error at line 3, column 1
                  |
                3 | body = 3
                  | ^^^^
                unknown field `body`, expected one of `body_bytes_max`, `header_bytes_max`, `header_deadline_ms`, `keep_alive_ms`, `body_bytes_s_min`, `body_grace_ms`, `deadline_ms`, `lifecycle_deadline_ms`, `drain_deadline_ms`, `library_bytes_max`, `instance_threads_max`, `hang_ms`, `stuck_ms`, `health_every_ms`, `panics_max`, `panics_window_ms`, `broken_ms`, `documents_max`, `documents_bytes_max`, `document_bytes_max`"#]],
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
}
