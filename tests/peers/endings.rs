//! Bootstrap is killed with SIGKILL and can clear nothing up. Here a scripted Runtime API is enough.

use rustix::process::Signal;

use super::support::Example;
use crate::it_support::{Run, Setup};

/// Starts this as the handler, has it answer, and gives its processes.
#[track_caller]
fn answering(handler: impl AsRef<std::ffi::OsStr>, setup: Setup) -> (Run, Vec<(i32, String)>) {
    let run = setup.env("_HANDLER", handler).start();
    let report = run.invoke(Example::Java.event());
    assert!(report.request.path.ends_with("/response"), "{}", report.request);
    run.idle();
    let processes = run.processes();
    assert!(processes.iter().any(|(_, line)| line.contains("/bin/java ")), "no java among {processes:?}");
    (run, processes)
}

/// Kills bootstrap, and waits until no process of the run is there.
#[track_caller]
fn killed(mut run: Run) {
    run.signal(Signal::KILL);
    run.exit();
    run.wait("the end of the handler", || run.processes().is_empty().then_some(()));
}

#[test]
fn no_java_stays_where_bootstrap_is_killed() {
    let (run, _) = answering(Example::Java.command(), Setup::new());
    killed(run);
}

#[test]
fn no_java_stays_where_bootstrap_is_killed_while_an_event_is_on_its_way() {
    let (run, _) = answering(Example::Java.command(), Setup::new());
    let event = String::from_utf8(Example::Java.longest_event()).unwrap();
    run.push(event.as_str());
    run.wait("bootstrap to take the event", || (run.api().waiting() == 0).then_some(()));
    killed(run);
}

/// jlink's own launcher waits for java instead of becoming it, so that java is not bootstrap's child.
#[test]
fn no_java_stays_under_jlinks_own_launcher_where_bootstrap_is_killed() {
    let image = Example::Java.command();
    let image = image.parent().unwrap().display();
    let launcher = format!(
        "#!/bin/sh\nJLINK_VM_OPTIONS=\nDIR={image}\n$DIR/java $JLINK_VM_OPTIONS -m com.example.orders/com.example.orders.Main \"$@\"\n"
    );
    let setup = Setup::new().file("executable", 0o755, launcher);
    let handler = setup.dir().join("executable");
    let (run, processes) = answering(handler, setup);
    assert_eq!(processes.len(), 2, "the launcher and java: {processes:?}");
    killed(run);
}
