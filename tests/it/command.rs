use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use serde_json::json;

use super::support::{Run, Setup, fixture, parse_environ, path};

/// A run whose directory holds the handler that saves what it was started with, under this name.
fn saver(name: &str) -> Setup {
    let setup = Setup::new();
    let root = setup.dir().join("root");
    let script = std::fs::read(fixture("handlers/saves_environment.sh")).unwrap();
    setup.file(&format!("root/{name}"), 0o755, script).env("LAMBDA_TASK_ROOT", root)
}

#[track_caller]
fn saved(run: &Run, name: &str) -> String {
    run.wait_file("saved");
    String::from_utf8(std::fs::read(run.dir().join(name)).unwrap_or_default()).unwrap()
}

#[track_caller]
fn check_arguments(setup: Setup, arguments: &[&str]) {
    let run = setup.start();
    assert_eq!(saved(&run, "args").lines().collect::<Vec<_>>(), arguments);
    assert_eq!(run.invoke("1").response(), "null");
}

#[test]
fn the_handler_is_split_by_shell_quoting_and_run_without_a_shell() {
    for (handler, arguments) in [
        ("./h.sh", &[][..]),
        ("./h.sh a  b\tc", &["a", "b", "c"]),
        ("./h.sh 'a b' \"c d\" e\\ f", &["a b", "c d", "e f"]),
        ("./h.sh 'a\"b' \"c'd\" '' \"\"", &["a\"b", "c'd", "", ""]),
        ("./h.sh $HOME * ~ `id` $(id) a;b a|b a>b a&b", &["$HOME", "*", "~", "`id`", "$(id)", "a;b", "a|b", "a>b", "a&b"]),
        ("./h.sh \"\\\"\" '\\' \"$HOME\"", &["\"", "\\", "$HOME"]),
        ("'./h.sh' --flag=\"x y\"z", &["--flag=x yz"]),
        ("  ./h.sh  a  ", &["a"]),
        ("./h.sh é 漢", &["é", "漢"]),
    ] {
        check_arguments(saver("h.sh").env("_HANDLER", handler), arguments);
    }
}

#[test]
fn a_path_with_spaces_works_when_quoted() {
    check_arguments(saver("my handler.sh").env("_HANDLER", "'./my handler.sh' a"), &["a"]);
    check_arguments(saver("my handler.sh").env("_HANDLER", "my\\ handler.sh a"), &["a"]);
}

#[test]
fn bootstrap_command_takes_the_handlers_place() {
    // The handler's name is anything then, an unclosed quote included.
    for name in ["index.handler", "a 'name", "", "with spaces"] {
        let run = saver("h.sh").env("_HANDLER", name).env("BOOTSTRAP_COMMAND", "./h.sh 'a b'").start();
        assert_eq!(saved(&run, "args"), "a b\n");
        assert_eq!(parse_environ(saved(&run, "env").as_bytes())["_HANDLER"], name);
    }
    // And it need not be there at all.
    check_arguments(saver("h.sh").env("BOOTSTRAP_COMMAND", "./h.sh x"), &["x"]);
}

#[test]
fn an_empty_bootstrap_command_is_none() {
    check_arguments(saver("h.sh").env("_HANDLER", "./h.sh x").env("BOOTSTRAP_COMMAND", ""), &["x"]);
}

#[test]
fn a_command_without_a_slash_is_looked_up_in_the_task_root_and_then_on_the_path() {
    let setup = saver("tool");
    let search = format!("{}:{}", setup.dir().join("bin").display(), path());
    // The one on the PATH would not save anything.
    let run = setup.file("bin/tool", 0o755, "#!/bin/sh\nexit 9\n").env("PATH", search).env("_HANDLER", "tool").start();
    saved(&run, "env");
    drop(run);
    let setup = Setup::new();
    let script = std::fs::read(fixture("handlers/saves_environment.sh")).unwrap();
    let both = format!("{}:{}", setup.dir().join("bin").display(), path());
    let run = setup.file("bin/tool", 0o755, script).file("root/other", 0o755, "").env("PATH", both).env("_HANDLER", "tool").start();
    saved(&run, "env");
}

#[test]
fn a_relative_command_with_a_slash_is_looked_up_in_the_task_root() {
    for handler in ["dist/bin/executable", "./dist/bin/executable", "dist/../dist/bin/executable"] {
        let run = saver("dist/bin/executable").env("_HANDLER", handler).start();
        saved(&run, "env");
    }
    // An absolute one is taken as it is.
    let setup = saver("h.sh");
    let handler = setup.dir().join("root/h.sh");
    let run = setup.env("LAMBDA_TASK_ROOT", "/").env("_HANDLER", handler).start();
    assert_eq!(saved(&run, "pwd"), "/\n");
}

