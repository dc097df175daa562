use serde_json::{Value, json};

use super::support::{Event, Run, Setup, epoch_ms, stack_of};

fn told(steps: Value, ms: u64) -> Event {
    Event::new(steps.to_string()).deadline_in(ms)
}

#[test]
fn a_handler_that_is_too_late_is_killed_and_replaced_at_once() {
    let run = Run::told();
    run.push(told(json!([{ "err": "working\n" }, { "hang": true }]), 800));
    let report = run.report(0);
    let document = report.is_error("Function.Timeout", &[]);
    assert!(document["errorMessage"].as_str().unwrap().contains(|c: char| c.is_ascii_digit()), "the time it had: {document}");
    assert_eq!(stack_of(&document), ["working"]);
    assert_eq!(report.header("lambda-runtime-function-error-type"), Some("Function.Timeout"));
    let log = run.log_before(&report);
    assert!(log.contains("working\n"));
    assert!(
        log.lines().any(|l| l.starts_with("[ERROR] bootstrap: ") && l.contains(&report.id) && l.contains("Function.Timeout")),
        "{log}"
    );
    // No event is needed for the fresh one to start.
    let starts = run.wait_starts(2);
    assert!(!run.processes().iter().any(|(pid, _)| *pid == starts[0]), "the old one is gone");
    assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
}

