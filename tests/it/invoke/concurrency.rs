//! `--concurrency`: several events at a time in one execution environment, as on Lambda Managed Instances.

use std::io::Write as _;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::it::support::{Local, hello, invoke};

/// The arguments, and the runtime that runs the scenario.
fn several<const N: usize>(args: [&str; N], scenario: &str) -> Local {
    invoke(args).env("SCENARIO", scenario).runtime("takes_several.py")
}

/// The events 0, 1, … as lines.
fn numbers(n: usize) -> String {
    (0..n).map(|n| format!("{n}\n")).collect()
}

fn error_types(answers: &[Value]) -> Vec<&str> {
    answers.iter().map(|answer| answer["errorType"].as_str().unwrap_or("none")).collect()
}

#[test]
fn several_events_are_in_flight_and_the_responses_come_in_their_order() {
    let ended = several(["--concurrency", "3", "--events", "-"], "backwards").stdin(numbers(6)).run();
    ended.gives("0\n1\n2\n3\n4\n5\n").says("6 events: 6 ok, 0 errors; latency in ms: min ");
}

#[test]
fn the_runtime_is_told_what_managed_instances_tell_it() {
    let told = |concurrency| several(["--concurrency", concurrency, "--event", "1"], "one_after_the_other").run();
    told("1").gives("[1, null, \"on-demand\"]\n");
    told("2").gives("[1, \"2\", \"lambda-managed-instances\"]\n");
}

#[test]
fn no_event_is_run_further_ahead_than_the_concurrency() {
    let ended = several(["--concurrency", "2", "--events", "-"], "ahead").stdin(numbers(3)).run();
    ended.gives("false\n1\n2\n");
}

#[test]
fn each_response_is_out_before_the_next_event_is_there_also_where_there_may_be_several() {
    let mut running = several(["--concurrency", "3", "--events", "-"], "one_after_the_other").start();
    let mut responses = String::new();
    for n in 0..4 {
        running.write_line(&n.to_string());
        responses += &format!("[{n}, \"3\", \"lambda-managed-instances\"]\n");
        running.wait_stdout(&responses);
    }
    drop(running.stdin.take());
    running.end().code(0);
}

#[test]
fn calls_that_are_not_due_are_refused_with_several_in_flight() {
    let not_due = "InvalidStateTransition";
    let ended = several(["--concurrency", "2", "--events", "-"], "out_of_turn").stdin(numbers(3)).run();
    ended.code(0);
    assert_eq!(
        ended.answers(),
        [
            json!([
                ["register", 403, "Extension.RegistrationClosed"],
                ["a third next", 403, not_due],
                ["a next with two in flight", 403, not_due],
                ["response of another id", 400, "InvalidRequestID"],
                ["error with the other's attempt", 410, "InvokeTimeout"],
                ["init/error", 403, not_due],
                ["restore/next", 403, not_due],
                ["response", 202, ""],
                ["response again", 403, not_due],
            ]),
            json!(1),
            json!(2),
        ]
    );
}

#[test]
fn a_timeout_ends_one_invocation_and_nothing_else() {
    let ended = several(["--concurrency", "3", "--timeout", "3", "--events", "-"], "late").stdin(numbers(7)).run();
    ended.code(1).says("7 events: 5 ok, 2 errors").says("stdin, line 1: RequestId: ").says("stdin, line 2: RequestId: ");
    let answers = ended.answers();
    for timed_out in &answers[..2] {
        assert_eq!(timed_out["errorType"], "Sandbox.Timedout");
        let message = timed_out["errorMessage"].as_str().unwrap();
        assert!(message.ends_with(" Error: Task timed out after 3.00 seconds"), "{message}");
    }
    let over = "InvokeTimeout";
    assert_eq!(
        answers[2..],
        [
            json!(2),
            json!(3),
            json!([
                ["a next while both keep their places", 403, "InvalidStateTransition"],
                ["a late response", 410, over],
                ["the same again", 403, "InvalidStateTransition"],
                ["the late end of a response", 410, over],
            ]),
            json!(5),
            json!(6),
        ]
    );
}