#[test]
fn the_task_root_is_the_working_directory() {
    let setup = saver("h.sh").env("_HANDLER", "h.sh");
    let root = setup.dir().canonicalize().unwrap();
    let run = setup.start();
    assert_eq!(saved(&run, "pwd"), format!("{}\n", root.join("root").display()));
    drop(run);
    // By default it is the current one, and a relative one is relative to that.
    for (value, handler, pwd) in
        [(None, "root/h.sh", ""), (Some(""), "root/h.sh", ""), (Some("root"), "./h.sh", "root"), (Some("root"), "h.sh", "root")]
    {
        let setup = saver("h.sh").env("_HANDLER", handler);
        let root = setup.dir().canonicalize().unwrap().join(pwd);
        let setup = match value {
            None => setup.no_env("LAMBDA_TASK_ROOT"),
            Some(value) => setup.env("LAMBDA_TASK_ROOT", value),
        };
        let run = setup.start();
        assert_eq!(saved(&run, "pwd").trim_end(), root.to_str().unwrap().trim_end_matches('/'));
    }
}

#[test]
fn the_handler_gets_bootstraps_environment_less_two_and_plus_two() {
    let passed = [
        ("AWS_REGION", "eu-central-1"),
        ("AWS_LAMBDA_FUNCTION_NAME", "f"),
        ("AWS_LAMBDA_LOG_LEVEL", "ERROR"),
        ("BOOTSTRAP_SERVERS", "kafka:9092"),
        ("BOOTSTRAP_MAX_RESTARTS", "7"),
        ("EMPTY", ""),
        ("TEXT", "é \" ' \\ = \n $HOME"),
        ("http_proxy", "http://127.0.0.1:1"),
    ];
    let mut setup = saver("h.sh").env("_HANDLER", "h.sh");
    for (name, value) in passed {
        setup = setup.env(name, value);
    }
    setup = setup.env("_LAMBDA_TELEMETRY_LOG_FD", "62").env("BOOTSTRAP_PROTOCOL_VERSION", "99").env("BOOTSTRAP_REPLY_FD", "77");
    let dir = setup.dir().to_owned();
    let run = setup.start();
    let found = parse_environ(saved(&run, "env").as_bytes());
    let mut expected: BTreeMap<String, String> = passed.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    for (name, value) in
        [("BOOTSTRAP_PROTOCOL_VERSION", "1"), ("BOOTSTRAP_REPLY_FD", "3"), ("_HANDLER", "h.sh"), ("PYTHONDONTWRITEBYTECODE", "1")]
    {
        expected.insert(name.to_owned(), value.to_owned());
    }
    expected.insert("PATH".to_owned(), path().to_owned());
    expected.insert("TEST_DIR".to_owned(), dir.display().to_string());
    expected.insert("LAMBDA_TASK_ROOT".to_owned(), dir.join("root").display().to_string());
    expected.insert("TEST_MARK".to_owned(), found["TEST_MARK"].clone());
    assert_eq!(found, expected);
}

#[test]
fn an_environment_that_is_not_utf_8_passes() {
    let run = saver("h.sh").env("_HANDLER", "h.sh").env("BYTES", OsStr::from_bytes(b"a\xff\xfe")).start();
    run.wait_file("saved");
    let environ = run.wait_file("env");
    assert!(environ.split(|&b| b == 0).any(|v| v == b"BYTES=a\xff\xfe"));
}

#[test]
fn four_pipes_and_no_other_descriptor_reach_the_handler() {
    let run = Run::of("saves_its_descriptors.py");
    run.invoke("1");
    let fds = String::from_utf8(run.wait_file("fds")).unwrap();
    let fds: Vec<(i32, &str)> = fds.lines().map(|l| l.split_once(' ').unwrap()).map(|(fd, to)| (fd.parse().unwrap(), to)).collect();
    for fd in 0..4 {
        assert!(fds.iter().any(|(n, to)| *n == fd && to.starts_with("pipe:")), "{fd} is a pipe: {fds:?}");
    }
    assert!(fds.iter().all(|(n, _)| *n < 4), "{fds:?}");
    // Two starts later it is the same: no leak from one to the next.
    drop(run);
    let run = Run::of("saves_its_descriptors.py");
    run.invoke("\"exit\"");
    run.invoke("\"exit\"");
    run.invoke("1");
    assert_eq!(String::from_utf8(run.wait_file("fds")).unwrap().lines().count(), 4);
}

#[test]
fn fd_3_can_be_opened_by_its_path() {
    let run = Run::of("replies_to_dev_fd_3.sh");
    assert_eq!(run.invoke("1").response(), "\"by path\"");
    assert_eq!(run.invoke("2").response(), "\"by path\"");
}