/// To print the bare response is the first mistake that people make.
#[test]
fn a_handler_that_printed_something_else_than_a_reply_is_told_so() {
    let run = Run::told();
    run.push(told(json!([{ "out": "{\"hello\":\"world\"}\n" }, { "hang": true }]), 800));
    run.report(0).is_error("Function.Timeout", &[r#"no line that it printed is a reply, as in {"id":"...","response":...}"#]);
    run.push(told(json!([{ "err": "to stderr\n" }, { "hang": true }]), 800));
    let document = run.report(1).is_error("Function.Timeout", &[]);
    assert!(!document.to_string().contains("printed"), "{document}");
}

#[test]
fn the_answer_comes_before_lambdas_own() {
    // Two seconds to spare; the slowest machine needs less.
    let run = Setup::told().env("BOOTSTRAP_DEADLINE_MARGIN_MS", "2000").start();
    run.idle();
    let deadline = epoch_ms(std::time::Duration::from_millis(2600));
    run.push(Event::new(json!([{ "hang": true }]).to_string()).deadline(deadline.to_string()));
    let report = run.report(0);
    report.is_error("Function.Timeout", &[]);
    assert!(report.request.at_ms < deadline, "{} ms late", report.request.at_ms - deadline);
    assert!(report.request.at_ms + 2100 > deadline, "not before its time");
}

#[test]
fn a_margin_greater_than_the_time_left_still_gives_one_report() {
    let run = Setup::told().env("BOOTSTRAP_DEADLINE_MARGIN_MS", "60000").start();
    run.push(told(json!([{ "hang": true }]), 2000));
    run.report(0).is_error("Function.Timeout", &[]);
    run.idle();
}

#[test]
fn a_margin_of_zero_is_allowed() {
    let run = Setup::told().env("BOOTSTRAP_DEADLINE_MARGIN_MS", "0").start();
    run.push(told(json!([{ "hang": true }]), 500));
    run.report(0).is_error("Function.Timeout", &[]);
}

#[test]
fn a_deadline_that_is_missing_unreadable_or_past_is_not_enforced() {
    let run = Run::told();
    let steps = |n: usize| json!([{ "touch": format!("in{n}") }, { "await": format!("go{n}") }, { "response": n }]).to_string();
    let events: Vec<Box<dyn Fn(Event) -> Event>> = vec![
        Box::new(|e| e.no_deadline()),
        Box::new(|e| e.deadline("")),
        Box::new(|e| e.deadline("soon")),
        Box::new(|e| e.deadline("600000")),
        Box::new(|e| e.deadline("0")),
        Box::new(|e| e.deadline((epoch_ms(std::time::Duration::ZERO) - 1).to_string())),
        Box::new(|e| e.deadline("18446744073709551615")),
        Box::new(|e| e.deadline("9223372036854775807")),
    ];
    for (n, make) in events.iter().enumerate() {
        run.push(make(Event::new(steps(n))));
        run.wait_file(&format!("in{n}"));
        // It waits for the test: a report now would be a timeout.
        for _ in 0..20 {
            assert_eq!(run.api().reports().len(), n, "event {n}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        run.touch(&format!("go{n}"));
        assert_eq!(run.report(n).response(), n.to_string());
    }
    run.idle();
    assert_eq!(run.starts().len(), 1);
}

#[test]
fn the_whole_process_group_ends_at_the_deadline() {
    let run = Run::told();
    let group = json!([
        { "ignore": 15 },
        { "spawn": ["sh", "-c", "trap '' TERM HUP INT; while :; do sleep 1000; done"] },
        { "spawn": ["sleep", "1001"] },
        { "hang": true },
    ]);
    run.push(told(group, 1000));
    run.report(0).is_error("Function.Timeout", &[]);
    let starts = run.wait_starts(2);
    run.idle();
    run.wait("the old group's end", || run.processes().iter().all(|(pid, _)| *pid == starts[1]).then_some(()));
}

#[test]
fn a_stopped_handler_is_killed_too() {
    let run = Run::told();
    run.push(told(json!([{ "signal": 19 }]), 500));
    run.report(0).is_error("Function.Timeout", &[]);
    assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
}

#[test]
fn what_was_logged_last_is_out_before_the_timeout_is_posted() {
    let run = Run::told();
    run.push(told(json!([{ "errMany": ["line\n", 20_000] }, { "out": "unfinished" }, { "hang": true }]), 3000));
    let report = run.report(0);
    report.is_error("Function.Timeout", &[]);
    let log = run.log_before(&report);
    assert_eq!(log.matches("line\n").count(), 20_000);
    assert!(log.lines().any(|l| l == "unfinished"), "a line without its end is a line");
}

#[test]
fn a_handler_that_does_not_read_its_event_times_out_whether_it_writes_or_not() {
    for handler in ["hangs_after_the_first_byte.py", "prints_for_ever.py"] {
        let run = Run::of(handler);
        // The message fits no pipe, so it can't even be written.
        let big = format!("\"{}\"", "x".repeat(1_000_000));
        run.push(Event::new(big).deadline_in(500));
        run.report(0).is_error("Function.Timeout", &[]);
        run.push(Event::new("1").deadline_in(500));
        run.report(1).is_error("Function.Timeout", &[]);
    }
}

#[test]
fn a_process_that_escaped_and_prints_for_ever_delays_no_report() {
    let run = Run::of("leaves_a_printer_behind.py");
    run.push(Event::new("\"hang\"").deadline_in(800));
    run.report(0).is_error("Function.Timeout", &[]);
    assert_eq!(run.invoke("\"reply\"").response(), "\"reply\"");
    run.invoke("\"exit\"").is_error("Runtime.ExitError", &["exit status 7"]);
    assert_eq!(run.invoke("\"reply\"").response(), "\"reply\"");
}

#[test]
fn a_reply_that_never_ends_times_out() {
    let run = Run::told();
    run.push(told(json!([{ "out": "{\"id\":\"@ID@\",\"response\":\"half" }, { "hang": true }]), 500));
    run.report(0).is_error("Function.Timeout", &[]);
    assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
}

#[test]
fn a_timeout_leaves_nothing_of_its_event_to_the_next_handler() {
    let run = Run::of("saves_messages.py");
    // The handler of this event stops in the middle of reading it.
    run.invoke(Event::new("1").id("a"));
    let pid = run.starts()[0];
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::STOP).unwrap();
    run.push(Event::new(format!("\"{}\"", "x".repeat(1_000_000))).id("b").deadline_in(500));
    run.report(1).is_error("Function.Timeout", &[]);
    std::fs::remove_file(run.dir().join("message.0")).unwrap();
    run.invoke(Event::new("3").id("c").no_deadline());
    assert_eq!(String::from_utf8(run.wait_file("message.0")).unwrap().trim(), "{\"id\":\"c\",\"context\":{},\"event\":3}");
}
