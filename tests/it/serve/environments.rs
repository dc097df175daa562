//! Which environment has which event, and who waits.

use std::sync::mpsc;

use rustix::process::Signal;

use super::served::{Served, listen, serve, told};
use crate::it::support::{Call, handler, hello, leftovers, patience};

/// An event that says that it has begun, and waits for a file.
fn waits(name: &str) -> Call {
    Call::invoke("function", format!(r#"[{{"touch":"{name}.begun"}},{{"await":"{name}.go"}},{{"response":"{name}"}}]"#))
}

#[test]
fn as_many_events_run_at_a_time_as_there_are_environments() {
    let served = told(["--environments", "2"]);
    let mut one = served.begin(&waits("one"));
    served.running.wait_file("one.begun");
    let mut two = served.begin(&waits("two"));
    served.running.wait_file("two.begun");
    let mut three = served.begin(&waits("three"));
    served.running.touch("two.go");
    two.reply().is(200, "\"two\"");
    served.running.wait_file("three.begun");
    served.running.touch("three.go");
    three.reply().is(200, "\"three\"");
    served.running.touch("one.go");
    one.reply().is(200, "\"one\"");
    served.end();
}

#[test]
fn one_after_the_other_they_have_one_environment() {
    let served = listen(serve(["--environments", "3"]).handler(hello()));
    for _ in 0..5 {
        served.invoke("1").is(200, "{\"hello\":1}");
    }
    let ended = served.end();
    // Only a runtime's first invocation has an init phase.
    assert_eq!(ended.stderr.matches("\tInit Duration: ").count(), 1, "{}", ended.story());
}

#[test]
fn where_too_many_wait_already_a_caller_is_refused() {
    let served = told([]);
    let mut first = served.begin(&waits("first"));
    served.running.wait_file("first.begun");
    // One more than may wait.
    let (replies, replied) = mpsc::channel();
    for _ in 0..101 {
        let (mut client, replies) = (served.begin(&Call::invoke("function", r#"[{"response":1}]"#)), replies.clone());
        std::thread::spawn(move || replies.send(client.reply()));
    }
    let refused = replied.recv_timeout(patience()).unwrap();
    assert_eq!(refused.exception(429, "TooManyRequestsException"), "Rate Exceeded.");
    assert_eq!(refused.json()["Reason"], "ConcurrentInvocationLimitExceeded");
    served.running.touch("first.go");
    first.reply().is(200, "\"first\"");
    for _ in 0..100 {
        replied.recv_timeout(patience()).unwrap().is(200, "1");
    }
    served.end();
}

#[test]
fn a_caller_that_goes_away_ends_nothing() {
    let served = told([]);
    let event = r#"[{"touch":"begun"},{"await":"go"},{"touch":"done"},{"response":1}]"#;
    let client = served.begin(&Call::invoke("function", event));
    served.running.wait_file("begun");
    drop(client);
    served.running.touch("go");
    served.running.wait_file("done");
    served.invoke(r#"[{"response":2}]"#).is(200, "2");
    served.end();
}

/// Has a handler that ignores SIGTERM, as do two processes that it has left: one in its group, and one in a session of its own.
fn stubborn(served: &Served) {
    let left = r#"{"spawn":["sleep","1000"]},{"daemon":["sleep","1000"]}"#;
    served.invoke(format!(r#"[{{"ignore":15}},{left},{{"response":1}}]"#)).is(200, "1");
}

#[test]
fn a_second_ctrl_c_kills_all_that_a_handler_has_started() {
    let served = told(["--stop-grace-ms", "60000"]);
    stubborn(&served);
    let processes = || leftovers(&served.running.mark).len();
    // The server and the runtime, too.
    assert_eq!(processes(), 5, "{}", served.running.story());
    served.running.signal(Signal::INT);
    // The handler ends with its input, and the runtime waits for the other two.
    served.running.wait("the handler's end", || (processes() == 4).then_some(()));
    served.running.signal(Signal::INT);
    served.running.end().code(130);
}

#[test]
fn nothing_stays_of_a_runtime_that_is_stuck() {
    let served = told(["--timeout", "2"]);
    stubborn(&served);
    served.invoke(format!(r#"[{{"signalRuntime":{}}}]"#, Signal::STOP.as_raw())).function_error("Sandbox.Timedout");
    served.invoke(r#"[{"response":2}]"#).is(200, "2");
    // The server, and the fresh runtime and its handler.
    let left = leftovers(&served.running.mark);
    assert_eq!(left.len(), 3, "{left:?}");
    served.end();
}

/// Lambda's limit for the init phase is 10 seconds, which this waits for.
#[test]
fn an_init_phase_that_is_too_long_is_begun_again_in_the_invocations_time() {
    // The handler is a script's child, as one that is started by a script of its own often is.
    let script = format!("\"{}\"; true", handler("starts_slowly_the_first_time.sh").display());
    let served = listen(serve(["--init-timeout-ms", "900000", "--", "sh", "-c", &script]));
    served.invoke("1").is(200, "null");
    let left = leftovers(&served.running.mark);
    // The server, the runtime, the script and the handler.
    assert_eq!(left.len(), 4, "{left:?}");
    let ended = served.end();
    assert_eq!(ended.starts(), 2, "{}", ended.story());
    ended.says_once("INIT_REPORT Init Duration: 10000.00 ms\tPhase: init\tStatus: timeout");
    // What the handler logs of the event stands between the platform's lines.
    let places = ["START RequestId: ", "has an event\n", "END RequestId: "].map(|text| ended.stderr.find(text));
    assert!(places[0].is_some() && places.is_sorted(), "{}", ended.story());
    // The second start was no init phase.
    assert!(!ended.stderr.contains("\tInit Duration: "), "{}", ended.story());
}