#[test]
fn the_handler_leads_a_process_group_of_its_own() {
    let run = Run::of("echoes.py");
    run.idle();
    let pid = run.starts()[0];
    let group = rustix::process::getpgid(rustix::process::Pid::from_raw(pid)).unwrap();
    assert_eq!(group.as_raw_pid(), pid);
}

#[test]
fn the_exec_wrapper_runs_bootstrap() {
    // It sets what bootstrap and handler see, the Runtime API's address included, and gets bootstrap's own arguments.
    let wrapper = "#!/bin/sh\nprintf '%s\\n' \"$@\" > \"$TEST_DIR/wrapped\"\nexport FROM_WRAPPER=yes AWS_LAMBDA_RUNTIME_API=\"$REAL_API\"\nexec \"$@\"\n";
    let setup = saver("h.sh").file("wrapper", 0o755, wrapper);
    let path = setup.dir().join("wrapper");
    let setup = setup.env("AWS_LAMBDA_EXEC_WRAPPER", path).arg("an").arg("argument of two").env("_HANDLER", "h.sh");
    let run = setup.env("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1").address_as("REAL_API").start();
    let environ = parse_environ(saved(&run, "env").as_bytes());
    assert_eq!(environ["FROM_WRAPPER"], "yes");
    assert_eq!(environ.get("AWS_LAMBDA_EXEC_WRAPPER"), None);
    assert_eq!(environ.get("AWS_LAMBDA_RUNTIME_API"), None);
    let wrapped = String::from_utf8(run.wait_file("wrapped")).unwrap();
    let wrapped: Vec<&str> = wrapped.lines().collect();
    assert!(std::path::Path::new(wrapped[0]).exists(), "{wrapped:?}");
    assert_eq!(wrapped[1..], ["an", "argument of two"]);
    assert_eq!(run.invoke("1").response(), "null");
}

#[test]
fn an_exec_wrapper_that_is_not_there_is_named() {
    let mut run = saver("h.sh").env("_HANDLER", "h.sh").env("AWS_LAMBDA_EXEC_WRAPPER", "/no/such/wrapper").start();
    run.exits_with(1);
    assert!(run.log().contains("/no/such/wrapper"), "{}", run.log());
    assert_eq!(run.starts().len(), 0);
}

#[test]
fn an_empty_exec_wrapper_is_none() {
    check_arguments(saver("h.sh").env("_HANDLER", "h.sh a").env("AWS_LAMBDA_EXEC_WRAPPER", ""), &["a"]);
}

#[test]
fn the_arguments_are_the_command_where_no_variable_names_one() {
    for empty in [false, true] {
        // Each argument is one word, whatever is in it.
        let mut setup = saver("h.sh").arg("./h.sh").arg("a b").arg("'c").arg("--help").arg("");
        if empty {
            setup = setup.env("_HANDLER", "").env("BOOTSTRAP_COMMAND", "");
        }
        check_arguments(setup, &["a b", "'c", "--help", ""]);
    }
}

#[test]
fn with_a_runtime_api_bootstrap_is_the_runtime_whatever_its_arguments_are() {
    for arguments in
        [&["index.handler"][..], &["invoke"], &["serve", "--listen", "x"], &["--help"], &["-V"], &["--"], &["./other", "-x"]]
    {
        let mut setup = saver("h.sh").env("_HANDLER", "h.sh yes");
        for argument in arguments {
            setup = setup.arg(argument);
        }
        check_arguments(setup, &["yes"]);
    }
}

#[test]
fn without_a_runtime_api_it_says_what_to_do() {
    for argument in [None, Some("index.handler")] {
        let mut setup = Setup::of("echoes.py").without_api();
        if let Some(argument) = argument {
            setup = setup.arg(argument);
        }
        let mut run = setup.start();
        run.exits_with(2);
        let log = run.log();
        assert!(log.contains("bootstrap invoke") || log.contains("AWS_LAMBDA_RUNTIME_API"), "{log}");
        assert_eq!(run.starts().len(), 0);
    }
}

#[test]
fn a_handler_may_be_any_program() {
    // jq with its output unbuffered is a whole handler.
    let run = Setup::new().env("BOOTSTRAP_COMMAND", "jq --unbuffered -c '{id: .id, response: (.event.n + 1)}'").start();
    assert_eq!(run.invoke("{\n  \"n\": 41\n}").response(), "42");
    let run = Setup::new().arg("sed").arg("-u").arg(r#"s/.*"id":\("[^"]*"\).*/{"id":\1,"response":"from sed"}/"#).start();
    assert_eq!(run.invoke(json!({})).response(), "\"from sed\"");
}
