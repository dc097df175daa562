//! The Java example beside the naive Java runtime: from the first event to the ten thousandth.
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::api::{Equality, Plan};
use crate::bench::Condition;
use crate::results::{Results, Run, Span};
use crate::table::{heading, markdown, number};
use crate::targets::{self, Target, bootstrap};

const EVENTS: usize = 10_000;
/// What "warm" may mean, by the numbers of the first and the last event.
const SPANS: &[(usize, usize)] = &[(11, 200), (2, 2001), (8001, EVENTS)];
const PLAN: Plan = Plan { size: 1024, events: EVENTS, warm_up: 0, concurrency: 1, spans: SPANS };

/// Where the programs are.
pub(crate) struct Programs {
    pub(crate) bootstrap: PathBuf,
    /// The example, and the naive runtime, each with its image in `dist`.
    pub(crate) example: PathBuf,
    pub(crate) naive: PathBuf,
    /// The image with the echo in the example's loop.
    pub(crate) echo: PathBuf,
}

pub(crate) fn conditions(programs: &Programs, rounds: usize) -> Result<Vec<Condition>> {
    let Programs { bootstrap: fixed, example, naive, echo } = programs;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let naive_java = text(&naive.join("dist/bin/java"));
    let executable = text(&example.join("dist/bin/executable"));
    // The example's own launcher is not in the echo's image: its options are read from it.
    let options = options(Path::new(&executable))?;
    let java = format!("{} {options} -m bench.echo/bench.Echo jsonl", echo.join("bin/java").display());
    let echoes = vec![
        Target::new("naive_echo", "naive, Java", &[&naive_java, "-m", "com.example.naive/com.example.naive.Echo"]),
        bootstrap("java_echo", "bootstrap, Java", fixed, "jsonl", &java),
        bootstrap("echo", "bootstrap, Rust", fixed, "jsonl", &targets::echo("jsonl", 0, 0)),
        targets::floor(),
    ];
    let orders = vec![
        Target { folder: Some(naive.clone()), ..Target::new("naive_order", "naive, Java", &[&text(&naive.join("bootstrap"))]) },
        bootstrap("java_order", "bootstrap, Java", fixed, "jsonl", &executable),
    ];
    let orders = orders
        .into_iter()
        .map(|target| Target { equality: Equality::Priced, ..target }.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"));
    let condition = |key, name: &str, targets: Vec<Target>| Condition {
        key,
        name: name.into(),
        rounds,
        targets: targets.into_iter().map(|target| (target, PLAN)).collect(),
    };
    Ok(vec![
        condition("echo", "The event back, 1 KB", echoes),
        condition("order", "The example's order, 92 bytes, with a line logged", orders.collect()),
    ])
}

/// The options of the example's launcher, with the heap that it gives in 256 MB.
fn options(executable: &Path) -> Result<String> {
    let script = fs::read_to_string(executable).with_context(|| executable.display().to_string())?;
    let line = script.lines().find_map(|line| line.strip_prefix("JLINK_VM_OPTIONS=\""));
    let (options, _) =
        line.and_then(|line| line.split_once(" -Xmx$")).with_context(|| format!("{} names no options", executable.display()))?;
    Ok(format!("{options} -Xmx128m"))
}

/// All that `make bench-java-warm` prints: for each figure what the naive runtime has, and how many times better the others are.
pub(crate) fn report(results: &Results) -> String {
    let mut text = heading(results);
    for scenario in &results.scenarios {
        let header: Vec<&str> = ["figure"].into_iter().chain(scenario.targets.iter().map(|target| target.name.as_str())).collect();
        let row = |figure: String, of: &dyn Fn(&Run) -> f64| {
            let first = scenario.targets.first().map_or(f64::NAN, |target| of(&target.median));
            let cells = scenario.targets.iter().enumerate().map(|(column, target)| {
                let value = of(&target.median);
                match column {
                    0 => number(value),
                    _ => format!("{} ({:.1} ×)", number(value), first / value),
                }
            });
            [figure].into_iter().chain(cells).collect()
        };
        let mut rows: Vec<Vec<String>> = vec![row("start to first response, ms".into(), &|run| run.first_response)];
        for (at, (first, last)) in SPANS.iter().enumerate() {
            let mut add = |name: &str, of: fn(&Span) -> f64| {
                rows.push(row(format!("events {first} to {last}: {name}, µs"), &|run| run.spans.get(at).map_or(f64::NAN, of)));
            };
            add("p50", |span| span.p50);
            add("mean", |span| span.mean);
            add("processor", |span| span.processor);
        }
        rows.push(row("peak memory after all, MiB".into(), &|run| run.memory + run.handler_memory));
        let _ = write!(text, "\n### {}\n\n{}", scenario.name, markdown(&header, &rows));
    }
    text
}
