//! The binary `porth`: everything is in the library.

fn main() -> std::process::ExitCode {
    porth::cli::main()
}
