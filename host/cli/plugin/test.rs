//! `porth plugin test`: runs a library through all that a server may ask of it, and says what is wrong.
//!
//! Start at [`run`]. The library is judged and probed as ever, and then runs in a server of its own, whose folder goes with
//! it: nothing that the library does, not even a crash, reaches this process.

mod client;
mod endpoints;
#[expect(clippy::indexing_slicing, reason = "of JSON, where what is not there is null")]
mod exercise;
mod faults;
#[expect(clippy::indexing_slicing, reason = "of JSON, where what is not there is null")]
mod params;
mod report;
mod seen;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use http::Method;
use serde_json::{Map, Value};

use self::exercise::Exercise;
use self::report::{Grade, Report};
use self::server::Server;
use super::super::Failure;
use super::super::output::Output;
use super::super::scratch::Scratch;
use crate::abi::{ModuleDescription, Prober, StagingDirectory, judge};
use crate::config::Limits;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The library.
    file: PathBuf,
    /// What an instance of a module is started with, instead of what its schema suggests: `hello={"greeting": "Hello"}`;
    /// the module's name, or its kind and name as `user/mock`.
    #[arg(long, value_name = "MODULE=JSON")]
    parameters: Vec<String>,
}

/// Tests a library; the exit code is 1 when something fails.
pub(crate) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode, Failure> {
    let began = Instant::now();
    let given: Vec<Given> = arguments.parameters.iter().map(|text| Given::read(text)).collect::<Result<_, _>>()?;
    let folder = Scratch::new()?;
    let staging = StagingDirectory::create(&folder.path)?;
    let staged = staging.stage(&arguments.file, Limits::default().library_bytes_max)?;
    let mut report = Report::new(output.json);
    report.section(format!("library {}", staged.library()));
    let Some(modules) = before_opening(&mut report, &folder, &staged) else {
        return Ok(report.finish(began.elapsed()));
    };
    for given in &given {
        if !modules.iter().any(|module| given.is_for(module)) {
            return Err(Failure::new(format!("`--parameters`: the library has no module `{}`", given.module)));
        }
    }
    let library = Library { file: "tested.so".to_owned(), bytes: staged.bytes().to_vec() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for module in &modules {
        // One for each, so that what one module did is not taken for another's.
        let place = folder.path.join(format!("{}-{}", module.kind, module.name));
        std::fs::create_dir(&place)?;
        let parameters = given.iter().find(|given| given.is_for(module)).map(|given| given.parameters.clone());
        report.section(format!("module {}/{}", module.kind, module.name));
        let server = Server::start(&place, "")?;
        library.put(&server.plugins, 0)?;
        runtime.block_on(async {
            let loaded = server.admin(Method::PUT, "/mod/reload/", None).await;
            match loaded {
                Ok(answer) if answer.status == 200 => {
                    let mut exercise = Exercise { server: &server, module, library: &library, report: &mut report };
                    exercise.run(parameters).await;
                }
                Ok(answer) => report.found(Grade::Fail, "load", answer.says(), "see `porth plugin check`"),
                Err(error) => report.found(Grade::Fail, "load", error, "see `porth plugin check`"),
            }
        });
    }
    Ok(report.finish(began.elapsed()))
}

/// What is found out before a server opens it: the modules, unless it does not load.
fn before_opening(
    report: &mut Report,
    folder: &Scratch,
    staged: &crate::abi::Staged,
) -> Option<Vec<ModuleDescription>> {
    let judged = match judge(staged) {
        Ok(judged) => judged,
        Err(refusal) => {
            report.found(
                Grade::Fail,
                "judged by its bytes",
                refusal.to_string(),
                "see \"What Porth refuses\" in docs/authors.md",
            );
            return None;
        }
    };
    report.pass("judged by its bytes", format!("ABI {}.{}, {}", judged.abi_major, judged.abi_minor, judged.target));
    if judged.constructors > 8 {
        let many = format!("{} functions run when it is opened", judged.constructors);
        report.found(
            Grade::Note,
            "static constructors",
            many,
            "what they do happens in every process that looks at it",
        );
    }
    let began = Instant::now();
    let probed = Prober::new(&folder.path).probe(staged, &judged);
    let took = began.elapsed();
    match probed {
        Ok(modules) => {
            let names: Vec<_> = modules.iter().map(|module| format!("{}/{}", module.kind, module.name)).collect();
            report.pass("opened on trial", format!("{} in {} ms", names.join(", "), took.as_millis()));
            if took > Duration::from_secs(1) {
                let slow = format!("{} ms", took.as_millis());
                report.found(Grade::Warn, "time of `load`", slow, "`load` describes, it does not prepare");
            }
            Some(modules)
        }
        Err(refusal) => {
            let remedy = "no work in static constructors or `load`";
            report.found(Grade::Fail, "opened on trial", refusal.to_string(), remedy);
            None
        }
    }
}

/// Parameters that the caller gave.
struct Given {
    module: String,
    parameters: Map<String, Value>,
}

impl Given {
    fn read(text: &str) -> Result<Self, Failure> {
        let wrong = |why: String| Failure::new(format!("`--parameters` is MODULE=JSON, not `{text}`: {why}"));
        let (module, json) = text.split_once('=').ok_or_else(|| wrong("there is no `=`".to_owned()))?;
        let parameters = serde_json::from_str(json).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { module: module.to_owned(), parameters })
    }

    fn is_for(&self, module: &ModuleDescription) -> bool {
        self.module == module.name || self.module == format!("{}/{}", module.kind, module.name)
    }
}

/// The library under test.
struct Library {
    file: String,
    bytes: Vec<u8>,
}

impl Library {
    /// Puts it into a plug-in directory, as a whole. Its later versions differ by zeros at the end, which nobody reads.
    fn put(&self, plugins: &std::path::Path, version: usize) -> std::io::Result<()> {
        let draft = plugins.join(".new");
        let mut bytes = self.bytes.clone();
        bytes.resize(bytes.len() + version, 0);
        std::fs::write(&draft, bytes)?;
        std::fs::rename(draft, plugins.join(&self.file))
    }
}
