use rustix::process::Signal;
use serde_json::json;

use super::support::{Event, Kind, Report, Run, Setup, stack_of};

/// A filter that is a shell script, each line of which goes through `answer`, a shell command.
fn lines(answer: &str) -> Setup {
    Setup::script("filter", &format!("while read -r line; do\n{answer}\ndone"))
}

/// Answers with the event.
fn cat() -> Setup {
    Setup::script("filter", "exec cat")
}

fn filter(command: &str) -> Setup {
    Setup::new().env("BOOTSTRAP_MODE", "filter").env("BOOTSTRAP_COMMAND", command)
}

/// The first process does this, each later one answers with the event.
fn first(act: &str) -> Setup {
    let script = format!("[ -e \"$TEST_DIR/calm\" ] && exec cat\n: > \"$TEST_DIR/calm\"\n{act}");
    Setup::script("filter", &script)
}

/// The fault's one log line, and a fresh handler that answers the next event.
#[track_caller]
fn check_fault(run: &Run, report: &Report, error_type: &str) {
    report.is_error(error_type, &[]);
    assert_eq!(report.header("lambda-runtime-function-error-type"), Some(error_type));
    let log = run.log_before(report);
    let start = format!("[ERROR] bootstrap: RequestId: {} {error_type}: ", report.id);
    assert_eq!(log.lines().filter(|l| l.starts_with(&start)).count(), 1, "one line for one fault: {log}");
    run.wait_starts(2);
    assert_eq!(run.invoke("\"next\"").response(), "\"next\"");
    run.idle();
    assert_eq!(run.starts().len(), 2, "handlers started");
}

#[track_caller]
fn check_warned(log: &str) {
    assert!(log.lines().any(|l| l.starts_with("[WARN] bootstrap: ")), "{log}");
}

#[test]
fn the_bare_event_goes_in_and_the_bare_response_comes_out() {
    let run = cat().start();
    for event in [
        "{\"a\": 1}",
        "null",
        "false",
        "0",
        "\"\"",
        "\"text\"",
        "[1,2,3]",
        "123456789012345678901234567890",
        "1.10E400",
        "-0.0",
        "{\"a\":1,\"a\":2}",
        "{ \"b\" : [ 1 ,\t2 ] }",
        r#""\u00e9\/\ud800""#,
        "\"é漢🦀\"",
    ] {
        assert_eq!(run.invoke(event).response(), event);
    }
    run.idle();
    assert_eq!(run.starts().len(), 1);
    assert_eq!(run.log(), "");
}

#[test]
fn the_message_is_the_event_and_nothing_else() {
    // No space of a readiness probe either.
    let run = lines("printf '%s|' \"$line\" >> \"$TEST_DIR/got\"; echo null").start();
    run.invoke(Event::new("{\"n\":1}").header("Lambda-Runtime-Client-Context", "{}").invocation_id("x"));
    run.invoke(" [2] ");
    run.invoke("3");
    let got = String::from_utf8(run.wait_file("got")).unwrap();
    let got: Vec<&str> = got.split('|').collect();
    // The shell has trimmed what stood around the second one.
    assert_eq!(got, ["{\"n\":1}", "[2]", "3", ""]);
    drop(run);
    let run =
        Setup::script("filter", "head -c 9 > \"$TEST_DIR/part\"; mv \"$TEST_DIR/part\" \"$TEST_DIR/raw\"; echo 1; cat").start();
    run.invoke("{\"n\":12}");
    assert_eq!(run.wait_file("raw"), b"{\"n\":12}\n");
}

#[test]
fn an_event_of_several_lines_is_one_line() {
    let run = cat().start();
    let pretty = "{\n  \"a\": [\r\n    1,\r\n    2\r  ],\n\n  \"b\": \"\\n\"\n}";
    assert_eq!(run.invoke(pretty).response(), pretty.replace(['\r', '\n'], " "));
    assert_eq!(run.invoke("\n1").response().trim(), "1");
    assert_eq!(run.invoke("2\r\n").response().trim(), "2");
    run.idle();
    assert_eq!(run.log(), "");
}

