//! `porth completion` and `porth man`: what shells and `man` know of the commands, from the commands themselves, and of the
//! configuration, from its keys.
//!
//! Start at [`man`].

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::roff::{Roff, bold, italic, roman};
use serde_json::{Value, json};

use super::output::Output;
use super::{Cli, Failure};
use crate::config::{Key, Kind, OTHER_VARIABLES, keys};

#[derive(Args)]
pub(super) struct CompletionArguments {
    /// The shell.
    shell: Shell,
}

#[derive(Args)]
pub(super) struct ManArguments {
    /// Writes a page for each command and one for the configuration into this directory, which is made if it is missing;
    /// otherwise the main page is printed.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints a shell's script.
pub(super) fn completion(arguments: &CompletionArguments, output: Output) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "porth", &mut script);
    print(script, "script", output)
}

/// Prints or writes pages of the manual.
pub(super) fn man(arguments: &ManArguments, output: Output) -> Result<ExitCode, Failure> {
    // The long version says of the build what no manual is about.
    let command = Cli::command().version(env!("CARGO_PKG_VERSION"));
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    page.extend(about_all_commands().render().into_bytes());
    let Some(directory) = &arguments.dir else {
        return print(page, "page", output);
    };
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(command, directory)?;
    std::fs::write(directory.join("porth.1"), page)?;
    std::fs::write(directory.join("porth.toml.5"), configuration().render())?;
    output.print(&json!({"directory": directory}), |_| {});
    Ok(ExitCode::SUCCESS)
}

/// What the main page says beyond options and commands.
fn about_all_commands() -> Roff {
    let mut page = Roff::new();
    let mut section = |title: &str, items: &[(&str, &str)]| {
        page.control("SH", [title]);
        for (name, text) in items {
            page.control("TP", []);
            page.text([bold(*name)]);
            page.text([roman(*text)]);
        }
    };
    section("EXIT STATUS", EXIT_STATUS);
    section("SIGNALS OF SERVE", SIGNALS);
    section("FILES", FILES);
    section("ENVIRONMENT", &[("PORTH_<KEY>", "Any key of the configuration: see porth.toml(5).")]);
    for (name, meaning) in OTHER_VARIABLES {
        page.control("TP", []);
        page.text([bold(name)]);
        page.text([roman(meaning)]);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("porth.toml"), roman("(5), "), roman("/usr/share/doc/porth/administrators.md")]);
    page
}

const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "What was asked for is done."),
    ("1", "It was refused or failed; of doctor and plugin test: something is wrong."),
    ("2", "There is no such command or option."),
    ("3", "Only a server could do it, and none answers."),
    ("78", "The configuration is wrong."),
];

const SIGNALS: &[(&str, &str)] = &[
    ("SIGTERM, SIGINT", "Finishes what is under way, and ends."),
    (
        "SIGHUP",
        "Reads the configuration anew and lets a fresh process take over, of the program that is on disk then; no request fails.",
    ),
];

const FILES: &[(&str, &str)] = &[
    ("/etc/porth/porth.toml", "The configuration, where the service of the package has it."),
    ("/etc/porth/plugins.lock", "Digests of the libraries that may be loaded, with trust = \"lock\"."),
    ("/usr/local/lib/porth/plugins", "The libraries, likewise."),
    (
        "/var/lib/porth",
        "The data directory, likewise; porth.db is the database, porth.sock the way of these commands to a running server.",
    ),
];

/// The page of the configuration file.
fn configuration() -> Roff {
    let mut page = Roff::new();
    page.control("TH", ["porth.toml", "5", "", concat!("porth ", env!("CARGO_PKG_VERSION"))]);
    page.control("SH", ["NAME"]);
    page.text([roman("porth.toml - the configuration of porth")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "A file in TOML. Every key has a default. The command line counts more than the environment, that more than the \
         file; relative paths in the file count from its folder. An unknown key is refused with line and column. After a \
         change: porth check-config --config FILE, then SIGHUP to the server; data and database need a restart.",
    )]);
    let mut table = "";
    page.control("SH", ["KEYS OUTSIDE TABLES"]);
    for key in keys().iter().filter(|key| key.kind != Kind::Tables) {
        let within = key.path.rsplit_once('.').map_or("", |(within, _)| within);
        if within != table {
            table = within;
            page.control("SH", [format!("[{within}]").as_str()]);
        }
        describe(&mut page, key, key.path.rsplit('.').next().unwrap_or_default(), Some(key.variable()));
    }
    for key in keys().iter().filter(|key| key.kind == Kind::Tables) {
        page.control("SH", [format!("[[{}]]", key.path).as_str()]);
        page.text([roman(plain(&key.description))]);
        for member in &key.members {
            let name = member.path.strip_prefix(&format!("{}.", key.path)).unwrap_or(&member.path);
            describe(&mut page, member, name, None);
        }
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("porth-check-config"), roman("(1), "), bold("porth-serve"), roman("(1)")]);
    page
}

fn describe(page: &mut Roff, key: &Key, name: &str, variable: Option<String>) {
    page.control("TP", []);
    let default = match &key.default {
        Value::Null => String::new(),
        default => format!(" = {default}"),
    };
    page.text([bold(name), roman(default)]);
    let mut text = plain(&key.description);
    if !key.choices.is_empty() {
        let choices: Vec<String> = key.choices.iter().map(|choice| choice.value.clone()).collect();
        text.push_str(&format!(" ({})", choices.join(", ")));
    }
    page.text([roman(text)]);
    if let Some(variable) = variable {
        page.control("br", []);
        page.text([italic(variable)]);
    }
}

/// Markdown without its marks, in one paragraph.
fn plain(markdown: &str) -> String {
    markdown.replace('`', "").replace('\n', " ")
}

fn print(text: Vec<u8>, name: &str, output: Output) -> Result<ExitCode, Failure> {
    let text = String::from_utf8(text)?;
    output.print(&json!({name: text}), |_| println!("{}", text.trim_end_matches('\n')));
    Ok(ExitCode::SUCCESS)
}
