//! The command line.

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, command, path, library] = &arguments[..]
        && command == "probe"
    {
        crate::abi::probe::main(path.as_ref(), library);
    }
    std::process::ExitCode::SUCCESS
}
