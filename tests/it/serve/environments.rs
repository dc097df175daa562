//! Which environment has which event, and who waits.

use std::sync::mpsc;

use super::served::{listen, serve, told};
use crate::it::support::{Call, handler, hello, patience};

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

/// Lambda's limit for the init phase is 10 seconds, which this waits for.
#[test]
fn an_init_phase_that_is_too_long_is_begun_again_in_the_invocations_time() {
    let handler = handler("starts_slowly_the_first_time.sh");
    let served = listen(serve(["--init-timeout-ms", "900000"]).handler(handler));
    served.invoke("1").is(200, "null");
    let ended = served.end();
    assert_eq!(ended.starts(), 2, "{}", ended.story());
    ended.says_once("INIT_REPORT Init Duration: 10000.00 ms\tPhase: init\tStatus: timeout");
    // The second start was no init phase.
    assert!(!ended.stderr.contains("\tInit Duration: "), "{}", ended.story());
}
