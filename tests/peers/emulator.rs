//! The Runtime Interface Emulator takes one event at a time; so does each test.

use super::support::{Emulator, Example, MOST, Peer, Setup, answers, crashes, goes_on_after, moves_megabytes, times_out};

/// Bootstrap answers after 3 s, the emulator itself would after 8 s.
fn impatient() -> Setup {
    Setup::new().env("AWS_LAMBDA_FUNCTION_TIMEOUT", "8").env("BOOTSTRAP_DEADLINE_MARGIN_MS", "5000")
}

#[test]
fn the_java_example_answers_and_refuses() {
    let mut emulator = Emulator::of(Example::Java.command());
    answers(&mut emulator, Example::Java);
    // System.out is a log.
    emulator.run().wait_log(Emulator::NAME, "\npriced an order for ");
}

#[test]
fn the_java_example_dies_of_its_memory_and_the_next_event_has_a_fresh_one() {
    let setup = Setup::new().env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "32").env("JDK_JAVA_OPTIONS", "-XX:+ExitOnOutOfMemoryError");
    let mut emulator = Emulator::start(setup, Example::Java.command());
    crashes(&mut emulator, Example::Java, &Example::Java.longest_event(), "exit status 3");
}

#[test]
fn the_java_example_times_out_and_the_next_event_has_a_fresh_one() {
    let mut emulator = Emulator::start(impatient(), Example::Java.command());
    goes_on_after(&mut emulator, Example::Java);
    let stopped = emulator.run().stop_handler();
    emulator.fails(Example::Java.event().as_bytes(), "Function.Timeout");
    goes_on_after(&mut emulator, Example::Java);
    assert_ne!(emulator.run().handler(), stopped);
}

#[test]
fn the_java_example_takes_and_gives_six_megabytes() {
    moves_megabytes(&mut Emulator::of(Example::Java.command()), Example::Java);
}

#[test]
fn the_shell_example_answers_and_refuses() {
    let mut emulator = Emulator::of(Example::Greet.command());
    answers(&mut emulator, Example::Greet);
    // Its stderr is a log.
    emulator.run().wait_log(Emulator::NAME, ": begins, a message of ");
}

#[test]
fn the_shell_example_is_killed_and_the_next_event_has_a_fresh_one() {
    let mut emulator = Emulator::start(Setup::new().with_odd_programs(), Example::Greet.command());
    crashes(&mut emulator, Example::Greet, br#"{"name":"crash"}"#, "SIGKILL");
}

#[test]
fn the_shell_example_times_out_and_the_next_event_has_a_fresh_one() {
    let mut emulator = Emulator::start(impatient().with_odd_programs(), Example::Greet.command());
    times_out(&mut emulator, Example::Greet, br#"{"name":"hang"}"#);
}

#[test]
fn the_shell_example_takes_and_gives_six_megabytes() {
    moves_megabytes(&mut Emulator::of(Example::Greet.command()), Example::Greet);
}

#[test]
fn the_plain_shell_example_answers_with_the_event_byte_for_byte() {
    answers(&mut Emulator::of(Example::Hello.command()), Example::Hello);
}

#[test]
fn the_plain_shell_example_takes_and_gives_six_megabytes() {
    moves_megabytes(&mut Emulator::of(Example::Hello.command()), Example::Hello);
}

#[test]
fn an_event_that_the_emulator_has_cut_comes_as_bytes() {
    let mut emulator = Emulator::of(Example::Java.command());
    let event = format!("\"{}\"", "x".repeat(MOST));
    let error = emulator.fails(event.as_bytes(), "com.example.orders.InvalidOrder");
    assert_eq!(error["errorMessage"], "the event is not JSON in UTF-8");
    goes_on_after(&mut emulator, Example::Java);
}

#[test]
fn an_init_error_reaches_the_caller() {
    let mut emulator = Emulator::of("/nowhere/to/be/found");
    for _ in 0..2 {
        let answer = emulator.invoke(b"{}");
        let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(document["errorType"], "Runtime.HandlerNotFound", "{}", answer.text());
        assert!(document["errorMessage"].as_str().unwrap().contains("/nowhere/to/be/found"), "{}", answer.text());
    }
}

#[test]
fn bootstrap_and_handler_end_when_the_emulator_is_gone() {
    let mut emulator = Emulator::of(Example::Java.command());
    goes_on_after(&mut emulator, Example::Java);
    emulator.kill();
    let left = emulator.run().nothing_stays();
    assert!(left.is_empty(), "left running: {left:?}");
}
