//! AWS's own clients, with keys that open nothing.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::tool;
use crate::it_support::show;

/// A client of AWS that sees no account, no settings of whoever runs this, and tries nothing twice. It works in this directory.
pub(crate) fn client(name: &str, dir: &Path) -> Command {
    without_account(Command::new(tool(name)), dir)
}

/// A program that calls such clients; they are on its `PATH`.
pub(crate) fn with_clients(name: &str, dir: &Path) -> Command {
    let mut command = without_account(Command::new(name), dir);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", tool("aws").parent().unwrap().display()));
    command
}

fn without_account(mut command: Command, dir: &Path) -> Command {
    command.env_clear().env("HOME", dir).env("PATH", std::env::var_os("PATH").unwrap());
    command.env("AWS_ACCESS_KEY_ID", "nobody").env("AWS_SECRET_ACCESS_KEY", "nothing").env("AWS_MAX_ATTEMPTS", "1");
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("PYTHONDONTWRITEBYTECODE", "1").current_dir(dir);
    command
}

/// Runs it with this input; gives what it wrote to stdout.
#[track_caller]
pub(crate) fn output(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    });
    let (out, err) = (show(&output.stdout), show(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    output.stdout
}
