use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use super::support::{Report, Run, Setup};

/// This run ends with one init error of this type, whose message holds all of these.
#[track_caller]
fn check_init_error(setup: Setup, error_type: &str, in_message: &[&str]) -> Report {
    let mut run = setup.start();
    let report = run.init_error();
    let document = report.is_error(error_type, in_message);
    assert_eq!(report.header("lambda-runtime-function-error-type"), Some(error_type));
    assert_eq!(report.header("lambda-runtime-invocation-id"), None);
    let log = run.log_before(&report);
    let message = document["errorMessage"].as_str().unwrap();
    let first = message.lines().next().unwrap();
    let lines: Vec<&str> = log.lines().filter(|l| l.starts_with("[ERROR] bootstrap: ")).collect();
    assert_eq!(lines.len(), 1, "one line for one error: {log}");
    assert!(lines[0].contains(error_type) && lines[0].contains(first), "{log}");
    report
}

/// A run whose handler is a file with these contents.
fn file_handler(mode: u32, contents: impl AsRef<[u8]>) -> Setup {
    let setup = Setup::new();
    let root = setup.dir().to_owned();
    setup.file("the-handler", mode, contents).env("LAMBDA_TASK_ROOT", root).env("_HANDLER", "./the-handler")
}

#[test]
fn no_command_at_all() {
    check_init_error(Setup::new(), "Runtime.HandlerNotFound", &["_HANDLER"]);
    check_init_error(Setup::new().env("_HANDLER", ""), "Runtime.HandlerNotFound", &["_HANDLER"]);
    check_init_error(Setup::new().env("_HANDLER", "  \t"), "Runtime.HandlerNotFound", &["_HANDLER"]);
}

#[test]
fn a_command_that_is_nowhere_names_the_places() {
    let path = "/usr/local/no-such-dir:/usr/bin:/bin";
    let setup = Setup::new().env("PATH", path);
    let root = setup.dir().display().to_string();
    let setup = setup.env("LAMBDA_TASK_ROOT", &root);
    check_init_error(
        setup.env("_HANDLER", "no-such-tool"),
        "Runtime.HandlerNotFound",
        &["no-such-tool", &root, "/usr/local/no-such-dir", "/usr/bin"],
    );
    let setup = Setup::new().env("PATH", path);
    let root = setup.dir().display().to_string();
    let setup = setup.env("LAMBDA_TASK_ROOT", &root);
    let report =
        check_init_error(setup.env("_HANDLER", "dist/bin/executable"), "Runtime.HandlerNotFound", &[&root, "dist/bin/executable"]);
    assert!(!report.error()["errorMessage"].as_str().unwrap().contains("/usr/local/no-such-dir"), "the PATH was not looked at");
    check_init_error(Setup::new().env("_HANDLER", "/no/such/file -x"), "Runtime.HandlerNotFound", &["/no/such/file"]);
    check_init_error(
        Setup::new().env("BOOTSTRAP_COMMAND", "no-such-tool -x").env("_HANDLER", "cat"),
        "Runtime.HandlerNotFound",
        &["no-such-tool"],
    );
    check_init_error(Setup::new().arg("no such tool"), "Runtime.HandlerNotFound", &["no such tool"]);
}

#[test]
fn a_command_that_is_nowhere_without_a_path() {
    check_init_error(Setup::new().no_env("PATH").env("_HANDLER", "no-such-tool"), "Runtime.HandlerNotFound", &["no-such-tool"]);
}

#[test]
fn a_task_root_that_is_not_there_is_named() {
    let mut run = Setup::new().env("LAMBDA_TASK_ROOT", "/no/such/root").env("_HANDLER", "/bin/cat").start();
    let document = run.init_error().error();
    assert!(document["errorMessage"].as_str().unwrap().contains("/no/such/root"), "{document}");
}

