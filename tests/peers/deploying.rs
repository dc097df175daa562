//! The README's chapter on deployment: its commands are run as they stand there, and what they make is invoked.
//!
//! The AWS CLI is AWS's own; the account that it calls is a stand-in, and knows only what AWS's documentation says.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::support::{
    Example, Served, Unpacked, answers, architecture, client, goes_on_after, output, released, sam, with_clients,
};
use crate::it_support::fixture;

/// What the shell does in place of the programs that are not to be run here. All arguments of `aws` are in a file.
const PRELUDE: &str = r#"
set -eu
make() { :; }
docker() { if [ "$1" = login ]; then cat >docker.password; fi; }
aws() {
    printf '%s\0' "$@" >>aws.arguments
    if [ "$2" = invoke ]; then AWS_ENDPOINT_URL=$SERVED; else AWS_ENDPOINT_URL=$ACCOUNT; fi
    export AWS_ENDPOINT_URL
    command aws "$@"
}
"#;

/// The stand-in for an account.
struct Account(Child, String);

impl Account {
    fn start(dir: &Path) -> Account {
        let mut command = client("python", dir);
        command.arg(fixture("clients/account.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Account(child, format!("http://127.0.0.1:{}", port.trim()))
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A folder in which the project's root is as it is after `make dist examples`.
struct Clone(tempfile::TempDir);

impl Clone {
    fn new() -> Clone {
        let clone = Clone(tempfile::Builder::new().prefix("bootstrap-clone-").tempdir().unwrap());
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        Example::Java.command();
        output(Command::new("cp").arg("-R").arg(root.join("examples")).arg(clone.path("")), b"");
        std::fs::create_dir(clone.path("target")).unwrap();
        let binary = released(&format!("bootstrap-{}", std::env::consts::ARCH));
        let dist = binary.parent().unwrap();
        std::os::unix::fs::symlink(dist, clone.path("target/dist")).unwrap();
        clone
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs the commands; gives what they print, and the arguments of `aws`.
    #[track_caller]
    fn run(&self, commands: &str, served: &str) -> (String, Vec<String>) {
        let account = Account::start(self.0.path());
        let mut shell = with_clients("sh", self.0.path());
        shell.args(["-c", &format!("{PRELUDE}\n{commands}")]).env("AWS_DEFAULT_REGION", "eu-west-1");
        let printed = String::from_utf8(output(shell.env("ACCOUNT", &account.1).env("SERVED", served), b"")).unwrap();
        let arguments = std::fs::read_to_string(self.path("aws.arguments")).unwrap_or_default();
        (printed, arguments.split_terminator('\0').map(str::to_owned).collect())
    }

    fn unzip(&self, zip: &str) -> PathBuf {
        let folder = self.path(&format!("{}.unzipped", zip.replace('/', "-")));
        output(Command::new("unzip").arg("-q").arg(self.path(zip)).arg("-d").arg(&folder), b"");
        folder
    }
}

/// What the README says under a heading, and the commands that it shows there, for this machine's architecture.
fn section(heading: &str) -> (&'static str, String) {
    let readme = include_str!("../../README.md");
    let section = readme.split_once(&format!("{heading}\n")).unwrap().1;
    let section = section.split_once("\n##").unwrap().0;
    let commands: String = section.lines().filter(|line| line.starts_with("    ")).flat_map(|line| [line, "\n"]).collect();
    // The system's name for it where it is a file's, and Lambda's where Lambda is told.
    let (machine, lambda) = (std::env::consts::ARCH, architecture());
    let commands =
        commands.replace("x86_64", machine).replace(&format!("architectures {machine}"), &format!("architectures {lambda}"));
    (section, commands)
}

/// The argument after this one.
fn after<'a>(arguments: &'a [String], name: &str) -> &'a str {
    let at = arguments.iter().position(|argument| argument == name).unwrap();
    &arguments[at + 1]
}

/// Each line that was printed is in the section.
#[track_caller]
fn shown(section: &str, printed: &str, lines: usize) {
    let shown = printed.lines().filter(|line| section.contains(&format!("`{}`", line.trim().trim_end_matches(',')))).count();
    assert_eq!(shown, lines, "{printed}");
}

#[test]
fn a_role_is_made_as_shown() {
    let (text, commands) = section("## How to deploy it");
    let (printed, arguments) = Clone::new().run(&commands, "");
    shown(text, &printed, 1);
    let policy: serde_json::Value = serde_json::from_str(after(&arguments, "--assume-role-policy-document")).unwrap();
    assert_eq!(policy["Statement"][0]["Principal"]["Service"], "lambda.amazonaws.com");
}

#[test]
fn a_package_with_bootstrap_next_to_the_code_is_made_as_shown_and_runs() {
    let clone = Clone::new();
    let (text, commands) = section("### Next to the code");
    let served = Served::of(clone.path("target/hello/hello.sh"), "hello");
    let (printed, arguments) = clone.run(&commands, &served.endpoint());
    shown(text, &printed, 2);
    let came = std::fs::read_to_string(clone.path("out.json")).unwrap();
    assert!(text.contains(&format!("`out.json` has `{came}`")), "{came}");
    served.end();

    let package = clone.unzip(after(&arguments, "--zip-file").strip_prefix("fileb://").unwrap());
    let function = Unpacked::new(&package).env("_HANDLER", after(&arguments, "--handler"));
    goes_on_after(&mut function.with_little_memory().start(), Example::Hello);
}

#[test]
fn a_layer_and_a_package_for_it_are_made_as_shown_and_run() {
    let clone = Clone::new();
    let (text, commands) = section("### In a layer");
    let (printed, arguments) = clone.run(&commands, "");
    shown(text, &printed, 2);
    let at = arguments.iter().position(|argument| argument == "create-function").unwrap();
    let (layer, function) = arguments.split_at(at);
    let zip = |arguments| clone.unzip(after(arguments, "--zip-file").strip_prefix("fileb://").unwrap());
    let (layer, package) = (zip(layer), zip(function));
    let unpacked = Unpacked::new(&package).layer(&layer).env("_HANDLER", after(function, "--handler"));
    let unpacked = unpacked.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", after(function, "--memory-size"));
    answers(&mut unpacked.start(), Example::Java);
}

/// Docker itself is not here.
#[test]
fn the_repository_and_the_function_of_an_image_are_made_as_shown() {
    let clone = Clone::new();
    let (text, commands) = section("### In an image");
    let (printed, arguments) = clone.run(&commands, "");
    shown(text, &printed, 2);
    assert_eq!(std::fs::read_to_string(clone.path("docker.password")).unwrap(), "password\n");
    let image = after(&arguments, "--code").strip_prefix("ImageUri=").unwrap();
    assert!(commands.contains(&format!("docker push {}\n", image.strip_suffix(":latest").unwrap())), "{image}");
}

#[test]
fn sam_knows_the_options_that_are_shown() {
    let (_, commands) = section("### With SAM");
    let mut options = 0;
    for command in commands.lines().map(str::trim) {
        let words: Vec<&str> = command.split(' ').collect();
        let help = String::from_utf8(output(sam("sam").args([words[1], "--help"]), b"")).unwrap();
        for option in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "{option} is no option of sam {}", words[1]);
            options += 1;
        }
    }
    assert_eq!(options, 5);
}
