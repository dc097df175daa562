//! Measures bootstrap beside its peers: plays the Runtime API for one runtime at a time, and takes the times.
//!
//! Everything runs on one processor, interleaved, and every response is checked. `make bench` calls it; docs/speed.md tells what
//! came out.
mod api;
mod bench;
mod event;
mod growth;
mod http;
mod instructions;
mod java;
mod judge;
mod pages;
mod plot;
mod progress;
mod results;
mod run;
mod system;
mod table;
mod targets;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use crate::bench::Condition;
use crate::results::Results;
use crate::targets::{Programs, Target};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure every target, print the tables and write them as JSON.
    Bench {
        #[command(flatten)]
        comparison: Comparison,
        #[command(flatten)]
        programs: Binaries,
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// A tenth of the events.
        #[arg(long)]
        quick: bool,
        /// Measure under these conditions alone: 1kb, 100kb, 5.5mb, start, concurrency.
        #[arg(long, value_delimiter = ',')]
        conditions: Vec<String>,
        /// What the tables say made them.
        #[arg(long, default_value = "speed bench")]
        command: String,
    },
    /// Measure the Java example beside the naive Java runtime, from the first event to the ten thousandth.
    Java {
        #[command(flatten)]
        comparison: Comparison,
        #[arg(long)]
        bootstrap: PathBuf,
        /// The folder of the example, and that of the naive runtime, with what their Makefiles make.
        #[arg(long)]
        example: PathBuf,
        #[arg(long)]
        naive: PathBuf,
        /// The image with the echo in the example's loop.
        #[arg(long)]
        echo: PathBuf,
        #[arg(long, default_value_t = 7)]
        rounds: usize,
        #[arg(long, default_value = "speed java")]
        command: String,
    },
    /// Measure how work grows with the event's size, with what the handler logs, and with invocations in flight.
    Growth {
        #[command(flatten)]
        machine: Machine,
        #[arg(long)]
        bootstrap: PathBuf,
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// A tenth of the events.
        #[arg(long)]
        quick: bool,
        #[arg(long)]
        json: PathBuf,
        #[arg(long, default_value = "speed growth")]
        command: String,
    },
    /// Write tables and plots of what was measured to the documentation.
    Pages {
        /// What `bench` wrote.
        #[arg(long)]
        bench: PathBuf,
        /// What `growth` wrote.
        #[arg(long)]
        growth: PathBuf,
        /// Where speed.md is.
        #[arg(long)]
        docs: PathBuf,
    },
    /// Count the instructions of an invocation under callgrind, and compare them with what is recorded.
    Instructions {
        #[arg(long)]
        bootstrap: PathBuf,
        #[arg(long)]
        recorded: PathBuf,
        /// Record what was counted instead.
        #[arg(long)]
        record: bool,
        /// Keep callgrind's files here, for callgrind_annotate.
        #[arg(long)]
        keep: Option<PathBuf>,
    },
    /// One run of one command, for a profiler.
    One {
        #[arg(long, default_value_t = 1024)]
        size: usize,
        #[arg(long, default_value_t = 1000)]
        events: usize,
        #[arg(long, default_value_t = 1)]
        concurrency: usize,
        /// The Rust handler's mode.
        #[arg(long, default_value = "jsonl")]
        mode: String,
        #[arg(long, default_value_t = 0)]
        log_lines: usize,
        #[arg(required = true, last = true)]
        command: Vec<String>,
    },
}

/// What every measurement of targets beside each other has.
#[derive(Args)]
struct Comparison {
    #[command(flatten)]
    machine: Machine,
    /// Measure these targets alone, by their keys in the JSON.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    #[arg(long)]
    json: PathBuf,
}

impl Comparison {
    /// Measures what is wanted of these, saves it and prints the report. `about` is about all of it but the scenarios.
    fn measure(&self, mut conditions: Vec<Condition>, about: About, report: fn(&Results) -> String) -> Result<bool> {
        for condition in &mut conditions {
            condition.targets.retain(|(target, _)| self.only.is_empty() || self.only.iter().any(|key| key == target.key));
            targets::look(&condition.targets.iter().map(|(target, _)| target.clone()).collect::<Vec<_>>())?;
        }
        conditions.retain(|condition| !condition.targets.is_empty());
        if conditions.is_empty() {
            bail!("no target is left to measure; see --only and --conditions");
        }
        let pinned_to = self.machine.prepare()?;
        let before = system::load();
        let (scenarios, failed) = bench::measure(conditions);
        let results = Results {
            command: about.command,
            version: version(&about.bootstrap)?,
            machine: system::machine(),
            pinned_to,
            load: [before, system::load()],
            rounds: about.rounds,
            static_bytes: fs::metadata(&about.bootstrap)?.len(),
            dynamic_bytes: about.dynamic.map_or(Ok(0), |path| fs::metadata(path).map(|file| file.len()))?,
            scenarios,
        };
        save(&self.json, &results)?;
        print!("{}", report(&results));
        println!("\nevery run: {}", self.json.display());
        Ok(!failed)
    }
}

