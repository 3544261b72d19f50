//! What the Debian package brings along: the configuration file, the maintainers' scripts, and what systemd hears.

use std::fmt::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use porth::config::{Config, Kind, Overrides, keys};

use crate::support::process::InTime as _;
use crate::support::server::{PATIENCE, Setup};

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)
}

/// After a change of keys, `UPDATE_EXPECT=1 cargo test --test it -- packaging` writes it anew.
#[test]
fn the_configuration_file_has_every_key_with_its_default() {
    expect_test::expect_file![packaging("porth.toml")].assert_eq(&configuration());
    let load = |text: &str| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("porth.toml");
        std::fs::write(&path, text).unwrap();
        let config = Config::load(Some(&path), Overrides::default()).unwrap_or_else(|error| panic!("{error}\n{text}"));
        Config { plugins_lock: None, ..config }
    };
    let packaged = load(&configuration());
    let expected = Config { data: DATA.into(), plugins: PLUGINS.into(), ..Config::default() };
    assert_eq!(packaged, expected);
    // Whoever takes in every key that is commented out has changed nothing.
    let mut taken_in = 0;
    let mut all = String::new();
    for line in configuration().lines() {
        let key = line.strip_prefix('#').filter(|line| !line.starts_with(' '));
        taken_in += usize::from(key.is_some());
        writeln!(all, "{}", key.unwrap_or(line)).unwrap();
    }
    assert!(taken_in > 30, "{taken_in}");
    assert_eq!(load(&all), expected);
}

const DATA: &str = "/var/lib/porth";
const PLUGINS: &str = "/usr/local/lib/porth/plugins";

/// Explanations begin with `# `, keys that are taken in by deleting a character with `#`.
fn configuration() -> String {
    let mut text = String::from(
        "# Porth. Every key stands here with its default; /usr/share/doc/porth/configuration.md says more.\n\
         # After a change: porth check-config --config /etc/porth/porth.toml && systemctl reload porth\n",
    );
    let mut table = "";
    for key in keys().iter().filter(|key| key.kind != Kind::Tables) {
        let within = key.path.rsplit_once('.').map_or("", |(within, _)| within);
        if within != table {
            table = within;
            write!(text, "\n[{within}]\n").unwrap();
        }
        let name = key.path.rsplit('.').next().unwrap();
        let choices: Vec<&str> = key.choices.iter().map(|choice| choice.value.as_str()).collect();
        let choices = if choices.is_empty() { String::new() } else { format!(" ({})", choices.join(", ")) };
        writeln!(text, "\n# {}{choices}", key.description.replace('\n', " ")).unwrap();
        match (key.path.as_str(), toml::Value::try_from(&key.default)) {
            ("data", _) => writeln!(text, "data = \"{DATA}\"").unwrap(),
            ("plugins", _) => writeln!(text, "plugins = \"{PLUGINS}\"").unwrap(),
            (_, Ok(default)) => writeln!(text, "#{name} = {default}").unwrap(),
            (_, Err(_)) => writeln!(text, "# {name}: none").unwrap(),
        }
    }
    text.push_str("\n# Instances, as many as there are to be: see /usr/share/doc/porth/administrators.md.\n");
    text
}

#[test]
fn the_package_brings_what_an_administrator_looks_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = std::fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    let script = std::fs::read_to_string(root.join("scripts/package.sh")).unwrap();
    let mut places = Vec::new();
    for asset in deb["assets"].as_array().unwrap() {
        let text = |at: usize| asset[at].as_str().unwrap();
        let (source, place, mode) = (text(0), text(1), text(2));
        places.push(place.to_owned());
        let expected = if source.starts_with("target/release/") { "755" } else { "644" };
        assert!(mode == expected || place == "etc/porth/", "{source} has mode {mode}");
        assert!(!place.starts_with("usr/local"), "that is the administrator's: {place}");
        // What is made while the package is: its script must know of it.
        if let Some(made) = source.strip_prefix("target/package/") {
            let stem = made.split(['*', '.']).next().unwrap().trim_end_matches('/');
            assert!(script.contains(stem), "nobody makes {source}");
        } else if !source.starts_with("target/") {
            let folder = source.split('*').next().unwrap();
            assert!(root.join(folder).exists(), "there is no {source}");
        }
    }
    for wanted in [
        "usr/bin/",
        "usr/lib/systemd/system/",
        "usr/lib/sysusers.d/porth.conf",
        "etc/porth/",
        "usr/include/",
        "usr/share/man/man1/",
        "usr/share/man/man5/",
        "usr/share/bash-completion/completions/porth",
        "usr/share/zsh/vendor-completions/_porth",
        "usr/share/fish/vendor_completions.d/porth.fish",
    ] {
        assert!(places.iter().any(|place| place == wanted), "nothing goes to {wanted}");
    }
    assert_eq!(deb["conf-files"].as_array().unwrap()[0].as_str(), Some("/etc/porth/porth.toml"));
}

#[test]
fn the_scripts_of_the_package_are_understood_by_a_shell() {
    for script in ["postinst", "prerm", "postrm"] {
        let output = Command::new("sh").arg("-n").arg(packaging("debian").join(script)).output_in_time();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_service_manager_hears_how_the_server_stands() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = |wanted: &str| {
        let mut buffer = [0; 1000];
        loop {
            let len = manager.recv(&mut buffer).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            // Others may come in between: how it starts, that it lives.
            if text.lines().any(|line| line == wanted) {
                return text;
            }
        }
    };
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "300000")];
    let mut server = Setup::new().environment(&variables).start();
    hear("READY=1");
    hear("WATCHDOG=1");
    let child = std::fs::read(format!("/proc/{}/environ", server.child_pid())).unwrap();
    assert!(!String::from_utf8_lossy(&child).contains("NOTIFY_SOCKET"), "plug-ins have nothing to say there");
    server.recycle();
    assert!(hear("RELOADING=1").contains("MONOTONIC_USEC="));
    assert!(hear("READY=1").contains("STATUS=Child 2 serves"));
    server.signal(rustix::process::Signal::TERM);
    hear("STOPPING=1");
    assert_eq!(server.wait().0, Some(0));
}
