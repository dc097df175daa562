use std::collections::BTreeMap;

use rustix::process::Signal;
use serde_json::json;

use super::support::{Answer, Event, Kind, Report, Route, Run, Setup, fixture, parse_environ, stack_of};

/// A shell script that is run for each event.
fn script(script: &str) -> Setup {
    Setup::script("oneshot", script)
}

/// What a script writes is this response.
#[track_caller]
fn check_response(text: &str, response: &str) {
    let run = script(text).start();
    assert_eq!(run.invoke("1").response(), response, "from {text}");
}

/// The same for these bytes on stdout.
#[track_caller]
fn check_output(bytes: &[u8], response: &str) {
    let run = script("cat \"$TEST_DIR/output\"").file("output", 0o644, bytes).start();
    assert_eq!(run.invoke("1").response(), response, "from {bytes:?}");
}

/// The fault's one log line, and a next event that runs.
#[track_caller]
fn check_fault(run: &Run, report: &Report, error_type: &str, in_message: &[&str]) -> Vec<String> {
    let document = report.is_error(error_type, in_message);
    assert_eq!(report.header("lambda-runtime-function-error-type"), Some(error_type));
    let log = run.log_before(report);
    let start = format!("[ERROR] bootstrap: RequestId: {} {error_type}: ", report.id);
    assert_eq!(log.lines().filter(|l| l.starts_with(&start)).count(), 1, "one line for one fault: {log}");
    run.touch("calm");
    assert_eq!(run.invoke("\"next\"").response(), "\"next\"");
    stack_of(&document)
}

/// Each process does this, until there is a file "calm": from then on it answers with the event.
fn until_calm(act: &str) -> Setup {
    script(&format!("[ -e \"$TEST_DIR/calm\" ] && exec cat\n{act}"))
}

#[test]
fn the_event_is_on_stdin_and_stdout_is_the_response() {
    let run = script("exec cat").start();
    for event in ["{\"a\": 1}", "null", "\"text\"", "123456789012345678901234567890", "{\n  \"a\": [\r\n1 ]\n}\n"] {
        assert_eq!(run.invoke(event).response(), event);
    }
    run.idle();
    assert_eq!(run.starts().len(), 5, "a process for each event");
    assert_eq!(run.log(), "");
}

