//! `--freeze`: between events an environment's processes stand still.

use rustix::process::Signal;

use super::served::{Served, listen, serve, told};
use crate::it::support::{Local, handler, leftovers};

/// The states of the processes that the server has started, as letters.
fn states(served: &Served) -> Vec<char> {
    let own = i32::try_from(served.running.child.id()).unwrap();
    let started = leftovers(&served.running.mark).into_iter().filter(|(pid, _)| *pid != own);
    let state = |(pid, _)| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')').next()?.trim_start().chars().next()
    };
    started.filter_map(state).collect()
}

/// Waits until there are so many processes, and all are stopped.
#[track_caller]
fn wait_stopped(served: &Served, processes: usize) {
    let stopped = || {
        let states = states(served);
        (states.len() == processes && states.iter().all(|state| *state == 'T')).then_some(())
    };
    served.running.wait(&format!("{processes} stopped processes"), stopped);
}

fn freezing() -> Local {
    serve(["--freeze"]).handler(handler("does_as_told.py"))
}

#[test]
fn between_events_all_processes_of_an_environment_stand_still() {
    let served = listen(freezing());
    served.invoke(r#"[{"spawn":["sleep","1000"]},{"daemon":["sleep","1000"]},{"response":1}]"#).is(200, "1");
    // The runtime, the handler, and what that has started.
    wait_stopped(&served, 4);
    served.invoke(r#"[{"response":2}]"#).is(200, "2");
    wait_stopped(&served, 4);
    served.end();
}

#[test]
fn an_environment_is_replaced_and_stopped_again_after_an_exit() {
    let served = listen(freezing());
    served.invoke(r#"[{"response":1}]"#).is(200, "1");
    wait_stopped(&served, 2);
    served.invoke(r#"[{"exit":1}]"#).function_error("Runtime.ExitError");
    served.invoke(r#"[{"response":2}]"#).is(200, "2");
    wait_stopped(&served, 2);
    served.end();
}

#[test]
fn nothing_stopped_stays_where_the_server_is_killed() {
    let served = listen(freezing());
    served.invoke(r#"[{"response":1}]"#).is(200, "1");
    wait_stopped(&served, 2);
    served.running.signal(Signal::KILL);
    served.running.wait("the end of what was stopped", || states(&served).is_empty().then_some(()));
}

#[test]
fn unless_it_is_asked_for_nothing_is_stopped() {
    let served = told([]);
    // What goes on after the reply is seen only where the process runs.
    served.invoke(r#"[{"response":1},{"await":"go"},{"touch":"done"}]"#).is(200, "1");
    served.running.touch("go");
    served.running.wait_file("done");
    served.end();
}
