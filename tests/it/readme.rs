//! What the README shows is what happens.

use std::collections::BTreeMap;
use std::ffi::OsString;

use bootstrap::cli::Mode;
use bootstrap::config::{Config, Environment, SETTINGS};
use bootstrap::fault::Fault;
use clap::ValueEnum as _;
use serde_json::Value;

use super::support::{Event, Setup, Shell, bootstrap};

const README: &str = include_str!("../../README.md");

/// The rows of the table whose head begins so: each a list of cells.
fn rows(head: &str) -> Vec<Vec<&'static str>> {
    let table = README.split_once(&format!("\n| {head} |")).unwrap().1;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('|').skip(1).map(str::trim).collect()).collect()
}

/// What stands between backticks.
fn code(text: &'static str) -> Vec<&'static str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The first code in each cell of a column.
fn column(head: &str, number: usize) -> Vec<&'static str> {
    rows(head).iter().map(|row| code(row[number])[0]).collect()
}

/// What follows a piece of the README, up to another.
fn between(start: &str, end: &str) -> &'static str {
    README.split_once(start).unwrap_or_else(|| panic!("no {start:?}")).1.split_once(end).unwrap().0
}

/// The file that a comment names, as the README shows it.
fn shown_file(name: &str, language: &str) -> &'static str {
    between(&format!("<!-- {name} -->\n```{language}\n"), "```")
}

fn shell() -> Shell {
    Shell::new().file("handler.py", shown_file("handler.py", "python")).file("handler.sh", shown_file("handler.sh", "bash"))
}

struct Variables(BTreeMap<&'static str, OsString>);

impl Environment for Variables {
    fn get(&self, name: &str) -> Option<OsString> {
        self.0.get(name).cloned()
    }

    fn names(&self) -> Vec<OsString> {
        self.0.keys().map(|name| OsString::from(*name)).collect()
    }
}

/// The configuration with one setting.
fn config(name: &'static str, value: &str) -> Result<Config, Fault> {
    Config::new(&Variables(BTreeMap::from([("_HANDLER", "h".into()), (name, value.into())])), &[])
}

#[test]
fn the_fault_table_lists_every_error_type_there_is() {
    assert_eq!(column("errorType", 0), Fault::ERROR_TYPES);
}

#[test]
fn the_table_of_modes_lists_every_mode_there_is() {
    let modes = Mode::value_variants().iter().map(|mode| mode.to_possible_value().unwrap());
    assert_eq!(column("your program", 1), modes.map(|mode| mode.get_name().to_owned()).collect::<Vec<_>>());
}

#[test]
fn the_settings_table_lists_every_setting_there_is() {
    assert_eq!(column("variable", 0), SETTINGS);
}

#[test]
fn the_settings_table_has_the_defaults_and_the_limits() {
    let (mut defaults, mut limits) = (0, 0);
    for row in rows("variable") {
        let name = SETTINGS.into_iter().find(|name| *name == code(row[0])[0]).unwrap();
        // A default may be another variable, or a rule.
        if let Some(default) = code(row[1]).first()
            && !default.contains(|c: char| c.is_ascii_uppercase())
        {
            assert_eq!(config(name, default).unwrap(), config(name, "").unwrap(), "{name}={default}");
            defaults += 1;
        }
        let words: Vec<&str> = row[2].split([' ', ':', ';']).collect();
        if let [least, "to", most, ..] = words[..] {
            let (least, most): (i64, i64) = (least.parse().unwrap(), most.parse().unwrap());
            for (value, allowed) in [(least - 1, false), (least, true), (most, true), (most + 1, false)] {
                assert_eq!(config(name, &value.to_string()).is_ok(), allowed, "{name}={value}");
            }
            limits += 1;
        }
    }
    assert_eq!((defaults, limits), (6, 5));
}

#[test]
fn the_first_command_prints_what_is_shown() {
    let command = "cargo run --release -- invoke --event '{\"name\":\"world\"}' -- examples/shell/hello.sh";
    let shown = README.split_once(command).unwrap().1.lines().find(|line| line.starts_with("    {")).unwrap();
    shell().check(&command.replace("cargo run --release --", "bootstrap"), &format!("{}\n", shown.trim_start()), 0);
}

#[test]
fn the_handler_in_ten_lines_has_no_more() {
    assert!(shown_file("handler.py", "python").lines().filter(|line| !line.is_empty()).count() <= 10);
}

#[test]
fn the_commands_print_what_is_shown() {
    let expected = [
        ("{\"sum\": 6}\n", 0),
        ("{\"hello\":\"world\"}\n", 0),
        ("16\n", 0),
        ("\"Echoing request: '{\\\"name\\\":\\\"world\\\"}'\"\n", 0),
        ("{\"total\":700}\n{\"total\":350}\n", 0),
    ];
    shell().check_all(README, &expected);
    for line in expected.iter().flat_map(|(stdout, _)| stdout.lines()) {
        assert!(README.contains(&format!("`{line}`")), "{line}");
    }
}

#[test]
fn the_command_that_measures_runs() {
    let command = between("was measured with\n`", "`").replace("1000", "10");
    let lines: String = (1..=10).map(|n| format!("{n}\n")).collect();
    for mode in ["filter", "oneshot"] {
        shell().check(&command.replace('…', mode), &lines, 0);
    }
}

#[test]
fn what_it_says_of_errors_is_so() {
    let document = "{\"errorType\": \"KeyError\", \"errorMessage\": \"'numbers'\"}";
    assert!(README.contains(&format!("with `--event '{{}}'` the error document `{document}`, with exit")));
    shell().check("bootstrap invoke --event '{}' -- ./handler.py", &format!("{document}\n"), 1);

    let filter = code(between("it ends at the\n  first error as ", ".\n"));
    let output = shell().run(&format!("bootstrap invoke --mode filter --event 1 -- {}", filter[0]));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["errorType"], "Runtime.ExitError", "{output:?}");
    assert!(document["stackTrace"].to_string().contains("Cannot index number"), "{output:?}");
    shell().check(&format!("bootstrap invoke --mode filter --event '{{\"name\":1}}' -- {}", filter[0]), "{\"hello\":1}\n", 0);
}

