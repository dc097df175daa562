//! The regression guard: instructions an invocation, counted by callgrind, beside those that are recorded.
//!
//! Times on shared machines are not steady; counts are. Start and end cancel, because the figure is the difference of two runs.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::api::Plan;
use crate::run::run;
use crate::targets::{bootstrap, echo};

/// What is counted: the name, the mode, the event's size, and the events of the shorter and of the longer run.
const COUNTED: [(&str, &str, usize, [usize; 2]); 4] = [
    ("jsonl, 1 KB", "jsonl", 1024, [200, 800]),
    ("jsonl, 100 KB", "jsonl", 100 * 1024, [20, 80]),
    ("filter, 1 KB", "filter", 1024, [200, 800]),
    ("oneshot, 1 KB", "oneshot", 1024, [20, 100]),
];

/// The file in the repository.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    /// For the reader: what a count depends on beside the source.
    toolchain: String,
    /// How far a count may be from what is recorded.
    tolerance_percent: f64,
    /// Instructions an invocation.
    instructions: BTreeMap<String, u64>,
}

/// Tells whether every count is within the tolerance.
pub(crate) fn guard(binary: &Path, path: &Path, record: bool, keep: Option<&Path>) -> Result<bool> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut recorded: Recorded = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let mut good = true;
    let mut counts = BTreeMap::new();
    for (name, mode, size, events) in COUNTED {
        let mut totals = [0; 2];
        for (total, events) in totals.iter_mut().zip(events) {
            let kept = keep.map(|folder| folder.join(format!("callgrind.{mode}.{size}.{events}")));
            *total = count(binary, mode, Plan { size, events, warm_up: 20, concurrency: 1, spans: &[] }, kept)?;
        }
        let count = totals[1].saturating_sub(totals[0]) / (events[1] - events[0]) as u64;
        counts.insert(name.to_owned(), count);
        let Some(before) = recorded.instructions.get(name) else {
            println!("{name:14} {count:9} instructions an invocation; none are recorded");
            good = false;
            continue;
        };
        let change = (count as f64 / *before as f64 - 1.0) * 100.0;
        let within = change.abs() <= recorded.tolerance_percent;
        good &= within;
        let verdict = if within { "" } else { "   <-- beyond the tolerance" };
        println!("{name:14} {count:9} instructions an invocation, {before} recorded: {change:+.2} %{verdict}");
    }
    if record {
        recorded.instructions = counts;
        recorded.toolchain = toolchain()?;
        fs::write(path, serde_json::to_string_pretty(&recorded)? + "\n").with_context(|| path.display().to_string())?;
        println!("recorded in {}", path.display());
        return Ok(true);
    }
    if !good {
        println!(
            "The tolerance is {} %. Where the change is meant, or the toolchain is another than {}, record it: make record-instructions",
            recorded.tolerance_percent, recorded.toolchain
        );
    }
    Ok(good)
}

/// All the instructions of one run.
fn count(binary: &Path, mode: &str, plan: Plan, keep: Option<PathBuf>) -> Result<u64> {
    let folder = std::env::temp_dir().join(format!("speed-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let mut target = bootstrap("bootstrap", "bootstrap under callgrind", binary, mode, &echo(mode, 0, 0));
    let output = format!("--callgrind-out-file={}", folder.join("%p").display());
    target.command = ["valgrind", "--tool=callgrind", "--quiet", &output, &binary.to_string_lossy()].map(str::to_owned).to_vec();
    let counted = run(&target, plan).context("valgrind's callgrind is needed").and_then(|_| largest(&folder));
    let total = counted.map(|(total, file)| {
        if let Some(keep) = keep {
            fs::create_dir_all(keep.parent().unwrap_or(&keep))
                .and_then(|()| fs::copy(file, &keep))
                .with_context(|| keep.display().to_string())?;
        }
        Ok(total)
    });
    fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    total?
}

/// A child that was forked, and has not become another program yet, may leave a file too; the runtime's is the largest.
fn largest(folder: &Path) -> Result<(u64, PathBuf)> {
    let mut found = vec![];
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
        found.push((line.and_then(|number| number.trim().parse().ok()).unwrap_or(0), path));
    }
    let largest = found.into_iter().max().context("callgrind has written nothing: the runtime did not end in time")?;
    ensure!(largest.0 > 0, "{}: no totals", largest.1.display());
    Ok(largest)
}

fn toolchain() -> Result<String> {
    let of = |program: &str, arguments: &[&str]| -> Result<String> {
        let output = std::process::Command::new(program).args(arguments).output().context(program.to_owned())?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let rust = of("rustc", &["--version"])?;
    Ok(format!(
        "{}, glibc {}",
        rust.split(" (").next().unwrap_or(&rust),
        of("getconf", &["GNU_LIBC_VERSION"])?.replace("glibc ", "")
    ))
}
