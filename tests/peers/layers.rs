//! Bootstrap's layer beside others: an extension, a wrapper, tools and libraries, and a handler that a layer brings.

use std::process::Command;

use super::support::{Emulator, Example, Peer, Template, Unpacked, goes_on_after, output};
use crate::it_support::{eventually, fixture};

/// The function with the shell handler, and bootstrap in a layer.
fn greet() -> Unpacked {
    Template::built().function("GreetFunction")
}

#[test]
fn an_extension_sees_each_event_and_the_end_and_disturbs_nothing() {
    let extension = std::fs::read(fixture("sandbox/extension.sh")).unwrap();
    let mut emulator = greet().with_little_memory().in_layer("extensions/watcher", 0o755, extension).start();
    for times in 1..=3 {
        goes_on_after(&mut emulator, Example::Hello);
        emulator.run().wait("the extension to see the event", |run| {
            (run.log(Emulator::NAME).matches("extension: INVOKE").count() == times).then_some(())
        });
    }
    // The extension, and one handler for all events.
    let started = emulator.run().handlers();
    assert!(started.len() == 2 && started.iter().any(|(_, line)| line.contains("hello.sh")), "{started:?}");
    let log = emulator.terminate();
    assert!(log.contains("extension: registered") && log.contains("extension: SHUTDOWN"), "{log}");
}

/// With an extension in the environment, Lambda sends SIGTERM to the runtime at the end. The handler sees that its stdin ends, or
/// gets SIGTERM in its turn, whatever comes first. How much time the emulator gives is its own affair, and whether it still
/// writes down the last line, too: on a busy machine it takes another try.
#[test]
fn a_handler_beside_an_extension_may_clear_up_at_the_end() {
    let handler = "#!/bin/sh\ntrap 'echo cleared up >&2' EXIT\ntrap exit TERM\n. /var/task/hello.sh\n";
    let extension = std::fs::read(fixture("sandbox/extension.sh")).unwrap();
    for graceful in ["false", "true"] {
        let cleared_up = eventually(|| {
            let function = greet().in_layer("extensions/watcher", 0o755, &extension).in_layer("bin/handler", 0o755, handler);
            let function = function.env("BOOTSTRAP_GRACEFUL_SHUTDOWN", graceful).env("BOOTSTRAP_STOP_GRACE_MS", "60000");
            let mut emulator = function.env("_HANDLER", "handler").start();
            goes_on_after(&mut emulator, Example::Hello);
            emulator.terminate().contains("cleared up").then_some(())
        });
        assert!(cleared_up.is_some(), "BOOTSTRAP_GRACEFUL_SHUTDOWN={graceful}");
    }
}

#[test]
fn a_wrapper_of_another_layer_sets_what_bootstrap_and_handler_see() {
    let wrapper =
        "#!/bin/sh\nexport GREETING=hello BOOTSTRAP_MODE=oneshot BOOTSTRAP_COMMAND=\"sh -c 'echo \\$GREETING'\"\nexec \"$@\"\n";
    let mut emulator = greet().in_layer("wrap", 0o755, wrapper).env("AWS_LAMBDA_EXEC_WRAPPER", "/opt/wrap").start();
    emulator.invoke(b"{}").is("\"hello\"");
}

#[test]
fn a_wrapper_that_no_layer_brings_is_named() {
    let mut emulator = greet().env("AWS_LAMBDA_EXEC_WRAPPER", "/opt/wrap").start();
    let error = emulator.fails_to_start("Runtime.InvalidEntrypoint");
    assert!(error.contains(r#"AWS_LAMBDA_EXEC_WRAPPER="/opt/wrap" can't be executed"#), "{error}");
}

/// A layer with a program in `bin` that needs a library in `lib`.
fn with_a_program(function: Unpacked) -> Unpacked {
    let function = function
        .in_layer("lib/greeting.c", 0o644, "const char *greeting(void) { return \"\\\"hello from a layer\\\"\"; }\n")
        .in_layer(
            "bin/greeter.c",
            0o644,
            "#include <stdio.h>\nconst char *greeting(void);\nint main(void) { fputs(greeting(), stdout); }\n",
        );
    let opt = function.opt();
    let cc = |arguments: &[&str]| drop(output(Command::new("cc").args(arguments).current_dir(&opt), b""));
    cc(&["-shared", "-fPIC", "-o", "lib/libgreeting.so", "lib/greeting.c"]);
    cc(&["-o", "bin/greeter", "bin/greeter.c", "-Llib", "-lgreeting"]);
    function.env("BOOTSTRAP_MODE", "oneshot")
}

#[test]
fn a_handler_in_a_layer_is_found_on_the_path_with_its_libraries() {
    let mut emulator = with_a_program(greet()).env("_HANDLER", "greeter").start();
    emulator.invoke(b"{}").is("\"hello from a layer\"");
}

#[test]
fn a_handler_in_a_layer_is_found_by_its_whole_path() {
    let mut emulator = with_a_program(greet()).env("_HANDLER", "/opt/bin/greeter").start();
    emulator.invoke(b"{}").is("\"hello from a layer\"");
}

#[test]
fn a_program_of_a_layer_is_there_for_the_handler() {
    let command = "sh -c greeter";
    let mut emulator = with_a_program(greet()).env("BOOTSTRAP_COMMAND", command).start();
    emulator.invoke(b"{}").is("\"hello from a layer\"");
}

#[test]
fn a_relative_path_is_not_looked_up_in_layers_and_the_error_names_the_place_that_would_do() {
    let mut emulator = with_a_program(greet()).env("_HANDLER", "bin/greeter").start();
    let error = emulator.fails_to_start("Runtime.HandlerNotFound");
    assert!(
        error.contains("looked at /var/task/bin/greeter; there is /opt/bin/greeter, from a layer: name it by that path"),
        "{error}"
    );
}

#[test]
fn a_name_that_is_nowhere_is_told_with_all_the_places() {
    let mut emulator = greet().env("_HANDLER", "greeter").start();
    let error = emulator.fails_to_start("Runtime.HandlerNotFound");
    assert!(
        error.contains("looked at /var/task/greeter, /usr/local/bin/greeter, /usr/bin/greeter, /bin/greeter, /opt/bin/greeter"),
        "{error}"
    );
}

/// A dynamic bootstrap would take this library, and not start.
#[test]
fn a_library_of_another_layer_does_not_reach_bootstrap() {
    let broken = "no library at all";
    let mut emulator = greet().with_little_memory().in_layer("lib/libgcc_s.so.1", 0o644, broken).start();
    goes_on_after(&mut emulator, Example::Hello);
}
