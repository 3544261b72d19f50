//! The documents hold what they say: links lead somewhere; commands, options, keys, routes and files exist.
//!
//! Whether a command does what its page says, nobody but a reader can tell.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

const PAGES: [&str; 8] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "docs/administrators.md",
    "docs/authors.md",
    "docs/configuration.md",
    "docs/integrators.md",
];

#[test]
fn links_lead_somewhere() {
    check(&PAGES, 30, |page, seen| {
        let folder = Path::new(page.name).parent().unwrap();
        for target in page.links() {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { page.name.into() } else { folder.join(file) };
            let there = match std::fs::read_to_string(root().join(&path)) {
                Ok(text) => anchor.is_empty() || headings(&text).any(|heading| slug(heading) == anchor),
                Err(_) => anchor.is_empty() && root().join(&path).is_dir(),
            };
            seen.look(there, || format!("the link `{target}` leads nowhere"));
        }
    });
}

#[test]
fn commands_exist_with_their_options() {
    check(&PAGES, 60, |page, seen| {
        for line in page.blocks("sh").flat_map(shell_commands) {
            let arguments = std::iter::once("porth".to_owned()).chain(line.iter().cloned());
            let read = porth::cli::command().try_get_matches_from(arguments);
            seen.look(read.is_ok(), || format!("`porth {}`: {}", line.join(" "), read.unwrap_err()));
        }
        for span in page.spans().filter_map(|span| span.strip_prefix("porth ")) {
            let read = named(span);
            seen.look(read.is_ok(), || format!("`porth {span}`: there is no `{}`", read.unwrap_err()));
        }
    });
}

#[test]
fn targets_of_make_exist() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    check(&PAGES, 5, |page, seen| {
        for target in page.spans().filter_map(|span| span.strip_prefix("make ")) {
            let target = target.split(' ').next().unwrap();
            let is_there = makefile.contains(&format!("\n{target}:"));
            seen.look(is_there, || format!("`make {target}`: there is no such target"));
        }
    });
}

#[test]
fn keys_of_the_configuration_exist() {
    let keys: BTreeSet<&str> = porth::config::keys().iter().map(|key| key.path.as_str()).collect();
    let tables: BTreeSet<&str> = keys.iter().filter_map(|key| key.split_once('.').map(|(table, _)| table)).collect();
    // Tables of authors are of Cargo.
    let pages = ["README.md", "SECURITY.md", "docs/administrators.md", "docs/integrators.md"];
    check(&pages, 6, |page, seen| {
        for key in page.spans().filter_map(|span| span.split(['=', ' ']).next()) {
            let in_table = |(table, name): (&str, &str)| tables.contains(table) && !name.contains('(');
            if key.split_once('.').is_some_and(in_table) {
                seen.look(keys.contains(key), || format!("the key `{key}` does not exist"));
            }
        }
        for block in page.blocks("toml") {
            let read = toml::from_str::<porth::config::Config>(block);
            seen.look(read.is_ok(), || format!("no configuration: {}\n{block}", read.unwrap_err()));
        }
    });
}

#[test]
fn routes_of_the_host_exist() {
    let contract: Value =
        serde_json::from_str(&std::fs::read_to_string(root().join("tests/golden/openapi.json")).unwrap()).unwrap();
    let paths = contract["paths"].as_object().unwrap();
    let own: BTreeSet<&str> = paths.keys().filter_map(|path| path.split('/').nth(2)).collect();
    let has = |method: &str, path: &str| {
        let found = paths.iter().filter(|(template, _)| is_like(template, path));
        found.into_iter().any(|(_, item)| method.is_empty() || item.get(method.to_lowercase()).is_some())
    };
    check(&PAGES[4..], 30, |page, seen| {
        for span in page.spans() {
            let (methods, path) = span.rsplit_once(' ').unwrap_or(("", span));
            let methods: Vec<&str> = methods.split(", ").collect();
            let is_method = |method: &&str| matches!(*method, "" | "GET" | "POST" | "PUT" | "DELETE");
            let path = path.split('?').next().unwrap();
            // Below other names lies what plug-ins offer.
            let is_own = path.strip_prefix("/api/").is_some_and(|below| own.contains(below.split('/').next().unwrap()));
            if !is_own || !methods.iter().all(is_method) {
                continue;
            }
            for method in methods {
                seen.look(has(method, path), || format!("there is no route `{method} {path}`"));
            }
        }
        let urls = page.blocks("sh").flat_map(|block| block.split("http://127.0.0.1:4593").skip(1));
        for path in urls.filter_map(|url| url.split([' ', '\'', '"', '?', '\n', '`']).next()) {
            let is_own = path.split('/').nth(2).is_some_and(|name| path.starts_with("/api/") && own.contains(name));
            if is_own {
                seen.look(has("", path), || format!("there is no route `{path}`"));
            }
        }
    });
}

