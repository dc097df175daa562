//! Runs one mode and turns its result into one line and an exit status: the runtime where Lambda starts this file, a command elsewhere.

use std::io::Write as _;
use std::process::ExitCode;

use bootstrap::cli::{self, Command, NotRun, UsageError};

/// The exit status of a mistake on the command line, as clap's own.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // Lambda and its emulators set it, and some pass the handler as an argument, which is not ours to read.
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some_and(|address| !address.is_empty()) {
        bootstrap::memory::keep();
        return bootstrap::runtime::main();
    }
    let result = match cli::parse(std::env::args_os()) {
        Ok(Command::Invoke(invoke)) => bootstrap::local::invoke::run(&invoke),
        Ok(Command::Serve(serve)) => bootstrap::local::serve::run(&serve),
        Ok(Command::Check(check)) => bootstrap::local::check::run(&check),
        Err(NotRun::Usage(usage)) => Err(usage.into()),
        Err(NotRun::Clap(error)) => {
            // Help goes to stdout and may find it closed.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    result.unwrap_or_else(|error| {
        // Where stderr can't be written to, the exit status has to say it.
        let _ = writeln!(std::io::stderr(), "bootstrap: {error:#}");
        if error.is::<UsageError>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
    })
}
