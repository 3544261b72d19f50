//! A configuration file with everything in it, as a start for one's own.

use std::fmt::Write as _;

use super::keys::{Key, Kind, keys};

/// Every key with its meaning and its default, each commented out with a `#` at its beginning.
#[must_use]
pub fn sample() -> String {
    let mut text = String::from("# The configuration of Porth. Lines such as `#watch = true` say the defaults.\n");
    let mut table = "";
    for key in keys().iter().filter(|key| key.kind != Kind::Tables) {
        let (within, name) = key.path.rsplit_once('.').unwrap_or(("", &key.path));
        if within != table {
            table = within;
            // Writing to a text cannot fail.
            let _ = write!(text, "\n[{within}]\n");
        }
        describe(&mut text, key);
        let default = toml::Value::try_from(&key.default).map_or_else(|_| "…".to_owned(), |value| value.to_string());
        let _ = writeln!(text, "#{name} = {default}");
    }
    for key in keys().iter().filter(|key| key.kind == Kind::Tables) {
        describe(&mut text, key);
        let _ = writeln!(text, "#[[{}]]", key.path);
        for member in &key.members {
            let name = member.path.get(key.path.len() + 1..).unwrap_or_default();
            let _ = writeln!(text, "# {}\n#{name} = …", member.description);
        }
    }
    text
}

fn describe(text: &mut String, key: &Key) {
    let _ = writeln!(text, "\n# {}", key.description);
    for choice in &key.choices {
        let _ = writeln!(text, "#   {}: {}", choice.value, choice.description);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Overrides};
    use super::*;

    #[test]
    fn without_the_marks_it_is_the_default_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("porth.toml");
        let told: String = sample()
            .lines()
            .filter(|line| !line.contains('…') && !line.contains("[["))
            .map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' ')).unwrap_or(line).to_owned() + "\n")
            .collect();
        assert!(told.contains("\n[limits]\n") && told.contains("\ndeadline_ms = 30000\n"), "{told}");
        std::fs::write(&path, told).unwrap();
        let load = |path| Config::load(Some(path), Overrides::default()).unwrap();
        let plain = directory.path().join("plain.toml");
        std::fs::write(&plain, "").unwrap();
        assert_eq!(load(&path), load(&plain));
    }
}