#[test]
fn files_that_are_named_are_there() {
    let folders =
        ["host/", "tests/", "docs/", "examples/", "plugins/", "plugin-api/", "scripts/", "packaging/", "benches/"];
    check(&PAGES, 25, |page, seen| {
        for span in page.spans().filter(|span| folders.iter().any(|folder| span.starts_with(folder))) {
            if !span.contains([' ', '*', '{', '<']) {
                seen.look(is_there(span), || format!("there is no file `{span}`"));
            }
        }
    });
}

/// Whether a file is where it is said to be, or a folder deeper: the package has some without that folder.
fn is_there(file: &str) -> bool {
    let (folder, name) = file.split_once('/').unwrap_or(("", file));
    let mut below = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    root().join(file).exists() || below.any(|place| place.join(name).is_file())
}

/// A page, taken apart.
struct Page {
    name: &'static str,
    /// What is in fences, with its language.
    blocks: Vec<(String, String)>,
    /// All other lines.
    prose: String,
}

impl Page {
    fn read(name: &'static str) -> Self {
        let (mut blocks, mut prose, mut within) = (Vec::<(String, String)>::new(), String::new(), false);
        for line in std::fs::read_to_string(root().join(name)).unwrap().lines() {
            match line.trim_start().strip_prefix("```") {
                Some(_) if within => within = false,
                Some(language) => {
                    blocks.push((language.to_owned(), String::new()));
                    within = true;
                }
                None => {
                    writeln!(if within { &mut blocks.last_mut().unwrap().1 } else { &mut prose }, "{line}").unwrap()
                }
            }
        }
        assert!(!within, "{name}: a fence has no end");
        Self { name, blocks, prose }
    }

    fn blocks(&self, language: &str) -> impl Iterator<Item = &str> {
        self.blocks.iter().filter(move |(of, _)| of == language).map(|(_, text)| text.as_str())
    }

    /// What stands between backquotes.
    fn spans(&self) -> impl Iterator<Item = &str> {
        self.prose.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
    }

    fn links(&self) -> impl Iterator<Item = &str> {
        self.prose.split("](").skip(1).filter_map(|rest| rest.split(')').next())
    }
}

/// What a rule has looked at, and what of it is wrong.
#[derive(Default)]
struct Seen {
    count: usize,
    wrong: Vec<String>,
}

impl Seen {
    fn look(&mut self, is_there: bool, what: impl FnOnce() -> String) {
        self.count += 1;
        if !is_there {
            self.wrong.push(what());
        }
    }
}

