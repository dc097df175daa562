use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::support::{Event, Run, Setup, epoch_ms, eventually};

/// Bootstrap in each mode, each with a handler that echoes numbers and needs nothing of the run's directory.
fn modes() -> [Setup; 3] {
    let loops = "while read -r message; do id=${message#*'\"id\":\"'}; \
                 echo \"{\\\"id\\\":\\\"${id%%'\"'*}\\\",\\\"response\\\":${message##*:}\"; done";
    [
        Setup::new().arg("sh").arg("-c").arg(loops),
        Setup::new().env("BOOTSTRAP_COMMAND", "cat").env("BOOTSTRAP_MODE", "filter"),
        Setup::new().env("BOOTSTRAP_COMMAND", "cat").env("BOOTSTRAP_MODE", "oneshot"),
    ]
}

/// The script runs with bootstrap as `"$@"`, in a mount namespace of its own.
fn in_namespace(setup: Setup, script: &str) -> Setup {
    // Root needs no user namespace for that.
    let flag = if rustix::process::geteuid().is_root() { "--mount" } else { "--map-root-user" };
    setup.under(&["unshare", "--mount", flag, "sh", "-ec", script, "sh"])
}

/// Sets a soft limit of bootstrap's. Done by a process of the same user: root may lack the right to do it to others.
#[track_caller]
fn limit(run: &Run, what: &str, most: &str) {
    let of_process = std::fs::metadata(format!("/proc/{}", run.pid())).unwrap();
    let (owner, group) = (of_process.uid(), of_process.gid());
    let mut command = std::process::Command::new("setpriv");
    if owner != rustix::process::geteuid().as_raw() {
        command.args([format!("--reuid={owner}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
    }
    command.arg("prlimit").arg(format!("--pid={}", run.pid())).arg(format!("--{what}={most}:"));
    assert!(command.status().unwrap().success(), "{what}");
}

#[test]
fn with_few_descriptors_it_works_or_says_what_is_missing() {
    let mut worked = Vec::new();
    for most in 8..28 {
        let limited = format!("ulimit -n {most}; exec \"$@\"");
        let mut run = Setup::told().under(&["sh", "-c", &limited, "sh"]).event("[{\"response\":1}]").start();
        let ended = eventually(|| {
            let is_answered = run.api().reports().iter().any(|report| !report.id.is_empty());
            if is_answered { Some(false) } else { run.has_ended().then_some(true) }
        });
        if ended.expect("it works or it ends") {
            run.exits_with(1);
            run.wait_log("Too many open files");
        } else {
            assert_eq!(run.report(0).response(), "1");
            worked.push(most);
        }
    }
    assert!(worked.contains(&27), "{worked:?}");
}

#[test]
fn a_runtime_out_of_descriptors_says_so_for_each_event_and_recovers() {
    let run = Run::told();
    assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
    run.idle();
    limit(&run, "nofile", "3");
    run.invoke(json!([{ "exit": 3 }])).is_error("Runtime.ExitError", &["exit status 3"]);
    for _ in 0..3 {
        let said = ["could not be started", "Too many open files", "a limit of the system or of this user is reached"];
        run.invoke(json!([{ "response": 2 }])).is_error("Runtime.InvalidEntrypoint", &said);
    }
    limit(&run, "nofile", "1000");
    assert_eq!(run.invoke(json!([{ "response": 3 }])).response(), "3");
}

#[test]
fn a_runtime_out_of_processes_says_so_for_each_event_and_recovers() {
    let handler = "#!/bin/sh\nwhile read -r message; do\n    case $message in *'\"go\"'*) exit 3 ;; esac\n    id=${message#*'\"id\":\"'}\n    \
                   echo \"{\\\"id\\\":\\\"${id%%'\"'*}\\\",\\\"response\\\":1}\"\ndone\n";
    let mut setup = Setup::new().file("handler", 0o755, handler).env("_HANDLER", "./handler");
    if rustix::process::geteuid().is_root() {
        // The limit does not bind root, so the run is somebody else's, who may not enter every checkout.
        std::fs::set_permissions(setup.dir(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let script = "cp \"$1\" bootstrap; shift; exec setpriv --reuid=65534 --regid=65534 --clear-groups ./bootstrap \"$@\"";
        setup = setup.under(&["sh", "-ec", script, "sh"]);
    }
    let run = setup.start();
    assert_eq!(run.invoke("0").response(), "1");
    run.idle();
    limit(&run, "nproc", "1");
    run.invoke("\"go\"").is_error("Runtime.ExitError", &["exit status 3"]);
    for _ in 0..3 {
        let said = ["could not be started", "Resource temporarily unavailable", "a limit of the system or of this user is reached"];
        run.invoke("0").is_error("Runtime.InvalidEntrypoint", &said);
    }
    limit(&run, "nproc", "1000");
    assert_eq!(run.invoke("0").response(), "1");
}

#[test]
fn a_runtime_out_of_memory_dies_with_its_handler_and_answers_nothing_wrong() {
    let mut run = Run::of("echoes.py");
    assert_eq!(run.invoke("1").response(), "1");
    run.idle();
    let has = run.memory_kb("VmSize") * 1024;
    run.may_die();
    limit(&run, "as", &(has + 1_000_000).to_string());
    run.push(format!("\"{}\"", "x".repeat(5_000_000)));
    let status = run.exit();
    assert!(status.signal() == Some(6), "{status}");
    run.wait_log("memory allocation of");
    assert_eq!(run.api().report_count(), 1);
}

#[test]
fn a_handler_killed_for_its_memory_is_named_as_such_and_the_next_event_works() {
    let run = Run::told();
    run.invoke(json!([{ "signal": 9 }])).is_error("Runtime.ExitError", &["SIGKILL", "when memory runs out"]);
    assert_eq!(run.invoke(json!([{ "response": 1 }])).response(), "1");
}

#[test]
fn a_handler_out_of_memory_says_so_itself_and_the_next_event_works() {
    let program = "import json, sys\nfor line in sys.stdin:\n    message = json.loads(line)\n    held = bytearray(message['event'])\n    \
                   print(json.dumps({'id': message['id'], 'response': len(held)}), flush=True)\n";
    let run = Setup::script("jsonl", &format!("ulimit -v 300000\nexec python3 -c \"{program}\"")).start();
    assert_eq!(run.invoke("1000").response(), "1000");
    let document = run.invoke("1000000000").is_error("Runtime.ExitError", &["exit status 1"]);
    assert_eq!(document["stackTrace"].as_array().unwrap().last().unwrap(), "MemoryError");
    assert_eq!(run.invoke("2000").response(), "2000");
    assert_eq!(run.starts().len(), 2);
}

#[test]
fn nothing_needs_a_writable_tmp() {
    for mount in ["mount -t tmpfs -o ro none /tmp", "mount -t tmpfs -o size=4k none /tmp; yes > /tmp/full || true"] {
        for setup in modes() {
            // The run's own directory is under /tmp, and the checkout may be.
            let elsewhere = "mount -t tmpfs none /mnt; cp \"$1\" /mnt/bootstrap; shift";
            let script = format!("{elsewhere}; {mount} 2>/dev/null; exec /mnt/bootstrap \"$@\"");
            let run = in_namespace(setup.env("LAMBDA_TASK_ROOT", "/"), &script).start();
            assert_eq!(run.invoke("1").response().trim(), "1");
            assert_eq!(run.invoke("2").response().trim(), "2");
        }
    }
}

#[test]
fn nothing_needs_proc() {
    for setup in modes() {
        let run = in_namespace(setup, "mount -t tmpfs none /proc; exec \"$@\"").start();
        assert_eq!(run.invoke("1").response().trim(), "1");
        assert_eq!(run.invoke("2").response().trim(), "2");
    }
}

#[test]
fn without_proc_a_timeout_still_ends_the_handlers_group() {
    let setup = Setup::script("filter", "read -r line; sleep 600 & echo $! > \"$TEST_DIR/child\"; wait");
    let run = in_namespace(setup, "mount -t tmpfs none /proc; exec \"$@\"").start();
    run.invoke(Event::new("1").deadline_in(1000)).is_error("Function.Timeout", &[]);
    run.wait_end_of(String::from_utf8(run.wait_file("child")).unwrap().trim().parse().unwrap());
}

#[test]
fn closed_standard_streams_do_no_harm() {
    for closed in ["0<&-", "1>&-", "0<&- 1>&-"] {
        for setup in modes() {
            let run = setup.under(&["sh", "-c", &format!("exec \"$@\" {closed}"), "sh"]).start();
            assert_eq!(run.invoke("1").response().trim(), "1");
        }
    }
    for setup in modes() {
        // Where there is no log, its lines go nowhere: not to a socket that has got the number 2.
        let run = setup.under(&["sh", "-c", "exec \"$@\" 0<&- 1>&- 2>&-", "sh"]).event("not json").start();
        run.report(0);
        assert_eq!(run.invoke("1").response().trim(), "1");
    }
}

#[test]
fn a_kill_at_any_instant_leaves_no_process_and_no_second_report() {
    for n in 0..40_u64 {
        let mut run = if n % 2 == 0 { Setup::told() } else { Setup::told().concurrency(3) }.start();
        for _ in 0..30 {
            run.push(json!([{ "err": "working\n" }, { "response": "@ID@" }]));
        }
        let until = std::time::Instant::now() + Duration::from_millis(n * 4);
        // The instant is the point here, not a condition.
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        run.signal(Signal::KILL);
        run.exit();
        let mut ids: Vec<_> = run.api().reports().into_iter().map(|report| report.id).collect();
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count, "a second report");
    }
}

#[test]
fn a_freeze_over_the_deadline_ends_in_one_report() {
    for n in 0..6 {
        let mut run = Run::told();
        run.invoke(json!([{ "response": 0 }]));
        run.idle();
        let name = format!("answer-{n}");
        run.push(Event::new(json!([{ "touch": "got-it" }, { "await": name }, { "response": 1 }]).to_string()).deadline_in(400));
        run.wait_file("got-it");
        let deadline = epoch_ms(Duration::from_millis(400));
        let handler = Pid::from_raw(run.starts()[0]).unwrap();
        // Lambda freezes all processes at once, and thaws them at once.
        run.signal(Signal::STOP);
        kill_process(handler, Signal::STOP).unwrap();
        run.touch(&name);
        run.wait("the deadline", || (epoch_ms(Duration::ZERO) > deadline).then_some(()));
        kill_process(handler, Signal::CONT).unwrap();
        run.signal(Signal::CONT);
        let report = run.report(1);
        if report.header("lambda-runtime-function-error-type").is_some() {
            report.is_error("Function.Timeout", &[]);
        } else {
            assert_eq!(report.response(), "1");
        }
        assert_eq!(run.invoke(json!([{ "response": 2 }])).response(), "2");
    }
}