/// What is measured, and how.
struct About {
    command: String,
    rounds: usize,
    bootstrap: PathBuf,
    dynamic: Option<PathBuf>,
}

#[derive(Args)]
struct Machine {
    /// The processor that everything is pinned to; the last one, if not given.
    #[arg(long)]
    processor: Option<usize>,
    /// Above or below other processes; below 0 takes root.
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    nice: i32,
}

impl Machine {
    fn prepare(&self) -> Result<usize> {
        let processor = self.processor.unwrap_or_else(system::last_processor);
        system::pin(processor)?;
        if self.nice != 0 {
            system::set_nice(self.nice)?;
        }
        Ok(processor)
    }
}

#[derive(Args)]
struct Binaries {
    /// bootstrap's static file.
    #[arg(long)]
    bootstrap: PathBuf,
    /// A build with the system's libraries.
    #[arg(long)]
    dynamic: Option<PathBuf>,
    /// Where the peers are.
    #[arg(long)]
    tools: PathBuf,
}

fn main() -> ExitCode {
    match perform(Cli::parse().task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("speed: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Tells whether all went well.
fn perform(task: Task) -> Result<bool> {
    match task {
        Task::Bench { comparison, programs, rounds, quick, conditions: which, command } => {
            let programs = Programs {
                bootstrap: absolute(&programs.bootstrap)?,
                dynamic: programs.dynamic.as_deref().map(absolute).transpose()?,
                tools: absolute(&programs.tools)?,
            };
            let mut conditions = bench::conditions(&programs, rounds, if quick { 0.1 } else { 1.0 });
            conditions.retain(|condition| which.is_empty() || which.iter().any(|key| key == condition.key));
            let about = About { command, rounds, bootstrap: programs.bootstrap, dynamic: programs.dynamic };
            comparison.measure(conditions, about, table::report)
        }
        Task::Java { comparison, bootstrap, example, naive, echo, rounds, command } => {
            let programs = java::Programs {
                bootstrap: absolute(&bootstrap)?,
                example: absolute(&example)?,
                naive: absolute(&naive)?,
                echo: absolute(&echo)?,
            };
            let conditions = java::conditions(&programs, rounds)?;
            comparison.measure(conditions, About { command, rounds, bootstrap: programs.bootstrap, dynamic: None }, java::report)
        }
        Task::Growth { machine, bootstrap, rounds, quick, json, command } => {
            let bootstrap = absolute(&bootstrap)?;
            let pinned_to = machine.prepare()?;
            let about = growth::About { command, version: version(&bootstrap)?, machine: system::machine(), pinned_to, rounds };
            let growth = growth::measure(&bootstrap, about, if quick { 0.1 } else { 1.0 })?;
            save(&json, &growth)?;
            print!("{}", growth::report(&growth));
            println!("\nevery point: {}", json.display());
            Ok(true)
        }
        Task::Pages { bench, growth, docs } => pages::write(&load(&bench)?, &load(&growth)?, &docs).map(|()| true),
        Task::Instructions { bootstrap, recorded, record, keep } => {
            instructions::guard(&absolute(&bootstrap)?, &recorded, record, keep.as_deref())
        }
        Task::One { size, events, concurrency, mode, log_lines, command } => {
            let handler = targets::echo(&mode, log_lines, if concurrency > 1 { concurrency } else { 0 });
            let (binary, arguments) = command.split_first().context("no command")?;
            let mut target = targets::bootstrap("one", "one", Path::new(binary), &mode, &handler);
            target.command.extend_from_slice(arguments);
            if concurrency > 1 {
                target = Target::env(target, "AWS_LAMBDA_MAX_CONCURRENCY", &concurrency.to_string());
            }
            println!("{}", serde_json::to_string(&run::run(&target, bench::plan(size, events, concurrency))?)?);
            Ok(true)
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    fs::canonicalize(path).with_context(|| format!("{} is not there; `make bench` builds and installs it", path.display()))
}

fn version(bootstrap: &Path) -> Result<String> {
    let output = Command::new(bootstrap).arg("--version").output().with_context(|| bootstrap.display().to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.trim().rsplit(' ').next().unwrap_or_default().to_owned())
}

fn save(path: &Path, value: &impl Serialize) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::write(path, serde_json::to_string_pretty(value)? + "\n").with_context(|| path.display().to_string())
}

fn load<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("{}: run `make bench bench-growth` first", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is of another version of the benchmark", path.display()))
}