#[test]
fn nothing_is_started_before_the_first_event_and_nothing_is_left_after_it() {
    let run = script("exec cat").start();
    run.idle();
    for _ in 0..30 {
        assert!(run.starts().is_empty() && run.children().is_empty(), "nothing asked for it");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    for n in 1..4 {
        run.invoke("1");
        run.idle();
        assert_eq!(run.starts().len(), n);
        run.wait("no child", || run.children().is_empty().then_some(()));
    }
}

#[test]
fn stdin_is_a_file_that_begins_at_its_beginning_and_ends_with_the_event() {
    let python = "import os, stat, sys, json
how = os.fstat(0)
text = os.read(0, 1000)
end = os.read(0, 1)
os.lseek(0, 0, 0)
print(json.dumps([stat.S_ISREG(how.st_mode), how.st_size, text.decode(), end.decode(), os.read(0, 1000) == text]))";
    let run = Setup::new().env("BOOTSTRAP_MODE", "oneshot").arg("python3").arg("-c").arg(python).start();
    for _ in 0..2 {
        assert_eq!(run.invoke("{\"a\": 1}").response().trim(), r#"[true, 8, "{\"a\": 1}", "", true]"#);
    }
    check_response("[ -f /dev/stdin ] && echo true", "true\n");
}

#[test]
fn an_event_arrives_byte_for_byte_whatever_it_is() {
    let every: Vec<u8> = (0..=255).collect();
    let big: Vec<u8> = (0..=255).cycle().take(6 * 1024 * 1024).collect();
    let run = script("cat > \"$TEST_DIR/got\"").start();
    for payload in [b"".as_slice(), b"\n", b"text", b"{\"a\":1", b"1\r\n2\r\n", b"\xef\xbb\xbf{}", b"\xff\xfe", b"\0", &every, &big]
    {
        assert_eq!(run.invoke(Event::new(payload)).response(), "null");
        assert!(run.wait_file("got") == payload, "{} bytes", payload.len());
    }
}

#[test]
fn a_program_need_not_read_its_event() {
    let run = script("echo 1").start();
    let event = format!("\"{}\"", "x".repeat(6 * 1024 * 1024 - 2));
    assert_eq!(run.invoke(event).response().trim(), "1");
    let run = script("exec <&-; echo 1").start();
    assert_eq!(run.invoke("{}").response().trim(), "1");
}

#[test]
fn what_is_valid_json_is_the_response_as_it_is() {
    for json in [
        "{}",
        "{\"a\":1,\"a\":2}",
        "{\n  \"pretty\": [\n    1\n  ]\n}",
        "1.10E400",
        "-0.0",
        "123456789012345678901234567890",
        "null",
        "false",
        "\"\"",
        "\"text\"",
        r#""\ud800""#,
        "{\"id\":\"x\",\"error\":\"e\"}",
        "{\"ready\":false}",
    ] {
        check_output(json.as_bytes(), json);
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    check_output(deep.as_bytes(), &deep);
}

#[test]
fn what_is_not_json_is_a_json_string_without_the_final_newline() {
    for (text, response) in [
        ("hello\n", "hello"),
        ("hello", "hello"),
        ("two\nlines\n\n", "two\nlines\n"),
        ("\n", ""),
        ("\"quoted\" text\\\n", "\"quoted\" text\\"),
        ("é漢🦀\u{1}\t\u{7f}\0\n", "é漢🦀\u{1}\t\u{7f}\0"),
        ("{\"a\":1,}\n", "{\"a\":1,}"),
        ("NaN\n", "NaN"),
        ("1 2\n", "1 2"),
        ("{} {}\n", "{} {}"),
        ("\u{feff}{}", "\u{feff}{}"),
        ("'single'", "'single'"),
        ("007", "007"),
    ] {
        let run = script("cat \"$TEST_DIR/output\"").file("output", 0o644, text).start();
        let body = run.invoke("1").response();
        assert_eq!(serde_json::from_str::<String>(&body).unwrap(), response, "{body} from {text:?}");
    }
}

#[test]
fn nothing_at_all_is_null() {
    check_response(":", "null");
    check_response("exit 0", "null");
    check_response("exec >&-", "null");
    check_response("exec >&- 2>&- 3>&-", "null");
    check_response("echo 'to the log' >&2", "null");
}

#[test]
fn what_is_not_utf_8_is_an_invalid_reply() {
    for bytes in ["\\377", "{\"a\":\"\\303\"}", "\\355\\240\\200", "text \\300\\257"] {
        for redirection in ["", ">&3"] {
            let run = until_calm(&format!("printf '{bytes}' {redirection}")).start();
            check_fault(&run, &run.invoke("1"), "Runtime.InvalidReply", &[]);
        }
    }
}

#[test]
fn what_is_written_to_fd_3_is_the_response_by_the_same_rules_and_stdout_is_logs() {
    for (output, response) in [
        ("printf '{\"a\": [\\n1]}'", "{\"a\": [\n1]}"),
        ("printf 'a \"text\"\\n'", r#""a \"text\"""#),
        ("printf '\\n'", "\"\""),
        ("echo one; echo two", "\"one\\ntwo\""),
    ] {
        let run =
            script(&format!("echo before; {{ {output}; }} > /dev/fd/$BOOTSTRAP_REPLY_FD; echo '{{\"after\":1}}'; echo unended"))
                .start();
        let report = run.invoke("1");
        assert_eq!(report.response(), response, "from {output}");
        assert_eq!(run.log_before(&report), "before\n{\"after\":1}\nunended\n");
    }
    let run = script("printf unended; echo 1 >&3").start();
    let report = run.invoke("1");
    assert_eq!(report.response().trim(), "1");
    assert_eq!(run.log_before(&report), "unended\n", "a line without its end is a line");
}

#[test]
fn much_may_be_printed_beside_a_response_on_fd_3() {
    let run = script("yes 'a line of the log' | head -n 50000; echo 1 >&3; yes 'a line of the log' | head -n 550000").start();
    let report = run.invoke("1");
    assert_eq!(report.response().trim(), "1");
    assert_eq!(run.log_before(&report).matches("a line of the log\n").count(), 600_000);
    // What of it is kept until the end is bounded.
    let peak = run.memory_kb("VmHWM");
    assert!(peak < 64_000, "a peak of {peak} kB");
}

#[test]
fn fd_3_that_is_left_alone_leaves_stdout_as_the_response() {
    check_response("exec 3>&-; echo 1", "1\n");
    check_response("printf '' >&3; echo 1", "1\n");
}

#[test]
fn stderr_is_logs_and_out_before_the_report() {
    let run = script("echo one >&2; echo 1; printf two >&2").start();
    let report = run.invoke("1");
    assert_eq!(report.response(), "1\n");
    assert_eq!(run.log_before(&report), "one\ntwo\n");
}

#[test]
fn log_lines_in_json_have_their_request_id() {
    let run = script("echo 'on stderr' >&2; echo 'on stdout'; echo 1 >&3").env("AWS_LAMBDA_LOG_FORMAT", "JSON").start();
    for _ in 0..2 {
        let report = run.invoke("1");
        let log = run.log_before(&report);
        for message in ["on stderr", "on stdout"] {
            let found = log.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
            assert!(found.into_iter().any(|l| l["message"] == message && l["requestId"] == report.id.as_str()), "{log}");
        }
    }
}

#[test]
fn an_exit_status_other_than_0_is_an_exit_error() {
    for (end, said) in [
        ("exit 1", "exit status 1"),
        ("exit 7", "exit status 7"),
        ("exit 255", "exit status 255"),
        ("kill -9 $$", "SIGKILL"),
        ("kill -15 $$", "SIGTERM"),
        ("kill -11 $$", "SIGSEGV"),
        ("no-such-command", "exit status 127"),
    ] {
        let run = until_calm(&format!("echo 'last words' >&2; {end}")).start();
        let report = run.invoke("1");
        let stack = check_fault(&run, &report, "Runtime.ExitError", &[said]);
        assert_eq!(stack[0], "last words");
    }
}

#[test]
fn a_failed_programs_stdout_is_logged_and_in_the_stack() {
    for output in ["echo '{\"half\":1}'; printf 'an answer'", "echo '{\"half\":1}' >&3; printf 'an answer'"] {
        let run = until_calm(&format!("echo 'on stderr' >&2; {output}; exit 3")).start();
        let report = run.invoke("1");
        let log = run.log_before(&report);
        let stdout = ["on stderr", "an answer", "{\"half\":1}"];
        for line in &stdout[..if output.contains(">&3") { 2 } else { 3 }] {
            assert!(log.lines().any(|l| l == *line), "{line} after {output}: {log}");
        }
        let stack = check_fault(&run, &report, "Runtime.ExitError", &["exit status 3"]);
        assert!(stack.contains(&"on stderr".to_owned()) && stack.contains(&"an answer".to_owned()), "{stack:?}");
    }
}

#[test]
fn a_failed_programs_long_output_is_cut_in_the_stack_and_whole_in_the_log() {
    let run = until_calm("yes 0123456789 | head -n 100000; exit 1").start();
    let report = run.invoke("1");
    assert_eq!(run.log_before(&report).matches("0123456789\n").count(), 100_000);
    let stack = check_fault(&run, &report, "Runtime.ExitError", &["exit status 1"]);
    assert_eq!(stack, ["0123456789"; 20]);
}

/// The environment of a process that is run for this event.
fn environment_for(setup: Setup, event: Event) -> BTreeMap<String, String> {
    let run = setup.start();
    run.invoke(event);
    parse_environ(&run.wait_file("env"))
}

const CONTEXT: &[&str] = &[
    "AWS_LAMBDA_REQUEST_ID",
    "AWS_LAMBDA_DEADLINE_MS",
    "AWS_LAMBDA_INVOKED_FUNCTION_ARN",
    "_X_AMZN_TRACE_ID",
    "TRACEPARENT",
    "AWS_LAMBDA_TENANT_ID",
    "AWS_LAMBDA_CLIENT_CONTEXT",
    "AWS_LAMBDA_COGNITO_IDENTITY",
];

/// Saves its environment.
fn saves() -> Setup {
    script("cat /proc/$$/environ > \"$TEST_DIR/part\"; mv \"$TEST_DIR/part\" \"$TEST_DIR/env\"")
}

#[test]
fn the_context_is_in_the_environment() {
    let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:1";
    let event = Event::new("1")
        .id("the-request-id")
        .deadline("1999999999999")
        .header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-west-1:123456789012:function:f:alias")
        .header("Lambda-Runtime-Trace-Id", trace)
        .header("Lambda-Runtime-Aws-Tenant-Id", "tenant 1")
        .header("Lambda-Runtime-Client-Context", "{\"custom\":{\"k\":\"v\"}}")
        .header("Lambda-Runtime-Cognito-Identity", "{\"cognitoIdentityId\":\"i\"}");
    let environment = environment_for(saves(), event);
    let values = [
        "the-request-id",
        "1999999999999",
        "arn:aws:lambda:eu-west-1:123456789012:function:f:alias",
        trace,
        "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
        "tenant 1",
        "{\"custom\":{\"k\":\"v\"}}",
        "{\"cognitoIdentityId\":\"i\"}",
    ];
    for (name, value) in CONTEXT.iter().zip(values) {
        assert_eq!(environment.get(*name).map(String::as_str), Some(value), "{name}");
    }
}

#[test]
fn what_is_not_known_is_not_in_the_environment_even_where_bootstrap_has_it() {
    let mut setup = saves();
    for name in CONTEXT {
        setup = setup.env(name, "of another time");
    }
    let environment = environment_for(setup, Event::new("1").id("only-the-id").no_deadline());
    for name in CONTEXT {
        let expected = (*name == "AWS_LAMBDA_REQUEST_ID").then_some("only-the-id");
        assert_eq!(environment.get(*name).map(String::as_str), expected, "{name}");
    }
}

#[test]
fn an_empty_or_unusable_header_is_a_missing_one() {
    let event = Event::new("1")
        .deadline("")
        .header("Lambda-Runtime-Invoked-Function-Arn", "")
        .header("Lambda-Runtime-Trace-Id", "Root=nonsense")
        .header("Lambda-Runtime-Aws-Tenant-Id", "")
        .header("Lambda-Runtime-Client-Context", "")
        .header("Lambda-Runtime-Cognito-Identity", "");
    let environment = environment_for(saves(), event);
    for name in CONTEXT {
        let known = ["AWS_LAMBDA_REQUEST_ID", "_X_AMZN_TRACE_ID"].contains(name);
        assert_eq!(environment.contains_key(*name), known, "{name}");
    }
    assert_eq!(environment["_X_AMZN_TRACE_ID"], "Root=nonsense");
}

#[test]
fn one_events_context_is_not_in_the_next_ones_environment() {
    let run = saves().start();
    run.invoke(Event::new("1").header("Lambda-Runtime-Aws-Tenant-Id", "first"));
    assert_eq!(parse_environ(&run.wait_file("env"))["AWS_LAMBDA_TENANT_ID"], "first");
    let second = run.invoke("2");
    let environment = parse_environ(&run.wait_file("env"));
    assert_eq!(environment.get("AWS_LAMBDA_TENANT_ID"), None);
    assert_eq!(environment["AWS_LAMBDA_REQUEST_ID"], second.id);
}

#[test]
fn a_program_has_the_environment_of_any_handler() {
    let environment = environment_for(saves().env("MINE", "yes"), Event::new("1"));
    assert_eq!(environment["MINE"], "yes");
    assert_eq!(environment["BOOTSTRAP_PROTOCOL_VERSION"], "1");
    assert_eq!(environment["BOOTSTRAP_REPLY_FD"], "3");
    assert_eq!(environment.get("AWS_LAMBDA_RUNTIME_API"), None);
}

#[test]
fn a_program_has_no_other_descriptors() {
    let python = "import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd'))[:-1])";
    let run = Setup::new().env("BOOTSTRAP_MODE", "oneshot").arg("python3").arg("-c").arg(python).start();
    for _ in 0..3 {
        assert_eq!(run.invoke("1").response().trim(), "[0, 1, 2, 3]");
    }
}

#[test]
fn the_commands_arguments_and_directory_are_those_of_any_handler() {
    let setup = Setup::new().env("BOOTSTRAP_MODE", "oneshot").env("BOOTSTRAP_COMMAND", "sh -c 'pwd; echo \"$1\"' sh 'two words'");
    let run = setup.env("LAMBDA_TASK_ROOT", fixture("handlers")).start();
    let expected = json!(format!("{}\ntwo words", fixture("handlers").display())).to_string();
    assert_eq!(run.invoke("1").response(), expected);
}

#[test]
fn a_command_that_cannot_run_is_an_init_error() {
    let mut run = Setup::new().env("BOOTSTRAP_MODE", "oneshot").env("_HANDLER", "no-such-program").start();
    run.init_error().is_error("Runtime.HandlerNotFound", &["no-such-program"]);
    drop(run);
    for (mode, contents) in
        [(0o644, "#!/bin/sh\necho 1\n"), (0o755, "#!/no/such/interpreter\n"), (0o755, "#!/bin/sh\r\necho 1\r\n")]
    {
        let setup = Setup::new();
        let command = format!("{}/program", setup.dir().display());
        let mut run = setup.file("program", mode, contents).env("BOOTSTRAP_MODE", "oneshot").env("_HANDLER", command).start();
        run.init_error().is_error("Runtime.InvalidEntrypoint", &["program"]);
    }
}

#[test]
fn a_program_that_is_gone_by_the_time_of_its_event_is_an_error_of_that_event() {
    let setup = Setup::new();
    let command = format!("{}/program", setup.dir().display());
    let run = setup.file("program", 0o755, "#!/bin/sh\necho 1\n").env("BOOTSTRAP_MODE", "oneshot").env("_HANDLER", command).start();
    assert_eq!(run.invoke("1").response().trim(), "1");
    run.idle();
    let (program, elsewhere) = (run.dir().join("program"), run.dir().join("elsewhere"));
    std::fs::rename(&program, &elsewhere).unwrap();
    let report = run.invoke("2");
    assert_eq!(report.kind, Kind::Error);
    assert!(!report.error()["errorMessage"].as_str().unwrap().is_empty());
    std::fs::rename(&elsewhere, &program).unwrap();
    assert_eq!(run.invoke("3").response().trim(), "1");
}

#[test]
fn the_whole_group_ends_at_the_deadline() {
    let run = until_calm("sh -c \"trap '' TERM HUP INT; while :; do sleep 1000; done\" & echo working; sleep 1001").start();
    run.push(Event::new("1").deadline_in(1000));
    let report = run.report(0);
    assert!(run.log_before(&report).contains("working\n"));
    let stack = check_fault(&run, &report, "Function.Timeout", &[]);
    assert_eq!(stack, ["working"]);
    run.idle();
    run.wait("the group's end", || run.processes().is_empty().then_some(()));
}

#[test]
fn what_is_written_to_fd_3_is_no_answer_before_the_exit() {
    let run = until_calm("echo '\"early\"' >&3; sleep 1000").start();
    run.push(Event::new("1").deadline_in(1000));
    check_fault(&run, &run.report(0), "Function.Timeout", &[]);
}

#[test]
fn a_grandchild_that_holds_the_streams_does_not_delay_the_answer() {
    for leave in [
        "sleep 1000 &",
        "sh -c \"trap '' TERM HUP INT; sleep 1000\" &",
        "setsid sleep 1000 &",
        "setsid sh -c 'sleep 1000 & sleep 1000' &",
        "(sleep 1000 3>&1 >/dev/null) &",
    ] {
        let run = script(&format!("{leave}\necho '\"answered\"'")).start();
        for _ in 0..2 {
            assert_eq!(run.invoke("1").response().trim(), "\"answered\"", "{leave}");
        }
        run.idle();
        if !leave.contains("setsid") {
            run.wait("the group's end", || run.processes().is_empty().then_some(()));
        }
    }
}

#[test]
fn a_grandchild_that_prints_for_ever_does_not_delay_the_answer() {
    for leave in
        ["sh -c 'while :; do echo noise; echo noise >&2; done' &", "setsid sh -c 'while :; do echo noise; sleep 0.001; done' &"]
    {
        let run = script(&format!("{leave}\necho '\"answered\"' >&3")).start();
        for _ in 0..2 {
            assert_eq!(run.invoke("1").response().trim(), "\"answered\"", "{leave}");
        }
    }
}

#[test]
fn a_grandchild_with_the_streams_does_not_hide_a_failure() {
    let run = until_calm("setsid sleep 1000 & sleep 1000 & echo words >&2; exit 4").start();
    let report = run.invoke("1");
    assert_eq!(check_fault(&run, &report, "Runtime.ExitError", &["exit status 4"]), ["words"]);
}

#[test]
fn a_response_too_large_is_an_error() {
    for redirection in ["", ">&3"] {
        let write = format!("read -r n; {{ printf '\"'; head -c $((n - 2)) /dev/zero | tr '\\0' x; printf '\"'; }} {redirection}");
        let run = script(&write).start();
        assert_eq!(run.invoke("6291556\n").response().len(), 6_291_556);
        for size in [6_291_557, 8 * 1024 * 1024 + 1, 40_000_000] {
            let report = run.invoke(format!("{size}\n"));
            report.is_error("Function.ResponseSizeTooLarge", &[]);
            assert_eq!(run.invoke("5\n").response(), "\"xxx\"");
        }
        let peak = run.memory_kb("VmHWM");
        assert!(peak < 64_000, "a peak of {peak} kB");
    }
}

#[test]
fn a_text_that_is_too_large_as_a_json_string_is_too_large() {
    let run = script("read -r n; head -c \"$n\" /dev/zero | tr '\\0' '\"'").start();
    assert_eq!(run.invoke("3145777\n").response().len(), 6_291_556);
    run.invoke("3145778\n").is_error("Function.ResponseSizeTooLarge", &[]);
}

#[test]
fn an_endless_output_ends_at_the_deadline_in_bounded_memory() {
    let run = until_calm("exec yes").start();
    run.push(Event::new("1").deadline_in(1500));
    let report = run.report(0);
    let document = report.error();
    let kind = document["errorType"].as_str().unwrap();
    assert!(["Function.Timeout", "Function.ResponseSizeTooLarge"].contains(&kind), "{kind}");
    run.touch("calm");
    assert_eq!(run.invoke("\"next\"").response(), "\"next\"");
    let peak = run.memory_kb("VmHWM");
    assert!(peak < 64_000, "a peak of {peak} kB");
}

#[test]
fn a_crash_loop_has_the_same_limit() {
    let mut run = script("exit 3").env("BOOTSTRAP_MAX_RESTARTS", "3").start();
    for _ in 0..3 {
        run.invoke("1").is_error("Runtime.ExitError", &["exit status 3"]);
    }
    run.exits_with(1);
    assert_eq!(run.starts().len(), 3);
}

#[test]
fn an_answer_starts_the_count_anew() {
    let run = script("read -r line; [ \"$line\" = 1 ]").env("BOOTSTRAP_MAX_RESTARTS", "3").start();
    for _ in 0..3 {
        for _ in 0..2 {
            run.invoke("0\n").is_error("Runtime.ExitError", &["exit status 1"]);
        }
        assert_eq!(run.invoke("1\n").response(), "null");
    }
}

#[test]
fn there_is_nothing_to_wait_for_before_next() {
    for ready in ["auto", "message", "none"] {
        let run = script("exec cat").env("BOOTSTRAP_READY", ready).start();
        assert_eq!(run.invoke("1").response(), "1");
        assert_eq!(run.starts().len(), 1);
    }
}

#[test]
fn the_snapshot_is_taken_before_anything_runs() {
    let run = script("exec cat")
        .env("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
        .answer(Route::RestoreNext, Answer::status(200))
        .start();
    assert_eq!(run.invoke("1").response(), "1");
    run.requests("GET", "/restore/next", 1);
}

#[test]
fn the_handler_function_of_the_tutorial_runs() {
    let tutorial = r##"#!/bin/bash
function handler () {
  EVENT_DATA=$1
  echo "$EVENT_DATA" 1>&2;
  RESPONSE="Echoing request: '$EVENT_DATA'"

  echo $RESPONSE
}
handler "$(cat)"
"##;
    let setup = Setup::new();
    let command = format!("{}/function.sh", setup.dir().display());
    let run = setup.file("function.sh", 0o755, tutorial).env("BOOTSTRAP_MODE", "oneshot").env("_HANDLER", command).start();
    let report = run.invoke("{\"text\":\"Hello\"}");
    assert_eq!(report.response(), r#""Echoing request: '{\"text\":\"Hello\"}'""#);
    assert_eq!(run.log_before(&report), "{\"text\":\"Hello\"}\n");
}

#[test]
fn a_signal_ends_a_running_program_and_its_group() {
    for (signal, status) in [(Signal::TERM, 0), (Signal::INT, 130)] {
        let mut run = script("setsid sleep 1000 & sh -c \"trap '' TERM; sleep 1000\" & : > \"$TEST_DIR/in\"; wait").start();
        run.push("1");
        run.wait_file("in");
        run.signal(signal);
        run.exits_with(status);
        assert_eq!(run.processes(), []);
        assert_eq!(run.starts().len(), 1);
    }
}

#[test]
fn a_program_may_answer_within_the_grace() {
    let program = "trap '' TERM; : > \"$TEST_DIR/in\"; while [ ! -e \"$TEST_DIR/go\" ]; do sleep 0.01; done; echo '\"in time\"'";
    let mut run = script(program).env("BOOTSTRAP_STOP_GRACE_MS", "60000").start();
    run.push("1");
    run.wait_file("in");
    run.signal(Signal::TERM);
    run.touch("go");
    run.exits_with(0);
    assert_eq!(run.report(0).response().trim(), "\"in time\"");
}

#[test]
fn a_program_dies_with_bootstrap() {
    let mut run = script(": > \"$TEST_DIR/in\"; exec sleep 1000").start();
    run.push("1");
    run.wait_file("in");
    run.signal(Signal::KILL);
    run.exit();
    run.wait("the program's end", || run.processes().is_empty().then_some(()));
}

#[test]
fn many_events_leave_no_file_descriptor_or_process() {
    let setup = script("sleep 1000 & exec cat");
    let dir = setup.dir().to_owned();
    let run = setup.env("TMPDIR", dir).start();
    run.invoke("1");
    run.idle();
    let before = run.descriptors();
    for n in 0..50 {
        assert_eq!(run.invoke(n.to_string()).response(), n.to_string());
    }
    run.idle();
    run.wait("no more descriptors than before", || (run.descriptors() <= before).then_some(()));
    run.wait("no child", || run.children().is_empty().then_some(()));
    let left: Vec<_> = std::fs::read_dir(run.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["starts"]);
}