#[test]
fn an_event_for_which_no_place_comes_free_is_answered_for() {
    let ended = several(["--concurrency", "2", "--timeout", "1", "--events", "-"], "holds").stdin(numbers(3)).run();
    ended.code(1).says("stdin, line 3: RequestId: ").says("may take all its 2 places (Runtime.Unavailable)");
    assert_eq!(error_types(&ended.answers()), ["Sandbox.Timedout", "Sandbox.Timedout", "Runtime.Unavailable"]);
}

#[test]
fn an_exit_ends_all_that_is_in_flight_and_the_next_events_get_a_fresh_runtime() {
    let ended = several(["--concurrency", "2", "--events", "-"], "exits").stdin(numbers(4)).run();
    ended.code(1).says("4 events: 3 ok, 1 error").says_once("Runtime exited with error: exit status 3");
    let answers = ended.answers();
    // A report that was sent before the exit is believed.
    assert_eq!(answers[0].as_str().map(str::len), Some(1_000_000));
    assert_eq!(answers[1]["errorType"], "Runtime.ExitError");
    let told = |n: usize| json!([n, "2", "lambda-managed-instances"]);
    assert_eq!(answers[2..], [told(2), told(3)]);
    assert_eq!(ended.starts(), 2, "{}", ended.story());
}

#[test]
fn a_handler_that_never_starts_is_tried_on_one_line_however_many_may_be_in_flight() {
    let ended = several(["--concurrency", "3", "--events", "-"], "init_error").stdin(numbers(5)).run();
    ended.says("the lines after line 1 were not run").says("1 event: 0 ok, 1 error");
    assert_eq!(ended.error(), ("Runtime.NotToday".to_owned(), "no".to_owned()));
    assert_eq!(ended.starts(), 1, "{}", ended.story());
}

#[test]
fn the_events_before_a_line_that_is_none_are_answered() {
    let ended = several(["--concurrency", "2", "--events", "-"], "backwards").stdin("0\n1\nnope\n3\n").run();
    ended.code(2).says("stdin, line 3: not JSON").says("2 events: 2 ok, 0 errors");
    assert_eq!(ended.answers(), [json!(0), json!(1)]);
}

#[test]
fn an_event_that_is_too_large_has_its_answer_among_the_others() {
    let events = format!("0\n\"{}\"\n2\n", "x".repeat(6 * 1024 * 1024));
    let ended = several(["--concurrency", "2", "--events", "-"], "one_after_the_other").stdin(events).run();
    ended.code(1).says("3 events: 2 ok, 1 error");
    let answers = ended.answers();
    assert_eq!((&answers[0][0], &answers[2][0]), (&json!(0), &json!(2)));
    assert_eq!(answers[1]["errorType"], "RequestTooLargeException");
}

#[test]
fn a_call_that_is_given_up_makes_room_for_another() {
    let mut running = several(["--concurrency", "2", "--events", "-"], "gives_up").start();
    running.write_line("0");
    running.wait_file("waits");
    running.write_line("1");
    drop(running.stdin.take());
    running.end().gives("0\n1\n");
}

#[test]
fn a_call_that_is_made_again_takes_over_where_there_is_one_at_a_time() {
    let mut running = several(["--events", "-"], "asks_again").start();
    running.write_line("0");
    running.wait_file("waits");
    running.write_line("1");
    drop(running.stdin.take());
    running.end().gives("0\n[1, false, false]\n");
}

#[test]
fn a_signal_ends_it_with_several_in_flight() {
    let mut running = several(["--concurrency", "2", "--events", "-"], "holds").start();
    running.stdin.as_mut().unwrap().write_all(numbers(2).as_bytes()).unwrap();
    running.wait_file("holds");
    running.signal(Signal::INT);
    running.end().code(130).says("0 events").says("stopped by SIGINT");
}

#[test]
fn one_event_is_one_event_whatever_the_concurrency() {
    let ended = several(["--concurrency", "2", "--event", "7"], "one_after_the_other").run();
    assert_eq!(ended.answers()[0][0], 7, "{}", ended.story());
    // The handler and its events are the same where the runtime is bootstrap itself.
    invoke(["--concurrency", "1", "--event", "7"]).handler(hello()).run().gives("{\"hello\":7}\n");
}
