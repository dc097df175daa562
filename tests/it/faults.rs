use serde_json::json;

use super::support::{Event, Kind, Report, Run, Setup, stack_of};

/// The fault's one log line.
#[track_caller]
fn check_logged(run: &Run, report: &Report) {
    let document = report.error();
    let (error_type, message) = (document["errorType"].as_str().unwrap(), document["errorMessage"].as_str().unwrap());
    let log = run.log_before(report);
    let start = format!("[ERROR] bootstrap: RequestId: {} {error_type}: ", report.id);
    let lines: Vec<&str> = log.lines().filter(|l| l.starts_with("[ERROR]") && l.contains(&report.id)).collect();
    assert_eq!(lines.len(), 1, "one line for one fault: {log}");
    assert!(lines[0].starts_with(&start), "{}", lines[0]);
    // A message with line breaks is one line in the log all the same.
    assert!(lines[0].contains(message.lines().next().unwrap()), "{}", lines[0]);
}

#[test]
fn a_handler_that_ends_before_its_reply_is_an_exit_error() {
    for (step, said) in [
        (json!({ "exit": 0 }), "exit status 0"),
        (json!({ "exit": 1 }), "exit status 1"),
        (json!({ "exit": 7 }), "exit status 7"),
        (json!({ "exit": 255 }), "exit status 255"),
        (json!({ "signal": 9 }), "SIGKILL"),
        (json!({ "signal": 15 }), "SIGTERM"),
        (json!({ "signal": 11 }), "SIGSEGV"),
        (json!({ "signal": 6 }), "SIGABRT"),
    ] {
        let run = Run::told();
        let report = run.invoke(json!([{ "err": "last words\n" }, step]));
        let document = report.is_error("Runtime.ExitError", &[said]);
        assert_eq!(stack_of(&document), ["last words"]);
        assert_eq!(report.header("lambda-runtime-function-error-type"), Some("Runtime.ExitError"));
        check_logged(&run, &report);
        // The fresh one waits for no event.
        run.wait_starts(2);
        assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
        run.idle();
        assert_eq!(run.starts().len(), 2);
    }
}

#[test]
fn a_handler_that_exits_in_the_middle_of_its_reply_is_an_exit_error() {
    for half in [
        "{\"id\":\"@ID@\",\"response\":\"ha",
        "{\"id\":\"@ID@\",\"response\":[1",
        "{\"id\":\"@ID@\",",
        "{\"id\":\"@ID@\",\"response\":tru",
    ] {
        let run = Run::told();
        let report = run.invoke(json!([{ "out": half }, { "exit": 0 }]));
        report.is_error("Runtime.ExitError", &["exit status 0"]);
        let line = half.replace("@ID@", &report.id);
        assert!(run.log_before(&report).lines().any(|l| l == line), "{line} is a log line");
        assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
    }
}

#[test]
fn a_grandchild_that_holds_the_pipes_does_not_hide_the_end() {
    for step in [json!({ "exit": 7 }), json!({ "signal": 9 })] {
        let run = Run::told();
        let report = run.invoke(json!([{ "spawn": ["sleep", "1000"] }, step]));
        report.is_error("Runtime.ExitError", &[]);
        assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
        let left: Vec<_> = run.processes().into_iter().filter(|(_, line)| line.contains("sleep 1000")).collect();
        assert!(left.is_empty(), "what was left of the group is killed: {left:?}");
    }
}

#[test]
fn a_handler_that_ends_after_its_reply_has_done_no_wrong() {
    let run = Run::told();
    for status in [0, 3, 0] {
        let report = run.invoke(json!([{ "response": status }, { "spawn": ["sleep", "1000"] }, { "exit": status }]));
        assert_eq!(report.response(), status.to_string());
    }
    run.wait_starts(4);
    assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
    assert!(!run.log().contains("[ERROR]"), "{}", run.log());
    assert!(!run.processes().iter().any(|(_, line)| line.contains("sleep 1000")), "its group is cleared");
}

