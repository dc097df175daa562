//! Runs one mode and turns its result into an exit status.
use std::process::ExitCode;
fn main() -> ExitCode {
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some_and(|a| !a.is_empty()) {
        return bootstrap::runtime::main();
    }
    ExitCode::from(2)
}
