//! A runtime's processes, the handler's and those that they have started included, as `/proc` tells of them.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{sleep, timeout};

/// More processes than this are not looked at.
const MOST: usize = 10_000;

/// How long the ends of killed processes are waited for, and how often they are looked for.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// The process and all that descend from it, parents first. Only the process itself where `/proc` tells no more.
pub fn of(root: Pid) -> Vec<Pid> {
    let mut found = vec![root];
    let mut looked_at = 0;
    while let Some(&parent) = found.get(looked_at)
        && found.len() < MOST
    {
        looked_at += 1;
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", parent.as_raw_nonzero())) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            found.extend(children.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)));
        }
    }
    found
}

/// Stops the process and all that descend from it where they stand. Gives them, parents first.
pub fn stop(root: Pid) -> Vec<Pid> {
    let mut stopped = Vec::new();
    loop {
        // What one has started while others were stopped is found the next time.
        let running: Vec<Pid> = of(root).into_iter().filter(|pid| !stopped.contains(pid)).collect();
        if running.is_empty() || stopped.len() > MOST {
            return stopped;
        }
        for &pid in &running {
            // It may be ending this moment.
            let _ = kill_process(pid, Signal::STOP);
        }
        stopped.extend(running);
    }
}

/// Kills the process and all that descend from it, whatever their groups and sessions are, and waits for their ends. The runtime
/// clears up after its handler, but one that is killed can't.
pub async fn kill(root: Pid) {
    // What stands still starts nothing that would be missed.
    let all = stop(root);
    for &pid in &all {
        // It may have ended.
        let _ = kill_process(pid, Signal::KILL);
    }
    let ends = async {
        while all.iter().any(|&pid| runs(pid)) {
            sleep(LOOK_AGAIN).await;
        }
    };
    // A process in the middle of a slow disk's work takes its time, and nobody else's.
    let _ = timeout(PATIENCE, ends).await;
}

/// Whether there is such a process, and it is more than the memory of one.
fn runs(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    // Its name, in brackets, may have brackets in it.
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X']) && !rest.is_empty())
}

/// Lets them go on.
pub fn go_on(root: Pid) {
    for pid in of(root) {
        let _ = kill_process(pid, Signal::CONT);
    }
}

/// The most memory that these processes have had, each at its own time, in bytes. None where none of them tells.
pub fn peak_memory(processes: &[Pid]) -> Option<u64> {
    processes
        .iter()
        .filter_map(|pid| peak(&fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?))
        .reduce(|a, b| a + b)
}

/// `VmHWM`, the high-water mark of what is in memory, of a process's status.
fn peak(status: &str) -> Option<u64> {
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix("kB")?;
    Some(kilobytes.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn grandchildren_are_found_and_counted() {
        let mut child = Command::new("sh").args(["-c", "cat; true"]).stdin(Stdio::piped()).spawn().expect("sh starts");
        let root = Pid::from_child(&child);
        // The shell starts cat in its own time.
        while of(root).len() < 2 {
            std::thread::yield_now();
        }
        let all = of(root);
        assert!(peak_memory(&all) > peak_memory(&all[..1]), "{all:?}");
        drop(child.stdin.take());
        child.wait().expect("it ends with its stdin");
        assert_eq!(peak_memory(&[root]), None);
    }

    #[test]
    fn what_is_killed_is_gone() {
        let mut child = Command::new("sh").args(["-c", "cat; true"]).stdin(Stdio::piped()).spawn().expect("sh starts");
        let root = Pid::from_child(&child);
        // The shell starts cat in its own time.
        while of(root).len() < 2 {
            std::thread::yield_now();
        }
        let all = of(root);
        assert!(all.iter().all(|&pid| runs(pid)), "{all:?}");
        let event_loop = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("an event loop");
        event_loop.block_on(kill(root));
        assert!(!all.iter().any(|&pid| runs(pid)), "{all:?}");
        child.wait().expect("it was killed");
    }

    #[test]
    fn the_high_water_mark_is_read() {
        assert_eq!(peak("VmPeak:\t  9000 kB\nVmHWM:\t    1234 kB\nVmRSS:\t 1000 kB\n"), Some(1234 * 1024));
        assert_eq!(peak("Name:\tkthreadd\n"), None);
    }
}