#[test]
fn a_handler_for_one_event_each_never_reaches_the_crash_limit() {
    let mut setup = Setup::told().env("BOOTSTRAP_MAX_RESTARTS", "2");
    for n in 0..12 {
        setup = setup.event(json!([{ "response": n }, { "exit": 1 }]));
    }
    let run = setup.start();
    run.report(11);
    let bodies: Vec<String> = run.api().reports().iter().map(Report::response).collect();
    assert_eq!(bodies, (0..12).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_handler_that_is_killed_while_idle_is_replaced() {
    let run = Run::told();
    run.invoke(json!([{ "response": 1 }]));
    run.idle();
    let pid = rustix::process::Pid::from_raw(run.starts()[0]).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    run.wait_starts(2);
    assert_eq!(run.invoke(json!([{ "response": 2 }])).response(), "2");
    run.idle();
    assert_eq!(run.starts().len(), 2);
}

#[test]
fn a_message_that_the_old_handler_did_not_read_goes_to_a_fresh_one() {
    for size in [1, 1_000_000] {
        let run = Setup::of("leaves_at_the_sight_of_its_second_event.py").env("BOOTSTRAP_READY", "message").start();
        assert_eq!(run.invoke("1").response(), "1");
        let event = format!("\"{}\"", "x".repeat(size));
        assert_eq!(run.invoke(event.as_str()).response(), event);
        assert_eq!(run.starts().len(), 2);
        assert!(!run.log().contains("[ERROR]"));
    }
}

#[test]
fn a_message_goes_to_a_fresh_handler_only_once() {
    let run =
        Setup::of("leaves_at_the_sight_of_its_second_event.py").env("BOOTSTRAP_READY", "message").env("THEN", "leave").start();
    assert_eq!(run.invoke("1").response(), "1");
    // The second handler leaves at the sight of its first event.
    let report = run.invoke("2");
    report.is_error("Runtime.ExitError", &["exit status 4"]);
    check_logged(&run, &report);
}

#[test]
fn a_handler_that_never_answered_gets_no_second_chance() {
    let run =
        Setup::of("leaves_at_the_sight_of_its_second_event.py").env("BOOTSTRAP_READY", "message").env("FIRST", "leave").start();
    let report = run.invoke("1");
    report.is_error("Runtime.ExitError", &["exit status 4"]);
}

#[test]
fn a_message_of_which_a_byte_was_read_is_not_sent_again() {
    for size in [1, 1_000_000] {
        let run =
            Setup::of("leaves_at_the_sight_of_its_second_event.py").env("BOOTSTRAP_READY", "message").env("READS", "1").start();
        assert_eq!(run.invoke("1").response(), "1");
        let event = format!("\"{}\"", "x".repeat(size));
        run.invoke(event.as_str()).is_error("Runtime.ExitError", &["exit status 4"]);
        assert_eq!(run.invoke("3").response(), "3");
    }
}

#[test]
fn a_handler_that_closes_every_reply_channel_is_told_so() {
    let run = Run::told();
    let report = run.invoke(json!([{ "err": "closing\n" }, { "close": 1 }, { "close": 3 }, { "hang": true }]));
    report.is_error("Runtime.ReplyChannelClosed", &[]);
    check_logged(&run, &report);
    run.wait_starts(2);
    assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
    assert!(!run.processes().iter().any(|(pid, _)| *pid == run.starts()[0]), "the old one is killed");
}

#[test]
fn one_open_reply_channel_is_enough() {
    let run = Run::told();
    assert_eq!(run.invoke(json!([{ "close": 1 }, { "fd3": "{\"id\":\"@ID@\",\"response\":1}\n" }])).response(), "1");
    assert_eq!(run.invoke(json!([{ "fd3": "{\"id\":\"@ID@\",\"response\":2}\n" }])).response(), "2");
    drop(run);
    let run = Run::told();
    assert_eq!(run.invoke(json!([{ "close": 3 }, { "response": 1 }])).response(), "1");
    assert_eq!(run.invoke(json!([{ "close": 2 }, { "response": 2 }])).response(), "2");
    assert_eq!(run.invoke(json!([{ "response": 3 }])).response(), "3");
    run.idle();
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn a_closed_stdin_is_no_fault_of_the_event_that_was_answered() {
    let run = Run::told();
    assert_eq!(run.invoke(json!([{ "close": 0 }, { "response": 1 }, { "hang": true }])).response(), "1");
    // Nobody will read this one. Whatever it is called, it is one report and the next event is answered.
    run.push(Event::new(json!([{ "response": 2 }]).to_string()).deadline_in(800));
    run.report(1);
    assert_eq!(run.invoke(json!([{ "response": 3 }])).response(), "3");
}

#[test]
fn a_response_too_large_is_an_error_and_the_handler_is_kept() {
    // One byte too many; more than that; more than bootstrap keeps of a line.
    let run = Run::of("replies_with_so_many_bytes.py");
    for size in [6_291_557, 8 * 1024 * 1024 - 100, 8 * 1024 * 1024 + 1, 30_000_000] {
        let report = run.invoke(size.to_string());
        report.is_error("Function.ResponseSizeTooLarge", &[]);
        check_logged(&run, &report);
        assert_eq!(run.invoke("10").response(), "\"xxxxxxxx\"");
    }
    run.idle();
    assert_eq!(run.starts().len(), 1);
    assert!(run.log_bytes().len() < 100_000, "the reply is not logged");
}

#[test]
fn a_response_too_large_is_answered_at_once_and_next_waits_for_the_end_of_its_line() {
    let run = Run::told();
    run.invoke(json!([
        { "out": "{\"id\":\"@ID@\",\"response\":\"" },
        { "outMany": ["x", 9_000_000] },
        { "touch": "written" },
        { "await": "go" },
        { "out": "\"}\n" },
    ]))
    .is_error("Function.ResponseSizeTooLarge", &[]);
    run.wait_file("written");
    for _ in 0..30 {
        assert_eq!(run.requests("GET", "/next", 1).len(), 1, "no /next before the line's end");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    run.touch("go");
    run.idle();
    assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn a_response_too_large_that_never_ends_costs_the_handler() {
    let run = Run::told();
    let steps = json!([{ "out": "{\"id\":\"@ID@\",\"response\":\"" }, { "outMany": ["x", 9_000_000] }, { "hang": true }]);
    run.push(Event::new(steps.to_string()).deadline_in(3000));
    run.report(0).is_error("Function.ResponseSizeTooLarge", &[]);
    assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
    assert_eq!(run.starts().len(), 2);
}

#[test]
fn a_line_too_long_whose_id_comes_last_is_a_log_line() {
    let run = Run::told();
    let report = run.invoke(json!([
        { "out": "{\"response\":\"" },
        { "outMany": ["x", 9_000_000] },
        { "out": "\",\"id\":\"@ID@\"}\n" },
        { "response": "after it" },
    ]));
    assert_eq!(report.response(), "\"after it\"");
    assert!(run.log_bytes().len() > 9_000_000);
}

#[test]
fn bootstrap_gives_up_after_so_many_handlers_without_an_answer() {
    let mut run = Setup::told().env("BOOTSTRAP_MAX_RESTARTS", "3").start();
    run.invoke(json!([{ "exit": 1 }])).is_error("Runtime.ExitError", &["exit status 1"]);
    run.wait_starts(2);
    run.invoke(json!([{ "exit": 2 }])).is_error("Runtime.ExitError", &["exit status 2"]);
    // From the second one on, the next starts when it is needed.
    run.idle();
    for _ in 0..20 {
        assert_eq!(run.starts().len(), 2);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    run.invoke(json!([{ "exit": 3 }])).is_error("Runtime.ExitError", &["exit status 3"]);
    run.exits_with(1);
    assert_eq!(run.starts().len(), 3);
}

#[test]
fn an_answer_starts_the_count_anew() {
    let run = Setup::told().env("BOOTSTRAP_MAX_RESTARTS", "3").start();
    for _ in 0..3 {
        for _ in 0..2 {
            run.invoke(json!([{ "exit": 1 }])).is_error("Runtime.ExitError", &[]);
        }
        assert_eq!(run.invoke(json!([{ "error": "an answer too" }, { "exit": 1 }])).kind, Kind::Error);
    }
    run.idle();
}

#[test]
fn every_kind_of_fault_counts_toward_the_limit() {
    for steps in [
        json!([{ "exit": 0 }]),
        json!([{ "out": "{\"id\":\"@ID@\",\"response\":1,\"x\":1}\n" }]),
        json!([{ "close": 1 }, { "close": 3 }, { "hang": true }]),
        json!([{ "hang": true }]),
    ] {
        let mut run = Setup::told().env("BOOTSTRAP_MAX_RESTARTS", "2").start();
        run.push(Event::new(steps.to_string()).deadline_in(1200));
        run.report(0);
        run.push(Event::new(steps.to_string()).deadline_in(1200));
        run.report(1);
        run.exits_with(1);
    }
}

#[test]
fn ten_handlers_without_an_answer_are_the_default_limit() {
    let mut setup = Setup::told();
    for n in 0..10 {
        setup = setup.event(json!([{ "exit": n }]));
    }
    let mut run = setup.start();
    run.exits_with(1);
    let reports = run.api().reports();
    assert_eq!(reports.len(), 10);
    for (n, report) in reports.iter().enumerate() {
        report.is_error("Runtime.ExitError", &[&format!("exit status {n}")]);
    }
    assert_eq!(run.starts().len(), 10);
}

#[test]
fn a_limit_of_one_ends_with_the_first_fault() {
    let mut run = Setup::told().env("BOOTSTRAP_MAX_RESTARTS", "1").start();
    run.invoke(json!([{ "exit": 5 }])).is_error("Runtime.ExitError", &["exit status 5"]);
    run.exits_with(1);
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn handlers_that_end_while_idle_count_and_are_logged() {
    let start = json!([{ "out": "{\"ready\":true}\n" }, { "await": "go" }, { "exit": 5 }]);
    let mut run = Setup::told().env("BOOTSTRAP_MAX_RESTARTS", "2").env("AT_START", start.to_string()).start();
    run.requests("GET", "/next", 1);
    run.touch("go");
    run.exits_with(1);
    assert!(run.api().reports().is_empty(), "there is no invocation to report on");
    let log = run.log();
    assert!(
        log.lines().any(|l| l.starts_with("[ERROR] bootstrap: ") && l.contains("Runtime.ExitError") && l.contains("exit status 5")),
        "{log}"
    );
}

#[test]
fn a_handler_that_is_gone_from_the_disk_is_an_error_of_the_next_event() {
    let setup = Setup::new();
    let command = format!("{}/handler.sh", setup.dir().display());
    let script = "#!/bin/sh\necho $$ >> \"$TEST_DIR/starts\"\nread -r line\nexit 6\n";
    let run = setup.file("handler.sh", 0o755, script).env("_HANDLER", command).start();
    run.requests("GET", "/next", 1);
    std::fs::remove_file(run.dir().join("handler.sh")).unwrap();
    run.invoke("1").is_error("Runtime.ExitError", &["exit status 6"]);
    let second = run.invoke("2");
    assert_eq!(second.kind, Kind::Error);
    assert!(!second.error()["errorMessage"].as_str().unwrap().is_empty());
}

#[test]
fn a_fresh_handler_serves_the_event_that_comes_while_it_starts() {
    // The second start is slow: the event waits for it.
    let run = Setup::of("starts_slowly_the_second_time.sh").start();
    run.invoke("\"exit\"").is_error("Runtime.ExitError", &["exit status 2"]);
    let id = run.push("\"reply\"");
    run.wait_starts(2);
    run.touch("go");
    let report = run.report(1);
    assert_eq!((report.kind, report.id), (Kind::Response, id));
}

#[test]
fn an_old_handlers_last_words_are_not_in_the_next_ones_stack() {
    let run = Run::told();
    run.invoke(json!([{ "err": "old\n" }, { "exit": 1 }]));
    let report = run.invoke(json!([{ "err": "new\n" }, { "exit": 1 }]));
    assert_eq!(stack_of(&report.error()), ["new"]);
}

#[test]
fn the_stack_holds_at_most_the_last_20_lines() {
    let run = Run::told();
    let mut steps: Vec<_> = (0..100).map(|n| json!({ "err": format!("line {n}\n") })).collect();
    steps.push(json!({ "exit": 1 }));
    let report = run.invoke(serde_json::Value::from(steps));
    let expected: Vec<String> = (80..100).map(|n| format!("line {n}")).collect();
    assert_eq!(stack_of(&report.error()), expected);
}

#[test]
fn the_stack_holds_at_most_4_kib() {
    for (line, times) in [("a", 1000), ("é", 1000), ("漢", 3000), ("\u{1}", 5000), ("x", 1_000_000)] {
        let run = Run::told();
        let report = run.invoke(json!([
            { "err": "early\n" },
            { "errMany": [format!("{}\n", line.repeat(times.min(1000))), 10] },
            { "errMany": [line, times] },
            { "err": "\n" },
            { "err": "late\n" },
            { "exit": 1 },
        ]));
        let stack = stack_of(&report.error());
        assert!(stack.concat().len() <= 4096, "{} bytes", stack.concat().len());
        assert_eq!(stack.last().unwrap(), "late");
        assert!(!stack.concat().contains('\u{fffd}'), "cut between characters");
    }
}

#[test]
fn a_stack_of_what_is_not_utf_8_is_still_json() {
    let run = Run::told();
    // "a", 0xFF, "b", and the first half of an é.
    let report = run.invoke(json!([{ "errBase64": "Yf9iCsMK" }, { "exit": 1 }]));
    assert_eq!(stack_of(&report.error())[0], "a\u{fffd}b");
}

#[test]
fn the_stack_holds_lines_of_stdout_too() {
    let run = Run::told();
    let report = run.invoke(json!([{ "out": "on stdout\n" }, { "exit": 1 }]));
    assert_eq!(stack_of(&report.error()), ["on stdout"]);
}

#[test]
fn everything_logged_before_the_end_is_out_before_the_error() {
    let run = Run::told();
    let report =
        run.invoke(json!([{ "outMany": ["0123456789\n", 100_000] }, { "errMany": ["0123456789\n", 100_000] }, { "exit": 1 }]));
    assert_eq!(run.log_before(&report).matches("0123456789\n").count(), 200_000);
}

#[test]
fn a_malformed_reply_counts_before_the_exit_that_follows() {
    for _ in 0..5 {
        let run = Run::told();
        let report = run.invoke(json!([{ "out": "{\"id\":\"@ID@\",\"response\":NaN}\n" }, { "exit": 1 }]));
        report.is_error("Runtime.InvalidReply", &[]);
        assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
    }
}

#[test]
fn channels_closed_after_the_reply_cost_at_most_one_event() {
    let run = Run::told();
    run.invoke(json!([{ "response": 1 }, { "close": 1 }, { "close": 3 }, { "hang": true }]));
    run.idle();
    run.push(Event::new(json!([{ "response": 2 }]).to_string()).deadline_in(2000));
    let report = run.report(1);
    assert!(report.kind == Kind::Response || report.error()["errorType"] == "Runtime.ReplyChannelClosed", "{}", report.request);
    assert_eq!(run.invoke(json!([{ "response": 3 }])).response(), "3");
}

#[test]
fn a_response_too_large_is_an_answer_to_the_crash_limit() {
    let run = Setup::told().env("BOOTSTRAP_MAX_RESTARTS", "2").start();
    for _ in 0..2 {
        run.invoke(json!([{ "exit": 1 }])).is_error("Runtime.ExitError", &[]);
        let steps = json!([{ "out": "{\"id\":\"@ID@\",\"response\":\"" }, { "outMany": ["x", 7_000_000] }, { "out": "\"}\n" }, { "exit": 1 }]);
        run.invoke(steps).is_error("Function.ResponseSizeTooLarge", &[]);
    }
    assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
}

#[test]
fn a_lazily_started_handler_has_the_deadline_of_its_event() {
    let run = Setup::of("never_reads.sh").env("BOOTSTRAP_READY", "message").env("BOOTSTRAP_INIT_TIMEOUT_MS", "50").start();
    for n in 0..3 {
        run.push(Event::new("1").deadline_in(600));
        run.report(n).is_error("Function.Timeout", &[]);
    }
    // Each waited for its event from the third on.
    assert_eq!(run.wait_starts(3).len(), 3);
}

/// The handler does these steps and ends while bootstrap is stopped, which then finds everything at once.
#[track_caller]
fn at_once(mut steps: Vec<serde_json::Value>) -> (Run, Report) {
    let mut run = Run::told();
    steps.splice(0..0, [json!({ "touch": "in" }), json!({ "await": "go" })]);
    run.push(serde_json::Value::from(steps));
    run.wait_file("in");
    run.while_stopped(|run| {
        run.touch("go");
        run.wait_end_of(run.starts()[0]);
    });
    let report = run.report(0);
    assert_eq!(run.invoke(json!([{ "response": "next" }])).response(), "\"next\"");
    (run, report)
}

#[test]
fn a_reply_that_is_found_together_with_the_exit_is_believed() {
    for channel in ["out", "fd3"] {
        let (run, report) = at_once(vec![json!({ channel: "{\"id\":\"@ID@\",\"response\":1}\n" }), json!({ "exit": 3 })]);
        assert_eq!(report.response(), "1");
        assert!(!run.log().contains("[ERROR]"), "{}", run.log());
        let (_, report) = at_once(vec![json!({ channel: "{\"id\":\"@ID@\",\"error\":\"e\"}\n" }), json!({ "signal": 9 })]);
        assert_eq!(report.error()["errorMessage"], "e");
    }
}

#[test]
fn a_malformed_reply_that_is_found_together_with_the_exit_is_malformed() {
    let (_, report) = at_once(vec![json!({ "out": "{\"id\":\"@ID@\",\"response\":NaN}\n" }), json!({ "exit": 3 })]);
    report.is_error("Runtime.InvalidReply", &[]);
}

#[test]
fn what_is_found_together_with_the_exit_is_logged_first() {
    let (run, report) =
        at_once(vec![json!({ "err": "on stderr\n" }), json!({ "out": "on stdout\nhalf a line" }), json!({ "exit": 3 })]);
    let document = report.is_error("Runtime.ExitError", &["exit status 3"]);
    let log = run.log_before(&report);
    let stack = stack_of(&document);
    for line in ["on stderr", "on stdout", "half a line"] {
        assert!(log.lines().any(|l| l == line), "{line} in {log}");
        assert!(stack.iter().any(|l| l == line), "{line} in {stack:?}");
    }
}

#[test]
fn logs_that_are_found_together_with_the_reply_are_out_before_the_report() {
    for (log, reply) in [("err", "out"), ("err", "fd3"), ("out", "fd3")] {
        let mut run = Run::told();
        run.push(json!([
            { "touch": "in" },
            { "await": "go" },
            { log: "logged before the reply\n" },
            { reply: "{\"id\":\"@ID@\",\"response\":1}\n" },
            { "touch": "out" },
        ]));
        run.wait_file("in");
        run.while_stopped(|run| {
            run.touch("go");
            run.wait_file("out");
        });
        let report = run.report(0);
        assert_eq!(report.response(), "1");
        assert_eq!(run.log_before(&report), "logged before the reply\n", "{log} before {reply}");
    }
}

#[test]
fn an_event_that_is_found_together_with_the_idle_handlers_end_goes_to_a_fresh_one() {
    let mut run = Run::told();
    run.invoke(json!([{ "response": 1 }]));
    run.idle();
    run.while_stopped(|run| {
        let pid = run.starts()[0];
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
        run.wait_end_of(pid);
        run.push(json!([{ "response": 2 }]));
        run.wait("the event on its way", || (run.api().waiting() == 0).then_some(()));
    });
    assert_eq!(run.report(1).response(), "2");
    assert_eq!(run.starts().len(), 2);
}
