//! The processes below one of ours, as `/proc` tells of them.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// A process, at the moment of the look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub id: i32,
    /// Its parent's id.
    pub parent: i32,
    /// Its name, as the kernel keeps it: at most 15 bytes.
    pub name: String,
    /// Whether it has ended and nobody has waited for it.
    pub is_zombie: bool,
    /// Whether it does nothing at the moment.
    pub sleeps: bool,
    /// The processor time that it has had, in ticks.
    ticks: u64,
    /// Its resident memory, in pages.
    pages: u64,
}

/// The descendants of a process, parents before their children; `None` where there is no `/proc` to tell.
pub fn below(root: i32) -> Option<Vec<Process>> {
    below_but(root, &[])
}

/// The descendants of this process without these of its children, and without what is below them.
pub fn ours_but(bystanders: &[i32]) -> Option<Vec<Process>> {
    below_but(rustix::process::getpid().as_raw_nonzero().get(), bystanders)
}

fn below_but(root: i32, bystanders: &[i32]) -> Option<Vec<Process>> {
    fs::metadata("/proc/self/stat").ok()?;
    let mut others: Vec<Process> =
        fs::read_dir("/proc").ok()?.filter_map(|entry| read(entry.ok()?.file_name().to_str()?)).collect();
    others.retain(|process| !bystanders.contains(&process.id));
    let (mut found, mut parents) = (Vec::new(), vec![root]);
    while !parents.is_empty() {
        let (children, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(|process| parents.contains(&process.parent));
        parents = children.iter().map(|process| process.id).collect();
        found.extend(children);
        others = rest;
    }
    Some(found)
}

/// A process and its descendants; `None` where there is no `/proc` to tell.
pub fn below_and_itself(root: i32) -> Option<Vec<Process>> {
    let mut processes = below(root)?;
    processes.extend(read(&root.to_string()));
    Some(processes)
}

/// What they hold in memory, in KiB.
pub fn memory(processes: &[Process]) -> u64 {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    processes.iter().map(|process| process.pages).sum::<u64>() * page / 1024
}

/// The processor time that they have had.
pub fn used(processes: &[Process]) -> Duration {
    let ticks: u64 = processes.iter().map(|process| process.ticks).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1))
}

/// Whether they have done nothing between two looks.
pub fn were_idle(before: &[Process], after: &[Process]) -> bool {
    before.len() == after.len()
        && before
            .iter()
            .zip(after)
            .all(|(before, after)| (before.id, before.ticks) == (after.id, after.ticks) && (after.sleeps || after.is_zombie))
}

/// Sends each of them a signal.
pub fn signal(processes: &[Process], signal: Signal) {
    for process in processes {
        if let Some(pid) = Pid::from_raw(process.id) {
            // It may be ending this moment.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Their names, for people.
pub fn names(processes: &[Process]) -> String {
    let names: Vec<String> = processes.iter().take(5).map(|process| format!("{} ({})", process.name, process.id)).collect();
    let more = processes.len().saturating_sub(5);
    if more > 0 { format!("{} and {more} more", names.join(", ")) } else { names.join(", ") }
}

fn read(id: &str) -> Option<Process> {
    let id = id.parse().ok()?;
    parse(id, &fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// proc_pid_stat(5). The name stands in parentheses and may hold any of them itself.
fn parse(id: i32, stat: &str) -> Option<Process> {
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
    let state = *fields.first()?;
    Some(Process {
        id,
        parent: fields.get(1)?.parse().ok()?,
        name,
        is_zombie: matches!(state, "Z" | "X"),
        sleeps: matches!(state, "S" | "I" | "T"),
        ticks: number(11)? + number(12)?,
        pages: number(21)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_hides_nothing() {
        let stat = "42 (a) b) S 7 42 42 0 -1 4194304 1 2 3 4 50 6 0 0 20 0 1 0 99 1000 25 18446744073709551615 1";
        let expected = Process { id: 42, parent: 7, name: "a) b".to_owned(), is_zombie: false, sleeps: true, ticks: 56, pages: 25 };
        assert_eq!(parse(42, stat), Some(expected));
        assert_eq!(parse(42, "42 (a"), None);
    }
}