/// Runs a rule over pages, and shows all that is wrong. A rule that finds hardly anything to look at any more has gone
/// blind, and fails, too.
fn check(pages: &[&'static str], least: usize, rule: impl Fn(&Page, &mut Seen)) {
    let (mut text, mut count) = (String::new(), 0);
    for name in pages {
        let mut seen = Seen::default();
        rule(&Page::read(name), &mut seen);
        count += seen.count;
        for what in seen.wrong {
            writeln!(text, "{name}: {what}").unwrap();
        }
    }
    assert!(count >= least, "{count} things were looked at");
    assert!(text.is_empty(), "\n{text}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn headings(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim())
}

/// The anchor of a heading, as forges make it.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

/// Whether a path is one of a template; what a reader is to fill in is written in capitals or in angle brackets.
fn is_like(template: &str, path: &str) -> bool {
    let segments = |path: &'_ str| path.trim_matches('/').split('/').map(str::to_owned).collect::<Vec<_>>();
    let (template, path) = (segments(template), segments(path));
    let is_open = |segment: &str| segment.starts_with(['<', '{', '…']) || !segment.contains(char::is_lowercase);
    template.len() == path.len()
        && template.iter().zip(&path).all(|(of, segment)| of == segment || of.starts_with('{') || is_open(segment))
        || path.last().is_some_and(|last| last == "…") && template.starts_with(&path[..path.len() - 1])
}

/// The arguments of each `porth` in a shell's script.
fn shell_commands(script: &str) -> Vec<Vec<String>> {
    let mut words: Vec<Vec<String>> = vec![Vec::new()];
    for line in script.replace("\\\n", " ").lines() {
        let (mut word, mut quote, mut is_word) = (String::new(), None, false);
        let mut letters = line.chars().chain([' ']).peekable();
        words.push(Vec::new());
        while let Some(letter) = letters.next() {
            match (letter, quote) {
                (_, Some(open)) if letter == open => quote = None,
                (_, Some(_)) => word.push(letter),
                ('\'' | '"', None) => (quote, is_word) = (Some(letter), true),
                ('#', None) if word.is_empty() => break,
                ('$', None) if letters.peek() == Some(&'(') => {}
                (' ' | '|' | ';' | '&' | '(' | ')' | '>' | '<', None) => {
                    if !word.is_empty() || is_word {
                        words.last_mut().unwrap().push(std::mem::take(&mut word));
                        is_word = false;
                    }
                    match letter {
                        ' ' => {}
                        // A file follows, no command.
                        '>' | '<' => words.push(vec![letter.to_string()]),
                        _ => words.push(Vec::new()),
                    }
                }
                (_, None) => word.push(letter),
            }
        }
    }
    let first = |command: &[String]| command.iter().position(|word| !matches!(word.as_str(), "sudo" | "do"));
    let porth = |command: Vec<String>| {
        let first = first(&command)?;
        let is_porth = Path::new(&command[first]).file_name()? == "porth";
        is_porth.then(|| command[first + 1..].to_vec())
    };
    words.into_iter().filter_map(porth).collect()
}

/// Whether the commands and options that prose names are there, else what is not. `a|b` are two, `[…]` is left out at will.
fn named(span: &str) -> Result<(), String> {
    let mut command = porth::cli::command();
    // The options of all commands, too.
    command.build();
    let mut words = span.split([' ', '[', ']', ',']).filter(|word| !word.is_empty());
    let mut options = Vec::new();
    while command.has_subcommands() {
        let Some(word) = words.next() else { break };
        if word.starts_with('-') {
            options.push(word);
            continue;
        }
        let mut found = None;
        for one in word.split('|').filter(|one| *one != "…") {
            found = Some(command.find_subcommand(one).ok_or(one)?.clone());
        }
        let Some(found) = found else { break };
        command = found;
    }
    options.extend(words.filter(|word| word.starts_with("--")));
    for option in options {
        let long = option.trim_start_matches('-').split('=').next().unwrap_or_default();
        let is_there = |argument: &clap::Arg| argument.get_long() == Some(long);
        if !command.get_arguments().any(is_there) && !matches!(long, "help" | "version") {
            return Err(option.to_owned());
        }
    }
    Ok(())
}

#[test]
fn scripts_are_read_as_a_shell_does() {
    let script = "KEY=$(porth key new --name me | head -n 1)\n\
                  echo 'a b' | sudo porth user add 'x y' \\\n    --scope '' # porth nothing\n\
                  install porth /usr/bin/porth; target/debug/porth status > porth";
    let expected: [&[&str]; 3] = [&["key", "new", "--name", "me"], &["user", "add", "x y", "--scope", ""], &["status"]];
    assert_eq!(shell_commands(script), expected);
    assert_eq!(named("user|client list [--pattern TEXT]"), Ok(()));
    assert_eq!(named("user list --patern TEXT"), Err("--patern".to_owned()));
    assert_eq!(named("plugin chek FILE"), Err("chek".to_owned()));
    assert!(is_like("/api/user/{username}", "/api/user/NAME") && !is_like("/api/user", "/api/users/"));
}
