//! `AWS_LAMBDA_EXEC_WRAPPER`: bootstrap runs itself through another program, as the managed runtimes are run.
//!
//! What the wrapper exports, a proxy's `AWS_LAMBDA_RUNTIME_API` included, then reaches bootstrap and handler. Lambda itself does not
//! do this for `provided.*`.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::fault::Fault;

/// The failed exec has left SIGPIPE to end the process, as programs expect to be started. A stderr without a reader must not.
#[expect(unsafe_code, reason = "a system call, argued for below")]
fn ignore_broken_pipes() {
    // SAFETY: SIG_IGN installs no code of ours, and there is one thread.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

const VARIABLE: &str = "AWS_LAMBDA_EXEC_WRAPPER";

/// Becomes the wrapper, if one is set; it executes bootstrap in its turn, without the variable.
///
/// # Errors
/// `Runtime.InvalidEntrypoint` where the wrapper can't be executed.
pub fn run_through() -> Result<(), Fault> {
    let Some(wrapper) = std::env::var_os(VARIABLE).filter(|wrapper| !wrapper.is_empty()) else { return Ok(()) };
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "bootstrap".into());
    // The path of this very file, or where the system doesn't tell, the name that it was run by.
    let bootstrap = std::env::current_exe().map_or(name, Into::into);
    let error = Command::new(&wrapper).arg(bootstrap).args(arguments).env_remove(VARIABLE).exec();
    ignore_broken_pipes();
    Err(Fault::InvalidEntrypoint(format!(
        "{VARIABLE}={:?} can't be executed: {error}; name an executable file, or unset the variable",
        wrapper.to_string_lossy()
    )))
}