#[test]
fn the_first_line_that_is_not_empty_is_the_response() {
    let run = lines("printf '\\n\\r\\n%s\\r\\n' \"$line\"").start();
    for n in 0..3 {
        let event = format!("[{n}]");
        assert_eq!(run.invoke(event.as_str()).response(), event);
    }
    assert_eq!(run.starts().len(), 1);
    assert_eq!(run.log(), "");
}

#[test]
fn what_would_be_a_reply_in_jsonl_is_a_response_as_any_other() {
    let run = cat().start();
    for event in [
        r#"{"id":"x","response":1}"#,
        r#"{"id":"x","error":"e"}"#,
        r#"{"error":{"errorType":"A.B"}}"#,
        r#"{"ready":true}"#,
        r#"{"ready":false,"error":"no"}"#,
        r#"{"id":"x","stream":{}}"#,
    ] {
        assert_eq!(run.invoke(event).response(), event);
    }
    run.idle();
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn a_thousand_events_go_through_one_filter_in_order() {
    let mut setup = cat();
    for n in 0..1000 {
        setup = setup.event(n.to_string());
    }
    let run = setup.start();
    for n in (0..1000).step_by(50) {
        run.report(n);
    }
    run.report(999);
    let bodies: Vec<String> = run.api().reports().iter().map(Report::response).collect();
    assert_eq!(bodies, (0..1000).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn a_response_that_is_not_valid_json_is_an_invalid_reply() {
    for line in ["hello", "{\"a\":1,}", "NaN", "1 2", "[1", "{a:1}", "01", "'x'", "\u{feff}1", "{} trailing", "\"\\x\""] {
        let run = first("read -r line; cat \"$TEST_DIR/line\"; exec cat").file("line", 0o644, format!("{line}\n")).start();
        check_fault(&run, &run.invoke("1"), "Runtime.InvalidReply");
    }
    let run = first("read -r line; printf '\"\\377\"\\n'; exec cat").start();
    check_fault(&run, &run.invoke("1"), "Runtime.InvalidReply");
}

#[test]
fn an_invalid_reply_is_quoted_in_the_message() {
    let run = first("read -r line; echo '<html>no JSON</html>'; exec cat").start();
    run.invoke("1").is_error("Runtime.InvalidReply", &["<html>"]);
}

#[test]
fn a_response_may_come_on_fd_3_and_stdout_is_logs_from_then_on() {
    let run = lines("echo \"$line\" >&3; echo \"printed $line\"; echo \"{\\\"printed\\\":$line}\"").start();
    for n in 0..3 {
        assert_eq!(run.invoke(n.to_string()).response(), n.to_string());
        run.wait_log(&format!("{{\"printed\":{n}}}\n"));
        assert!(run.log().contains(&format!("printed {n}\n")));
    }
    run.idle();
    assert_eq!(run.starts().len(), 1);
    assert!(!run.log().contains("bootstrap: "), "no warning: {}", run.log());
}

#[test]
fn a_line_on_stdout_is_a_log_line_once_one_has_come_on_fd_3() {
    let run = lines("[ \"$line\" = 1 ] || { echo '\"a log line\"'; echo another; }\necho \"$line\" >&3").start();
    assert_eq!(run.invoke("1").response(), "1");
    let report = run.invoke("2");
    assert_eq!(report.response(), "2");
    assert_eq!(run.log_before(&report), "\"a log line\"\nanother\n");
    run.idle();
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn text_on_fd_3_is_an_invalid_reply() {
    let run = first("read -r line; echo text >&3; exec cat").start();
    check_fault(&run, &run.invoke("1"), "Runtime.InvalidReply");
}

#[test]
fn a_second_line_is_logged_with_a_warning_and_costs_the_handler() {
    for redirection in ["", ">&3"] {
        let run = first(&format!("read -r line; printf '\"first\"\\n\"second\"\\n' {redirection}; exec sleep 1000")).start();
        assert_eq!(run.invoke("1").response(), "\"first\"");
        assert_eq!(run.invoke("\"next\"").response(), "\"next\"");
        assert_eq!(run.starts().len(), 2);
        let log = run.log();
        assert!(log.lines().any(|l| l.contains("\"second\"")), "{log}");
        check_warned(&log);
    }
}

#[test]
fn a_line_between_events_is_logged_with_a_warning_and_costs_the_handler() {
    for redirection in ["", ">&3"] {
        let act = format!(
            "read -r line; echo \"$line\" {redirection}; while [ ! -e \"$TEST_DIR/go\" ]; do sleep 0.01; done
            echo '\"surplus\"' {redirection}; : > \"$TEST_DIR/strayed\"; exec cat"
        );
        let run = first(&act).start();
        assert_eq!(run.invoke("1").response(), "1");
        run.idle();
        run.touch("go");
        // It may be found out, and the handler ended, before it gets any further.
        run.wait("the stray line", || (run.dir().join("strayed").exists() || run.starts().len() > 1).then_some(()));
        assert_eq!(run.invoke("\"next\"").response(), "\"next\"");
        run.idle();
        assert_eq!(run.starts().len(), 2);
        let log = run.log();
        assert!(log.contains("\"surplus\""), "{log}");
        check_warned(&log);
    }
}

#[test]
fn what_waits_in_the_pipe_is_read_before_a_message_is_written() {
    // Everything is there when bootstrap looks: the event, and the line that is not its answer.
    let act = "read -r line; echo \"$line\"; while [ ! -e \"$TEST_DIR/go\" ]; do sleep 0.01; done
        echo '\"surplus\"'; : > \"$TEST_DIR/strayed\"; exec cat";
    let mut run = first(act).start();
    assert_eq!(run.invoke("1").response(), "1");
    run.idle();
    run.while_stopped(|run| {
        run.touch("go");
        run.wait_file("strayed");
        run.push("\"next\"");
        run.wait("the event on its way", || (run.api().waiting() == 0).then_some(()));
    });
    assert_eq!(run.report(1).response(), "\"next\"");
    assert_eq!(run.starts().len(), 2);
}

#[test]
fn lines_before_the_first_message_are_log_lines() {
    let run = Setup::script("filter", "echo '\"starting\"'; echo 'no JSON'; : > \"$TEST_DIR/started\"; exec cat").start();
    run.wait_file("started");
    for n in 0..2 {
        assert_eq!(run.invoke(n.to_string()).response(), n.to_string());
    }
    run.idle();
    assert_eq!(run.starts().len(), 1);
    assert_eq!(run.log(), "\"starting\"\nno JSON\n");
}

#[test]
fn lines_on_fd_3_before_the_first_message_are_log_lines() {
    let script = "echo '\"starting\"' >&3; echo 'no JSON' >&3; : > \"$TEST_DIR/started\"; exec cat >&3";
    let run = Setup::script("filter", script).start();
    run.wait_file("started");
    assert_eq!(run.invoke("1").response(), "1");
    run.idle();
    assert_eq!(run.starts().len(), 1);
    assert_eq!(run.log(), "\"starting\"\nno JSON\n");
}

#[test]
fn an_empty_line_between_events_is_nothing() {
    let run = lines("printf '%s\\n\\n\\r\\n' \"$line\"").start();
    for n in 0..5 {
        assert_eq!(run.invoke(n.to_string()).response(), n.to_string());
        run.idle();
    }
    assert_eq!(run.starts().len(), 1);
    assert_eq!(run.log(), "");
}

#[test]
fn a_last_line_without_its_newline_counts_where_the_status_is_0() {
    let run = first("read -r line; printf '\"unended\"'; exit 0").start();
    assert_eq!(run.invoke("1").response(), "\"unended\"");
    assert_eq!(run.invoke("\"next\"").response(), "\"next\"");
    assert!(!run.log().contains("[ERROR]"), "{}", run.log());
    drop(run);
    for (end, said) in [("exit 1", "exit status 1"), ("kill -9 $$", "SIGKILL")] {
        let run = first(&format!("read -r line; printf '\"unended\"'; {end}")).start();
        let report = run.invoke("1");
        report.is_error("Runtime.ExitError", &[said]);
        assert!(run.log_before(&report).lines().any(|l| l == "\"unended\""), "it is a log line");
        check_fault(&run, &report, "Runtime.ExitError");
    }
}

#[test]
fn a_whole_line_is_believed_whatever_the_status() {
    let run = first("read -r line; echo '\"whole\"'; exit 1").start();
    assert_eq!(run.invoke("1").response(), "\"whole\"");
    assert_eq!(run.invoke("\"next\"").response(), "\"next\"");
    assert_eq!(run.starts().len(), 2);
}

#[test]
fn a_filter_for_one_event_each_is_started_for_each() {
    let run = Setup::script("filter", "read -r line; echo \"$line\"").start();
    for n in 0..12 {
        assert_eq!(run.invoke(n.to_string()).response(), n.to_string());
    }
    assert!(!run.log().contains("[ERROR]"), "{}", run.log());
}

#[test]
fn a_payload_that_is_not_one_json_value_never_reaches_the_filter() {
    let run = cat().env("BOOTSTRAP_MAX_RESTARTS", "1").start();
    let payloads: [&[u8]; 12] = [
        b"",
        b" ",
        b"\n",
        b"text",
        b"{\"a\":1",
        b"{\"a\":1}}",
        b"1 2",
        b"1\n2",
        b"\"\xff\"",
        b"\xef\xbb\xbf1",
        b"[1}",
        b"\"unclosed",
    ];
    for payload in payloads {
        let report = run.invoke(Event::new(payload));
        report.is_error("Function.InvalidEvent", &[]);
        assert_eq!(report.header("lambda-runtime-function-error-type"), Some("Function.InvalidEvent"));
        let log = run.log_before(&report);
        assert!(log.lines().any(|l| l.starts_with("[ERROR] bootstrap: ") && l.contains(&report.id)), "{log}");
        assert_eq!(run.invoke("\"next\"").response(), "\"next\"");
    }
    run.idle();
    assert_eq!(run.starts().len(), 1, "the handler is kept");
}

#[test]
fn an_invalid_event_does_not_wait_for_a_handler_that_does_not_read() {
    let run = Setup::script("filter", "exec sleep 1000").start();
    run.invoke(Event::new("text")).is_error("Function.InvalidEvent", &[]);
    run.idle();
}

#[test]
fn six_megabytes_to_a_program_that_never_reads_end_at_the_deadline() {
    let run = first("exec sleep 1000").start();
    run.push(Event::new(format!("\"{}\"", "x".repeat(6 * 1024 * 1024 - 2))).deadline_in(1000));
    check_fault(&run, &run.report(0), "Function.Timeout");
}

#[test]
fn six_megabytes_go_both_ways() {
    let run = cat().start();
    let event = format!("\"{}\"", "x".repeat(6 * 1024 * 1024 - 2));
    for _ in 0..2 {
        assert!(run.invoke(event.as_str()).response() == event);
    }
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn a_response_too_large_is_an_error_and_the_filter_is_kept() {
    let answer = "{ printf '\"'; head -c $((line - 2)) /dev/zero | tr '\\0' x; echo '\"'; }";
    let run = lines(answer).start();
    assert_eq!(run.invoke("6291556").response().len(), 6_291_556);
    for size in [6_291_557, 8 * 1024 * 1024 + 100, 20_000_000] {
        run.invoke(size.to_string()).is_error("Function.ResponseSizeTooLarge", &[]);
        assert_eq!(run.invoke("5").response(), "\"xxx\"");
    }
    run.idle();
    assert_eq!(run.starts().len(), 1);
    assert!(run.log_bytes().len() < 100_000, "the response is not logged");
}

#[test]
fn a_ready_message_counts_before_the_first_message_where_it_is_asked_for() {
    // Nothing but `message` waits for it.
    let run = Setup::script("filter", "while [ ! -e \"$TEST_DIR/go\" ]; do sleep 0.01; done; echo '{\"ready\":true}'; exec cat")
        .env("BOOTSTRAP_READY", "message")
        .start();
    run.wait_starts(1);
    for _ in 0..30 {
        assert!(run.api().requests().is_empty(), "/next before the handler was ready");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    run.touch("go");
    assert_eq!(run.invoke("{\"ready\":true}").response(), "{\"ready\":true}");
    assert_eq!(run.invoke("2").response(), "2");
    assert_eq!((run.log().as_str(), run.starts().len()), ("", 1));
}

#[test]
fn ready_false_is_an_init_error_where_ready_messages_are_asked_for() {
    let script =
        "echo '{\"ready\":false,\"error\":{\"errorType\":\"Function.NoDatabase\",\"errorMessage\":\"no route\"}}'; exec sleep 1000";
    let mut run = Setup::script("filter", script).env("BOOTSTRAP_READY", "message").start();
    run.init_error().is_error("Function.NoDatabase", &["no route"]);
}

#[test]
fn a_ready_message_is_a_log_line_where_it_is_not_asked_for() {
    let run = Setup::script("filter", "echo '{\"ready\":true}'; : > \"$TEST_DIR/started\"; exec cat").start();
    run.wait_file("started");
    assert_eq!(run.invoke("1").response(), "1");
    assert_eq!((run.log().as_str(), run.starts().len()), ("{\"ready\":true}\n", 1));
}

#[test]
fn next_waits_for_nothing_by_default() {
    let run = Setup::script("filter", "while [ ! -e \"$TEST_DIR/go\" ]; do sleep 0.01; done; exec cat").start();
    run.requests("GET", "/next", 1);
    let id = run.push("1");
    run.touch("go");
    let report = run.report(0);
    assert_eq!((report.response(), report.id), ("1".to_owned(), id));
}

#[test]
fn a_filter_that_reads_is_ready_where_auto_is_asked_for() {
    let script = ": > \"$TEST_DIR/started\"; while [ ! -e \"$TEST_DIR/go\" ]; do sleep 0.01; done; exec cat";
    let run = Setup::script("filter", script).env("BOOTSTRAP_READY", "auto").start();
    run.wait_file("started");
    for _ in 0..30 {
        assert!(run.api().requests().is_empty(), "/next before the handler was ready");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    run.touch("go");
    // One space may stand in front of the first message.
    assert_eq!(run.invoke("1").response().trim(), "1");
    assert_eq!(run.invoke("2").response(), "2");
}

#[test]
fn a_filter_that_ends_before_its_answer_is_an_exit_error() {
    for (end, said) in [("exit 0", "exit status 0"), ("exit 7", "exit status 7"), ("kill -9 $$", "SIGKILL")] {
        let run = first(&format!("read -r line; echo 'last words' >&2; {end}")).start();
        let report = run.invoke("1");
        assert_eq!(stack_of(&report.is_error("Runtime.ExitError", &[said])), ["last words"]);
        check_fault(&run, &report, "Runtime.ExitError");
    }
}

#[test]
fn a_filter_that_is_too_late_is_a_timeout() {
    let run = first("read -r line; echo working >&2; sleep 1000").start();
    run.push(Event::new("1").deadline_in(1000));
    let report = run.report(0);
    assert_eq!(stack_of(&report.error()), ["working"]);
    check_fault(&run, &report, "Function.Timeout");
    assert!(!run.processes().iter().any(|(_, line)| line.contains("sleep 1000")), "its group is gone");
}

#[test]
fn a_filter_whose_answer_comes_after_the_deadline_does_not_answer_the_next_event() {
    // It ignores the end of its input and answers whenever it is let to.
    let run = first("read -r line; while [ ! -e \"$TEST_DIR/go\" ]; do sleep 0.01; done; echo '\"late\"'; sleep 1000").start();
    run.push(Event::new("1").deadline_in(800));
    run.report(0).is_error("Function.Timeout", &[]);
    run.touch("go");
    assert_eq!(run.invoke("\"next\"").response(), "\"next\"");
}

#[test]
fn a_filter_that_closes_every_reply_channel_is_told_so() {
    let run = first("read -r line; exec >&- 3>&-; sleep 1000").start();
    let report = run.invoke("1");
    check_fault(&run, &report, "Runtime.ReplyChannelClosed");
}

#[test]
fn a_filter_may_close_fd_3() {
    let run = Setup::script("filter", "exec 3>&-; exec cat").start();
    for n in 0..3 {
        assert_eq!(run.invoke(n.to_string()).response(), n.to_string());
    }
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn a_filter_logs_on_stderr() {
    let run = lines("echo \"on stderr $line\" >&2; echo \"$line\"").start();
    for n in 0..3 {
        let report = run.invoke(n.to_string());
        assert_eq!(report.response(), n.to_string());
        assert!(run.log_before(&report).ends_with(&format!("on stderr {n}\n")));
    }
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn a_filters_crash_loop_has_the_same_limit() {
    let mut run = Setup::script("filter", "read -r line; exit 3").env("BOOTSTRAP_MAX_RESTARTS", "3").start();
    for _ in 0..3 {
        run.invoke("1").is_error("Runtime.ExitError", &["exit status 3"]);
    }
    run.exits_with(1);
    assert_eq!(run.starts().len(), 3);
}

#[test]
fn a_filter_ends_with_bootstrap() {
    let mut run = cat().start();
    run.invoke("1");
    run.idle();
    run.signal(Signal::TERM);
    run.exits_with(0);
    assert_eq!(run.processes(), []);
}

#[test]
fn a_filter_that_is_missing_is_an_init_error() {
    let mut run = filter("no-such-filter --unbuffered").start();
    run.init_error().is_error("Runtime.HandlerNotFound", &["no-such-filter"]);
}

#[test]
fn jq_is_a_lambda_function() {
    let run = filter("jq --unbuffered -c '{hello: .name}'").start();
    for name in ["world", "é漢🦀", "\\n", ""] {
        assert_eq!(run.invoke(format!("{{\n  \"name\": \"{name}\"\n}}")).response(), format!("{{\"hello\":\"{name}\"}}"));
    }
    assert_eq!(run.invoke("{}").response(), "{\"hello\":null}");
    run.idle();
    assert_eq!(run.log(), "");
}

#[test]
fn an_error_in_jq_that_answers_nothing_is_in_the_timeouts_stack() {
    let run = filter("jq --unbuffered -c '{hello: .name}'").start();
    assert_eq!(run.invoke("{\"name\":1}").response(), "{\"hello\":1}");
    run.push(Event::new("5").deadline_in(1000));
    let document = run.report(1).is_error("Function.Timeout", &[]);
    assert!(stack_of(&document)[0].contains("jq: error"), "{document}");
    assert_eq!(run.invoke("{\"name\":2}").response(), "{\"hello\":2}");
}

#[test]
fn a_jq_program_with_several_results_is_warned_of_and_never_answers_the_next_event() {
    let run = filter("jq --unbuffered -c '.items[]'").start();
    for n in 0..5 {
        let event = json!({ "items": [n * 10, n * 10 + 1, n * 10 + 2] });
        let report = run.invoke(event);
        assert_eq!((report.kind, report.request.body), (Kind::Response, (n * 10).to_string().into_bytes()));
        // A surplus line that comes after the next event can't be told from its answer.
        run.wait("a warning", || (run.log().matches("[WARN] bootstrap: ").count() > n).then_some(()));
    }
}

#[test]
fn sed_and_perl_are_filters_too() {
    let run = filter("sed -u 's/world/moon/'").start();
    for n in 0..3 {
        assert_eq!(run.invoke(format!("{{\"world\":{n}}}")).response(), format!("{{\"moon\":{n}}}"));
    }
    drop(run);
    let run = filter("perl -pe 'BEGIN { $| = 1 } s/world/moon/'").start();
    for n in 0..3 {
        assert_eq!(run.invoke(format!("{{\"world\":{n}}}")).response(), format!("{{\"moon\":{n}}}"));
    }
}
