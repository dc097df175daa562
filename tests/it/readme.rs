//! What the README shows is what happens.

use std::path::Path;
use std::process::{Command, Output};

use super::support::binary;

const README: &str = include_str!("../../README.md");

fn bootstrap(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).current_dir(directory).output().unwrap()
}

/// The first cells of the table whose head begins so, without their backticks.
fn first_cells(head: &str) -> Vec<&'static str> {
    let table = README.split_once(&format!("\n| {head} |")).unwrap().1;
    table.lines().skip(2).take_while(|line| line.starts_with('|')).map(|line| line.split('`').nth(1).unwrap()).collect()
}

#[test]
fn the_fault_table_lists_every_error_type_there_is() {
    assert_eq!(first_cells("errorType"), bootstrap::fault::Fault::ERROR_TYPES);
}

#[test]
fn the_settings_table_lists_every_setting_there_is() {
    assert_eq!(first_cells("variable"), bootstrap::config::SETTINGS);
}

#[test]
fn the_first_command_prints_what_is_shown() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let command = "cargo run --release -- invoke --event '{\"name\":\"world\"}' -- examples/shell/hello.sh";
    let shown = README.split_once(command).unwrap().1.lines().find(|line| line.starts_with("    {")).unwrap();
    let output = bootstrap(root, &["invoke", "--event", "{\"name\":\"world\"}", "--", "examples/shell/hello.sh"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), shown.trim_start(), "{output:?}");
}

#[test]
fn the_handler_in_ten_lines_works() {
    use std::os::unix::fs::PermissionsExt as _;
    let code = README.split_once("<!-- handler.py -->\n```python\n").unwrap().1.split_once("```").unwrap().0;
    assert!(code.lines().filter(|line| !line.is_empty()).count() <= 10);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("handler.py");
    std::fs::write(&file, code).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let run = |event| bootstrap(directory.path(), &["invoke", "--event", event, "--", "./handler.py"]);
    let output = run("{\"numbers\":[1,2,3]}");
    assert_eq!((output.stdout.as_slice(), output.status.code()), (&b"{\"sum\": 6}\n"[..], Some(0)), "{output:?}");
    let output = run("{}");
    let shown = "{\"errorType\": \"KeyError\", \"errorMessage\": \"'numbers'\"}";
    assert!(README.contains(shown));
    assert_eq!((String::from_utf8_lossy(&output.stdout).trim_end(), output.status.code()), (shown, Some(1)), "{output:?}");
}
