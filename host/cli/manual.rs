//! `porth completion` and `porth man`: what shells and `man` know of the commands, from the commands themselves.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use serde_json::json;

use super::output::Output;
use super::{Cli, Failure};

#[derive(Args)]
pub(super) struct CompletionArguments {
    /// The shell.
    shell: Shell,
}

#[derive(Args)]
pub(super) struct ManArguments {
    /// Writes a page for each command into this directory, which is made if it is missing; otherwise the main page is
    /// printed.
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
    let Some(directory) = &arguments.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        return print(page, "page", output);
    };
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(command, directory)?;
    output.print(&json!({"directory": directory}), |_| {});
    Ok(ExitCode::SUCCESS)
}

fn print(text: Vec<u8>, name: &str, output: Output) -> Result<ExitCode, Failure> {
    let text = String::from_utf8(text)?;
    output.print(&json!({name: text}), |_| print!("{text}"));
    Ok(ExitCode::SUCCESS)
}
