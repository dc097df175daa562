//! What a reader of the documentation types, in a shell.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::path;

/// The commands of a text, each as a shell gets it: those lines of indented blocks that run `bootstrap invoke`. The marks of
/// comments in front do not count.
pub(crate) fn commands(text: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        let line = ["//", "# "].iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line).strip_prefix("    ");
        match line {
            Some(line) if goes_on => *commands.last_mut().unwrap() += &format!("\n{line}"),
            Some(line) => commands.push(line.trim_start().to_owned()),
            None => {}
        }
        goes_on = line.is_some_and(|line| line.ends_with(['\\', '|']));
    }
    commands.retain(|command| command.contains("bootstrap invoke "));
    commands
}

/// A directory with the project's `examples` in it and `bootstrap` on its `PATH`.
pub(crate) struct Shell(TempDir);

impl Shell {
    pub(crate) fn new() -> Shell {
        let dir = tempfile::Builder::new().prefix("bootstrap-test-").tempdir().unwrap();
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        symlink(std::path::absolute(super::binary()).unwrap(), dir.path().join("bin/bootstrap")).unwrap();
        symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"), dir.path().join("examples")).unwrap();
        Shell(dir)
    }

    /// Writes an executable file.
    pub(crate) fn file(self, name: &str, contents: &str) -> Shell {
        let file = self.0.path().join(name);
        std::fs::write(&file, contents).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// Runs a command line to its end, with more time than a busy machine takes.
    pub(crate) fn run(&self, command: &str) -> Output {
        let path = format!("{}:{}", self.0.path().join("bin").display(), path());
        let mut shell = Command::new("sh");
        let command = command.replace("bootstrap invoke ", "bootstrap invoke --timeout 60 ");
        shell.args(["-c", &command]).env_clear().env("PATH", path).current_dir(self.0.path()).stdin(Stdio::null());
        shell.output().unwrap()
    }

    /// Runs a command line; its standard output has to begin so, and its exit status has to be this.
    #[track_caller]
    pub(crate) fn check(&self, command: &str, stdout: &str, code: i32) {
        let output = self.run(command);
        let written = String::from_utf8_lossy(&output.stdout);
        assert!(
            written.starts_with(stdout) && output.status.code() == Some(code),
            "{command}\nis to end with status {code} and write\n{stdout}\nIt ends with {} and writes\n{written}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// The same for each command of a text, in order.
    #[track_caller]
    pub(crate) fn check_all(&self, text: &str, expected: &[(&str, i32)]) {
        let commands = commands(text);
        assert_eq!(commands.len(), expected.len(), "{commands:#?}");
        for (command, (stdout, code)) in commands.iter().zip(expected) {
            self.check(command, stdout, *code);
        }
    }
}