#[test]
fn the_filters_variables_make_the_function() {
    let (mode, command) = between("whatever the function's handler is called:\n\n    BOOTSTRAP_MODE=", "\n\n")
        .split_once("\n    BOOTSTRAP_COMMAND=\"")
        .unwrap();
    let run = Setup::new().env("_HANDLER", "any.name").env("BOOTSTRAP_MODE", mode);
    let run = run.env("BOOTSTRAP_COMMAND", command.strip_suffix('"').unwrap()).start();
    assert_eq!(run.invoke("{\"name\":\"world\"}").response(), "{\"hello\":\"world\"}");
}

#[test]
fn what_is_served_is_called_as_shown() {
    let section = between("## A function for AWS's clients\n", "\n## ");
    let commands: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let handler = commands[0].strip_prefix("bootstrap serve -- ").unwrap();
    let local = bootstrap(["serve", "--timeout", "60", "--listen", "127.0.0.1:0"]);
    let running = local.handler(format!("{}/{handler}", env!("CARGO_MANIFEST_DIR"))).start();
    let address = running.wait("the address", || {
        let stderr = running.stderr();
        Some(stderr.split_once("is at http://")?.1.split_once(';')?.0.to_owned())
    });
    // The address that is shown is the default, which may be in use here.
    let curl = commands[1].replace("127.0.0.1:9000", &address);
    assert!(curl != commands[1] && curl.starts_with("curl "), "{curl}");
    let output = std::process::Command::new("sh").args(["-c", &curl]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(section.contains(&format!("print `{printed}`")), "{printed}\n{}", running.story());
    let shown = commands[2].replace("127.0.0.1:9000", &address);
    assert!(running.stderr().contains(&shown), "{shown}\n{}", running.story());
    running.signal(rustix::process::Signal::INT);
    running.end().code(130);
}

/// An event for which all is known that Lambda may tell.
fn event_with_everything() -> Event {
    Event::new("{}")
        .header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-west-1:123456789012:function:orders")
        .header("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1")
        .header("Lambda-Runtime-Aws-Tenant-Id", "blue")
        .header("Lambda-Runtime-Client-Context", "{}")
        .header("Lambda-Runtime-Cognito-Identity", "{}")
}

#[test]
fn the_context_has_what_is_listed() {
    let listed = code(between("- `context` has, where they are known: ", ".\n"));
    let mut setup = Setup::of("saves_messages.py");
    for variable in ["FUNCTION_NAME", "FUNCTION_VERSION", "FUNCTION_MEMORY_SIZE", "LOG_GROUP_NAME", "LOG_STREAM_NAME"] {
        setup = setup.env(format!("AWS_LAMBDA_{variable}"), "128");
    }
    let run = setup.start();
    run.invoke(event_with_everything());
    let message: Value = serde_json::from_slice(&run.wait_file("message.0")).unwrap();
    let mut members: Vec<&String> = message["context"].as_object().unwrap().keys().collect();
    let mut listed: Vec<String> = listed.into_iter().map(str::to_owned).collect();
    members.sort();
    listed.sort();
    assert_eq!(members, listed.iter().collect::<Vec<_>>());
}

#[test]
fn the_environment_of_a_process_for_each_event_has_what_is_listed() {
    let listed = code(between("each variable only where it is known: ", ".\n"));
    let run = Setup::new().env("_HANDLER", "env").env("BOOTSTRAP_MODE", "oneshot").start();
    let variables = |event| {
        let text: String = serde_json::from_str(&run.invoke(event).response()).unwrap();
        text.lines().filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect::<Vec<_>>()
    };
    let (with, without) = (variables(event_with_everything()), variables(Event::new("{}").no_deadline()));
    for name in listed {
        let there = |variables: &[String]| variables.iter().any(|variable| variable == name);
        assert!(there(&with), "{name}");
        assert_eq!(there(&without), name == "AWS_LAMBDA_REQUEST_ID", "{name}");
    }
}

#[test]
fn the_streamed_reply_is_what_its_reader_sees() {
    let section = between("### Streams\n", "\n### ");
    let mut blocks = section.split("\n\n").filter(|block| block.starts_with("    "));
    let reply = blocks.next().unwrap().replace("8476a536-…", "8476a536-1").replace("    {", "{");
    let shown = format!("{}\n\n{}", blocks.next().unwrap(), blocks.next().unwrap()).replace("\n    ", "\n");
    let handler = "#!/bin/sh\nwhile read -r _; do cat reply; echo; done\n";
    let run = Setup::new().file("reply", 0o644, reply).file("h", 0o755, handler).env("_HANDLER", "./h").start();
    let report = run.invoke(Event::new("{}").id("8476a536-1"));
    let (prelude, body) = report.request.body.split_at(report.request.body.iter().position(|byte| *byte == 0).unwrap());
    let prelude: Value = serde_json::from_slice(prelude).unwrap();
    let mut seen = format!("    HTTP/1.1 {}\n", prelude["statusCode"]);
    for name in ["content-type", "cache-control"] {
        seen += &format!("{name}: {}\n", prelude["headers"][name].as_str().unwrap());
    }
    seen += &format!("\n{}", String::from_utf8_lossy(body.strip_prefix(&[0; 8]).unwrap()));
    assert_eq!(seen, shown);
}

#[test]
fn the_check_tells_what_is_shown() {
    let section = between("\n## check\n", "\n## ");
    let command = section.trim_start().lines().next().unwrap();
    let output = shell().run(&command.replace("bootstrap check ", "bootstrap check --timeout 60 --stop-grace-ms 60000 "));
    let report = String::from_utf8_lossy(&output.stdout);
    // The milliseconds differ.
    let without_numbers = |line: &str| line.replace(|c: char| c.is_ascii_digit(), "");
    let lines: Vec<String> = report.lines().map(without_numbers).collect();
    let shown: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("    kept")).collect();
    assert_eq!(shown.len(), 2);
    for line in shown {
        assert!(lines.contains(&without_numbers(&format!("kept{line}"))), "{line}\n{report}");
    }
    // What it says of the handler in ten lines.
    assert!(section.contains("The handler in ten lines above keeps every rule that applies to it."));
    assert!(output.status.code() == Some(0) && report.contains(" 27 kept, 0 broken, 1 not applicable"), "{report}");
}
