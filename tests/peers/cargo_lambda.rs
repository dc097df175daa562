//! Its deadline header is a constant in 1970, which is no deadline: were it enforced, no event here would be answered.

use std::path::Path;

use super::support::{CargoLambda, Example, Peer, Setup, answers, crashes, goes_on_after, moves_megabytes};

#[test]
fn the_java_example_answers_and_refuses() {
    answers(&mut CargoLambda::of(Example::Java.command()), Example::Java);
}

#[test]
fn the_java_example_dies_of_its_memory_and_the_next_event_has_a_fresh_one() {
    let setup = Setup::new().env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "32").env("JDK_JAVA_OPTIONS", "-XX:+ExitOnOutOfMemoryError");
    let mut peer = CargoLambda::start(setup, Example::Java.command(), &[]);
    crashes(&mut peer, Example::Java, &Example::Java.longest_event(), "exit status 3");
}

#[test]
fn the_java_example_takes_and_gives_six_megabytes() {
    let setup = Setup::new().env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512");
    moves_megabytes(&mut CargoLambda::start(setup, Example::Java.command(), &[]), Example::Java);
}

#[test]
fn the_shell_example_answers_and_refuses() {
    answers(&mut CargoLambda::of(Example::Greet.command()), Example::Greet);
}

#[test]
fn the_shell_example_is_killed_and_the_next_event_has_a_fresh_one() {
    let mut peer = CargoLambda::start(Setup::new().with_odd_programs(), Example::Greet.command(), &[]);
    crashes(&mut peer, Example::Greet, br#"{"name":"crash"}"#, "SIGKILL");
}

#[test]
fn the_shell_example_takes_and_gives_six_megabytes() {
    moves_megabytes(&mut CargoLambda::of(Example::Greet.command()), Example::Greet);
}

#[test]
fn the_plain_shell_example_answers_with_the_event_byte_for_byte() {
    answers(&mut CargoLambda::of(Example::Hello.command()), Example::Hello);
}

/// cargo-lambda gives up after a second and refuses the report when it comes. That is no reason to end.
#[test]
fn a_report_that_comes_too_late_is_dropped_and_the_next_event_is_answered() {
    for example in [Example::Java, Example::Greet] {
        let mut peer = CargoLambda::start(Setup::new(), example.command(), &["--timeout", "1"]);
        let process = peer.run().stop_handler();
        let answer = peer.invoke(example.event().as_bytes());
        assert_eq!(answer.status, 408, "{}", answer.text());
        rustix::process::kill_process(rustix::process::Pid::from_raw(process).unwrap(), rustix::process::Signal::CONT).unwrap();
        peer.run().wait_log("bootstrap", "/response");
        goes_on_after(&mut peer, example);
        assert_eq!(peer.run().handler(), process, "the handler was replaced");
    }
}

#[test]
fn an_init_error_ends_bootstrap() {
    let mut peer = CargoLambda::of(Path::new("/nowhere/to/be/found"));
    peer.bootstrap_ends_with(1);
    peer.run().wait_log("bootstrap", "Runtime.HandlerNotFound");
}
