use serde_json::json;

use super::support::{Event, Run, Setup};

/// `/next` has not been called while the handler holds its start; then it is let go.
#[track_caller]
fn next_waits_for(run: &Run, file: &str, before: &str) {
    run.wait_file(before);
    // The handler is in its start and can't go on by itself: whatever bootstrap does now it does unasked.
    for _ in 0..30 {
        assert!(run.api().requests().is_empty(), "/next before the handler was ready");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    run.touch(file);
    run.idle();
}

#[test]
fn a_handler_that_reads_stdin_is_ready() {
    let start = json!([{ "touch": "started" }, { "await": "go" }]);
    let run = Setup::told().env("AT_START", start.to_string()).start();
    next_waits_for(&run, "go", "started");
    assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
}

#[test]
fn a_ready_message_makes_a_handler_ready_before_it_reads() {
    for ready in ["{\"ready\":true}\n", "{\"ready\":true,\"concurrency\":4}\n", " { \"ready\" : true } \r\n"] {
        for channel in ["out", "fd3"] {
            let start = json!([{ channel: ready }, { "await": "go" }]);
            let run = Setup::told().env("AT_START", start.to_string()).start();
            // It does not read yet, but /next is there.
            run.requests("GET", "/next", 1);
            assert!(!run.dir().join("go").exists());
            run.touch("go");
            assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
            assert!(!run.log().contains("\"ready\""), "a control message is no log line");
        }
    }
}

#[test]
fn a_ready_message_may_ask_for_cancel() {
    let start = json!([{ "out": "{\"ready\":true,\"cancel\":true}\n" }]);
    let run = Setup::told().env("AT_START", start.to_string()).start();
    assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
}

#[test]
fn ready_message_waits_for_the_message_though_stdin_is_read() {
    let run = Setup::of("is_ready_after_a_go.py").env("BOOTSTRAP_READY", "message").start();
    next_waits_for(&run, "go", "reading");
    assert_eq!(run.invoke("1").response(), "1");
}

#[test]
fn ready_none_waits_for_nothing() {
    let start = json!([{ "await": "go" }]);
    let run = Setup::told().env("BOOTSTRAP_READY", "none").env("AT_START", start.to_string()).start();
    run.requests("GET", "/next", 1);
    let id = run.push(json!([{ "response": 1 }]));
    run.touch("go");
    assert_eq!(run.report(0).id, id);
}

#[test]
fn a_handler_that_is_not_ready_in_time_serves_its_first_event_when_it_is() {
    for ready in ["auto", "message"] {
        let setup = Setup::of("is_ready_after_a_go.py").env("BOOTSTRAP_READY", ready).env("BOOTSTRAP_INIT_TIMEOUT_MS", "50");
        let run = setup.env("READS", "late").start();
        run.requests("GET", "/next", 1);
        let id = run.push("1");
        run.touch("go");
        let report = run.report(0);
        assert_eq!((report.id, report.request.body), (id, b"1".to_vec()));
        assert_eq!(run.starts().len(), 1, "the handler is not replaced for being slow");
    }
}

#[test]
fn a_handler_that_is_never_ready_times_out_with_its_first_event() {
    let run = Setup::of("never_reads.sh").env("BOOTSTRAP_INIT_TIMEOUT_MS", "50").start();
    run.push(Event::new("1").deadline_in(700));
    run.report(0).is_error("Function.Timeout", &[]);
    run.push(Event::new("2").deadline_in(700));
    run.report(1).is_error("Function.Timeout", &[]);
}

#[test]
fn the_probe_is_one_space_and_only_in_front_of_the_first_message() {
    let run = Run::of("saves_messages.py");
    run.invoke(Event::new("1").id("a"));
    run.invoke(Event::new("2").id("b"));
    assert!(run.wait_file("message.0").starts_with(b" {\"id\""));
    assert!(run.wait_file("message.1").starts_with(b"{\"id\""));
    drop(run);
    for ready in ["message", "none"] {
        let start = "{\"ready\":true}\n";
        let run = Setup::of("saves_messages.py").env("BOOTSTRAP_READY", ready).env("SAY", start).start();
        run.invoke(Event::new("1").id("a"));
        assert!(run.wait_file("message.0").starts_with(b"{\"id\""), "no probe with {ready}");
    }
}

#[test]
fn ready_false_is_an_init_error() {
    for (line, error_type, message) in [
        (
            r#"{"ready":false,"error":{"errorType":"Function.NoDatabase","errorMessage":"no route","stackTrace":["at a"]}}"#,
            "Function.NoDatabase",
            "no route",
        ),
        (r#"{"ready":false,"error":{"errorMessage":"no route"}}"#, "Function.Error", "no route"),
        (r#"{"ready":false,"error":"no route"}"#, "Function.Error", "no route"),
    ] {
        for (ready, channel) in [("auto", "out"), ("message", "fd3")] {
            let start = json!([{ "err": "connecting\n" }, { channel: format!("{line}\n") }, { "hang": true }]);
            let setup = Setup::told().env("BOOTSTRAP_READY", ready).env("AT_START", start.to_string());
            let mut run = setup.start();
            let report = run.init_error();
            report.is_error(error_type, &[message]);
            assert!(run.log().contains("connecting\n"));
            let log = run.log();
            assert!(
                log.lines().any(|l| l.starts_with("[ERROR] bootstrap: ") && l.contains(error_type) && l.contains(message)),
                "{log}"
            );
        }
    }
}

#[test]
fn what_came_before_the_drain_is_believed_first() {
    // It says that it is not ready and only then reads: the drained pipe must not win.
    let start = json!([{ "out": "{\"ready\":false,\"error\":\"first\"}\n" }]);
    for _ in 0..10 {
        let mut run = Setup::told().env("AT_START", start.to_string()).start();
        run.init_error().is_error("Function.Error", &["first"]);
    }
}

#[test]
fn ready_false_counts_as_an_exit_after_the_first_next() {
    let start = json!([{ "touch": "started" }, { "await": "go" }, { "out": "{\"ready\":false,\"error\":{\"errorType\":\"X.Y\",\"errorMessage\":\"late\"}}\n" }, { "hang": true }]);
    let run = Setup::told().env("AT_START", start.to_string()).env("BOOTSTRAP_INIT_TIMEOUT_MS", "50").start();
    run.requests("GET", "/next", 1);
    run.push(json!([{ "response": 1 }]));
    run.wait_file("started");
    // The event is in the handler's stdin, behind the probe's one space: so it is in flight.
    let stdin = std::fs::File::open(format!("/proc/{}/fd/0", run.starts()[0])).unwrap();
    run.wait("the event in the handler's stdin", || rustix::io::ioctl_fionread(&stdin).is_ok_and(|bytes| bytes > 1).then_some(()));
    run.touch("calm");
    run.touch("go");
    run.report(0).is_error("Runtime.ExitError", &[]);
    assert_eq!(run.invoke(json!([{ "response": 2 }])).response(), "2", "a fresh handler");
}

#[test]
fn a_handler_that_ends_before_it_is_ready_is_an_init_error() {
    for (step, said) in [
        (json!({ "exit": 0 }), "exit status 0"),
        (json!({ "exit": 7 }), "exit status 7"),
        (json!({ "signal": 9 }), "SIGKILL"),
        (json!({ "signal": 11 }), "SIGSEGV"),
    ] {
        let start = json!([{ "err": "no such module\n" }, step]);
        let mut run = Setup::told().env("AT_START", start.to_string()).start();
        let report = run.init_error();
        let document = report.is_error("Runtime.ExitError", &[said]);
        assert_eq!(super::support::stack_of(&document), ["no such module"]);
        assert_eq!(report.header("lambda-runtime-function-error-type"), Some("Runtime.ExitError"));
    }
}

#[test]
fn a_handler_that_ends_under_ready_none_is_no_init_error() {
    let start = json!([{ "exit": 7 }]);
    let run = Setup::told().env("BOOTSTRAP_READY", "none").env("AT_START", start.to_string()).start();
    run.requests("GET", "/next", 1);
    run.push("1");
    run.report(0).is_error("Runtime.ExitError", &["exit status 7"]);
}

#[test]
fn a_program_that_does_not_read_but_closes_stdin_can_be_asked_nothing() {
    // Its stdin is closed, it lives on: whatever that is, it ends with the first event's deadline at the latest.
    let setup = Setup::told().env("AT_START", json!([{ "close": 0 }, { "hang": true }]).to_string());
    let run = setup.env("BOOTSTRAP_INIT_TIMEOUT_MS", "50").start();
    run.push(Event::new("1").deadline_in(700));
    let document = run.report(0).error();
    assert!(["Function.Timeout", "Runtime.ExitError"].contains(&document["errorType"].as_str().unwrap()), "{document}");
}

#[test]
fn prints_before_the_first_event_are_log_lines() {
    let start = json!([{ "out": "starting\n{\"id\":\"x\",\"response\":1}\n" }, { "err": "warming up\n" }]);
    let run = Setup::told().env("AT_START", start.to_string()).start();
    run.idle();
    let log = run.log();
    for line in ["starting", "{\"id\":\"x\",\"response\":1}", "warming up"] {
        assert!(log.lines().any(|l| l == line), "{line} in {log}");
    }
}

#[test]
fn a_handler_may_print_megabytes_before_it_reads() {
    let start = json!([{ "errMany": ["0123456789\n", 300_000] }, { "outMany": ["0123456789\n", 300_000] }]);
    let run = Setup::told().env("AT_START", start.to_string()).start();
    let report = run.invoke(json!([{ "response": 1 }]));
    assert_eq!(run.log_before(&report).matches("0123456789\n").count(), 600_000);
}

#[test]
fn ready_false_that_is_found_together_with_the_exit_is_what_is_told() {
    let start =
        json!([{ "touch": "in" }, { "await": "go" }, { "out": "{\"ready\":false,\"error\":\"not today\"}\n" }, { "exit": 3 }]);
    let mut run = Setup::told().env("AT_START", start.to_string()).start();
    run.wait_file("in");
    run.while_stopped(|run| {
        run.touch("go");
        run.wait_end_of(run.starts()[0]);
    });
    run.init_error().is_error("Function.Error", &["not today"]);
}
