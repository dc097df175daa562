pub mod invocation;

/// Stands in for the runtime until it is built.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