#[test]
fn a_file_without_execute_permission() {
    let report = check_init_error(file_handler(0o644, "#!/bin/sh\n"), "Runtime.InvalidEntrypoint", &["the-handler"]);
    let document = report.error();
    assert!(document["errorMessage"].as_str().unwrap().contains("chmod"), "how to mend it: {document}");
}

#[test]
fn a_directory() {
    let setup = Setup::new();
    let root = setup.dir().to_owned();
    let setup = setup.file("the-handler/inside", 0o755, "").env("LAMBDA_TASK_ROOT", root);
    check_init_error(setup.env("_HANDLER", "./the-handler"), "Runtime.InvalidEntrypoint", &["the-handler", "directory"]);
}

/// A 64-bit little-endian ELF file of this machine type, with this interpreter.
fn elf(machine: u16, interpreter: &str) -> Vec<u8> {
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend(2u16.to_le_bytes()); // ET_EXEC
    file.extend(machine.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    file.extend(0x40_0000u64.to_le_bytes()); // entry
    file.extend(64u64.to_le_bytes()); // program headers
    file.extend(0u64.to_le_bytes());
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // PT_INTERP
    file.extend(3u32.to_le_bytes());
    file.extend(4u32.to_le_bytes());
    let length = interpreter.len() as u64 + 1;
    for word in [120, 0x40_0078, 0x40_0078, length, length, 1] {
        file.extend(u64::to_le_bytes(word));
    }
    file.extend(interpreter.as_bytes());
    file.push(0);
    file
}

const X86_64: u16 = 62;
const AARCH64: u16 = 183;

#[test]
fn a_program_for_another_architecture() {
    let (other, names) =
        if cfg!(target_arch = "x86_64") { (AARCH64, ["aarch64", "arm64"]) } else { (X86_64, ["x86_64", "x86-64"]) };
    let report = check_init_error(file_handler(0o755, elf(other, "/lib/ld.so")), "Runtime.InvalidEntrypoint", &["the-handler"]);
    let message = report.error()["errorMessage"].as_str().unwrap().to_lowercase();
    assert!(names.iter().any(|name| message.contains(name)), "{message}");
    assert!(message.contains("architecture"), "{message}");
}

#[test]
fn a_program_whose_loader_is_not_there() {
    // What a musl or Nix program looks like elsewhere: the file is there, and the kernel says that it is not.
    let own = if cfg!(target_arch = "x86_64") { X86_64 } else { AARCH64 };
    let loader = "/lib/ld-no-such-loader.so.1";
    check_init_error(file_handler(0o755, elf(own, loader)), "Runtime.InvalidEntrypoint", &["the-handler", loader]);
}

#[test]
fn a_script_whose_interpreter_is_not_there() {
    check_init_error(
        file_handler(0o755, "#!/no/such/interpreter -x\n"),
        "Runtime.InvalidEntrypoint",
        &["the-handler", "/no/such/interpreter"],
    );
    check_init_error(file_handler(0o755, "#! /no/such/interpreter\n"), "Runtime.InvalidEntrypoint", &["/no/such/interpreter"]);
}

#[test]
fn a_carriage_return_in_the_first_line() {
    for first in ["#!/bin/sh\r\n", "#!/usr/bin/env python3\r\n", "#!/bin/sh -e\r\n"] {
        let report =
            check_init_error(file_handler(0o755, format!("{first}echo\r\n")), "Runtime.InvalidEntrypoint", &["the-handler"]);
        let message = report.error()["errorMessage"].as_str().unwrap().to_lowercase();
        assert!(message.contains("carriage return"), "{message}");
    }
}

#[test]
fn a_script_whose_interpreter_env_does_not_find() {
    let mut run = file_handler(0o755, "#!/usr/bin/env no-such-interpreter\n").start();
    let document = run.init_error().error();
    assert!(["Runtime.InvalidEntrypoint", "Runtime.ExitError"].contains(&document["errorType"].as_str().unwrap()), "{document}");
    assert!(document.to_string().contains("no-such-interpreter"), "{document}");
}

#[test]
fn a_file_that_is_no_program() {
    for contents in ["", "echo no first line\n", "PK\u{3}\u{4}", "#!\n", "\u{7f}ELF"] {
        check_init_error(file_handler(0o755, contents), "Runtime.InvalidEntrypoint", &["the-handler"]);
    }
}

#[test]
fn quotes_that_do_not_close() {
    for value in ["./handler 'a", "./handler \"a", "'", "./handler \\"] {
        check_init_error(Setup::new().env("_HANDLER", value), "Runtime.InvalidConfiguration", &["_HANDLER", value]);
        let setup = Setup::new().env("_HANDLER", "cat").env("BOOTSTRAP_COMMAND", value);
        check_init_error(setup, "Runtime.InvalidConfiguration", &["BOOTSTRAP_COMMAND", value]);
    }
}

#[test]
fn a_setting_with_a_bad_value_is_named_with_what_is_allowed() {
    for (name, allowed, values) in [
        ("BOOTSTRAP_MODE", &["jsonl", "filter", "oneshot"][..], &["json", "stream", " "][..]),
        ("BOOTSTRAP_READY", &["auto", "message", "none"], &["yes", "true"]),
        ("BOOTSTRAP_INIT_TIMEOUT_MS", &["1", "900000"], &["0", "900001", "-1", "9s", "1.5", "99999999999999999999999"]),
        ("BOOTSTRAP_DEADLINE_MARGIN_MS", &["0", "60000"], &["60001", "-1", "auto"]),
        ("BOOTSTRAP_MAX_RESTARTS", &["1", "1000"], &["0", "1001", "many"]),
        ("BOOTSTRAP_CONCURRENCY", &["1", "1000"], &["0", "1001", "all"]),
        ("BOOTSTRAP_STOP_GRACE_MS", &["0", "60000"], &["60001", "-5", "soon"]),
        ("BOOTSTRAP_GRACEFUL_SHUTDOWN", &["true", "false"], &["yes", "1", "off"]),
    ] {
        for value in values {
            let mut facts = vec![name, value];
            facts.extend(allowed);
            check_init_error(Setup::of("echoes.py").env(name, value), "Runtime.InvalidConfiguration", &facts);
        }
    }
}

#[test]
fn a_setting_that_is_not_utf_8_is_named() {
    for name in ["BOOTSTRAP_MODE", "BOOTSTRAP_MAX_RESTARTS", "BOOTSTRAP_COMMAND"] {
        let mut run = Setup::of("echoes.py").env(name, OsStr::from_bytes(b"a\xff")).start();
        let document = run.init_error().error();
        assert!(
            document["errorMessage"].as_str().unwrap().contains(if name == "BOOTSTRAP_COMMAND" { "a" } else { name }),
            "{document}"
        );
    }
}

#[test]
fn settings_at_their_limits_and_empty_ones_are_allowed() {
    for (name, values) in [
        ("BOOTSTRAP_MODE", &["jsonl", ""][..]),
        ("BOOTSTRAP_READY", &["auto", "none", ""]),
        ("BOOTSTRAP_INIT_TIMEOUT_MS", &["1", "900000", ""]),
        ("BOOTSTRAP_DEADLINE_MARGIN_MS", &["0", "60000", ""]),
        ("BOOTSTRAP_MAX_RESTARTS", &["1", "1000", ""]),
        ("BOOTSTRAP_CONCURRENCY", &["1", ""]),
        ("BOOTSTRAP_STOP_GRACE_MS", &["0", "60000", ""]),
        ("BOOTSTRAP_GRACEFUL_SHUTDOWN", &["true", "false", ""]),
        ("AWS_LAMBDA_MAX_CONCURRENCY", &["1", "0", "-3", "many", ""]),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", &["on-demand", "provisioned-concurrency", "something-new", ""]),
    ] {
        for value in values {
            let run = Setup::of("echoes.py").env(name, value).start();
            // A margin of a minute is within the deadline's ten.
            assert_eq!(run.invoke("\"served\"").response(), "\"served\"", "{name}={value}");
        }
    }
}

#[test]
fn a_near_miss_of_a_setting_is_passed_with_a_warning_that_suggests_it() {
    for (near, meant) in [
        ("BOOTSTRAP_MOD", "BOOTSTRAP_MODE"),
        ("BOOTSTRAP_REDY", "BOOTSTRAP_READY"),
        ("BOOTSTRAP_COMAND", "BOOTSTRAP_COMMAND"),
        ("BOOTSTRAP_MAX_RESTART", "BOOTSTRAP_MAX_RESTARTS"),
        ("BOOTSTRAP_STOP_GRACE_SM", "BOOTSTRAP_STOP_GRACE_MS"),
        ("BOOTSTRAP_INIT_TIMEOUT", "BOOTSTRAP_INIT_TIMEOUT_MS"),
        ("BOOTSTRAP_GRACEFULL_SHUTDOWN", "BOOTSTRAP_GRACEFUL_SHUTDOWN"),
    ] {
        // INIT_TIMEOUT is three letters away: told or not, but never taken for the setting.
        let far = near == "BOOTSTRAP_INIT_TIMEOUT";
        let run = Setup::of("echoes.py").env(near, "nonsense").start();
        assert_eq!(run.invoke("1").response(), "1");
        let log = run.log();
        let warned = log.lines().any(|l| l.starts_with("[WARN] bootstrap: ") && l.contains(near) && l.contains(meant));
        assert!(warned || far, "{near}: {log}");
        let environ = std::fs::read(format!("/proc/{}/environ", run.starts()[0])).unwrap();
        let passed = format!("{near}=nonsense");
        assert!(environ.split(|&b| b == 0).any(|v| v == passed.as_bytes()));
    }
}

#[test]
fn other_variables_that_begin_with_bootstrap_are_no_concern_of_ours() {
    let run =
        Setup::of("echoes.py").env("BOOTSTRAP_SERVERS", "kafka:9092").env("BOOTSTRAP_THEME", "dark").env("BOOTSTRAP_", "x").start();
    assert_eq!(run.invoke("1").response(), "1");
    assert_eq!(run.log(), "");
}

#[test]
fn an_init_error_leaves_no_process() {
    let start = serde_json::json!([{ "daemon": ["sleep", "1000"] }, { "spawn": ["sleep", "1000"] }, { "exit": 3 }]);
    let mut run = Setup::told().env("AT_START", start.to_string()).start();
    run.init_error().is_error("Runtime.ExitError", &["exit status 3"]);
    assert_eq!(run.processes(), []);
    drop(run);
    let start =
        serde_json::json!([{ "daemon": ["sleep", "1000"] }, { "out": "{\"ready\":false,\"error\":\"e\"}\n" }, { "hang": true }]);
    let mut run: Run = Setup::told().env("AT_START", start.to_string()).start();
    run.init_error().is_error("Function.Error", &["e"]);
    assert_eq!(run.processes(), []);
}

#[test]
fn a_program_that_puts_itself_in_the_background_is_told_that_it_ended() {
    let setup = Setup::new().env("BOOTSTRAP_COMMAND", "sh -c 'cat & exit 0'").env("BOOTSTRAP_READY", "message");
    check_init_error(setup, "Runtime.ExitError", &["exit status 0"]);
}

#[test]
fn an_error_of_several_lines_is_one_log_line() {
    for format in ["Text", "JSON"] {
        let error = r#"{"ready":false,"error":{"errorType":"A.B","errorMessage":"first\nsecond\r\nthird"}}"#;
        let start = serde_json::json!([{ "out": format!("{error}\n") }, { "hang": true }]);
        let mut run = Setup::told().env("AWS_LAMBDA_LOG_FORMAT", format).env("AT_START", start.to_string()).start();
        run.init_error().is_error("A.B", &["first\nsecond\r\nthird"]);
        assert_eq!(run.log().lines().count(), 1, "{}", run.log());
    }
}
