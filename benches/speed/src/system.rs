//! What the system tells of processes, and asks of them: processor time, memory, pinning.
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Pins this process, and with it all that it will start, to one processor.
///
/// And has all run under SCHED_BATCH: a woken runtime would else often overtake the driver inside its own write of the answer to
/// `/next`, before the driver can take the time, and round trips would be a mixture of two kinds.
pub(crate) fn pin(processor: usize) -> Result<()> {
    // SAFETY: plain system calls on memory of their own.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        succeeded(libc::sched_setaffinity(0, size_of_val(&set), &set))
            .with_context(|| format!("can't pin to processor {processor}"))?;
        let parameter: libc::sched_param = std::mem::zeroed();
        succeeded(libc::sched_setscheduler(0, libc::SCHED_BATCH, &parameter)).context("can't set SCHED_BATCH")
    }
}

/// Puts this process, and with it all that it will start, above or below others. Above takes root.
pub(crate) fn set_nice(nice: i32) -> Result<()> {
    // SAFETY: a plain system call.
    succeeded(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) }).with_context(|| format!("can't set nice {nice}"))
}

fn succeeded(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The last of the processors that this process may run on.
pub(crate) fn last_processor() -> usize {
    // SAFETY: a plain system call on memory of its own.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&set), &mut set);
        (0..libc::CPU_SETSIZE as usize).rev().find(|cpu| libc::CPU_ISSET(*cpu, &set)).unwrap_or(0)
    }
}

pub(crate) fn signal_group(leader: u32, signal: libc::c_int) {
    // SAFETY: a plain system call; the group is of a child that was started here.
    unsafe { libc::kill(-(leader as libc::pid_t), signal) };
}

/// The processor time of a whole process so far, itself and without its children.
///
/// It is what /proc/PID/stat tells in ticks of 10 ms, by its processor clock, which tells it in ns. Zero where it is gone.
fn processor_time(pid: u32) -> Duration {
    let clock = (!(pid as libc::clockid_t) << 3) | 2;
    // SAFETY: a plain system call on memory of its own.
    unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        if libc::clock_gettime(clock, &mut time) != 0 {
            return Duration::ZERO;
        }
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

/// /proc/PID/stat, from the third field on: the state, the parent, …
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split_whitespace().map(str::to_owned).collect())
}

/// The processor time of those of its children that have ended, which is known in ticks of 10 ms.
fn ended_children(pid: u32) -> Duration {
    let ticks = stat(pid).map_or(0, |stat| [13, 14].iter().filter_map(|at| stat.get(*at)?.parse::<u64>().ok()).sum());
    Duration::from_millis(ticks * 10)
}

fn descendants(root: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents: BTreeMap<u32, u32> = pids.filter_map(|pid| Some((pid, stat(pid)?.get(1)?.parse().ok()?))).collect();
    let mut found: Vec<u32> = vec![];
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        let children = parents.iter().filter(|(_, p)| **p == parent).map(|(pid, _)| *pid);
        let before = found.len();
        found.extend(children);
        next.extend(&found[before..]);
    }
    found
}

/// The most memory that a process has had resident so far, in KiB.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// A runtime, and what belongs to it, at an instant.
pub(crate) struct Snapshot {
    runtime: u32,
    time: Duration,
    ended: Duration,
    others: BTreeMap<u32, Duration>,
}

impl Snapshot {
    /// `companion` is what else is needed beside the runtime's own processes: the web application.
    pub(crate) fn take(runtime: u32, companion: Option<u32>) -> Self {
        let others = descendants(runtime).into_iter().chain(companion);
        Self {
            runtime,
            time: processor_time(runtime),
            ended: ended_children(runtime),
            others: others.map(|pid| (pid, processor_time(pid))).collect(),
        }
    }

    /// The processor time since another one: the runtime's own, and that of the handlers.
    pub(crate) fn since(&self, earlier: &Self) -> (Duration, Duration) {
        let before = |pid| earlier.others.get(pid).copied().unwrap_or_default();
        let others: Duration = self.others.iter().map(|(pid, time)| time.saturating_sub(before(pid))).sum();
        (self.time.saturating_sub(earlier.time), others + self.ended.saturating_sub(earlier.ended))
    }

    /// The peaks of resident memory in MiB: the runtime's, and the sum of the handlers'.
    pub(crate) fn memory(&self) -> (f64, f64) {
        (peak(self.runtime) as f64 / 1024.0, self.others.keys().map(|pid| peak(*pid)).sum::<u64>() as f64 / 1024.0)
    }
}

/// The machine in a line, for the reader of a table.
pub(crate) fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).and_then(|line| line.split_once(": "));
    let count = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.trim().split(['-', '+']).next().unwrap_or_default();
    format!("{count} processors ({}), Linux {kernel}", model.map_or("unknown", |(_, model)| model.trim()))
}

pub(crate) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
