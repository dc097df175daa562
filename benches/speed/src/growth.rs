//! How work grows: with the event's size, with what a handler logs, with invocations in flight.
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::api::Plan;
use crate::bench::plan;
use crate::judge::whole_processor;
use crate::progress::Progress;
use crate::results::{Run, medians};
use crate::run::run;
use crate::table::{markdown, number};
use crate::targets::{Target, bootstrap, concurrent_in_process, echo, floor, in_process, look};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct About {
    pub(crate) command: String,
    pub(crate) version: String,
    pub(crate) machine: String,
    pub(crate) pinned_to: usize,
    pub(crate) rounds: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Growth {
    pub(crate) about: About,
    pub(crate) curves: Vec<Curve>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Curve {
    pub(crate) key: String,
    pub(crate) name: String,
    /// What is along the axis.
    pub(crate) axis: String,
    pub(crate) series: Vec<Series>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<Point>,
}

/// The median of the rounds at one place of the axis.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Point {
    pub(crate) at: usize,
    pub(crate) run: Run,
}

const SIZES: [usize; 12] = [1, 16, 128, 1024, 4096, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 2 << 20, 4 << 20, 6 << 20];
const LOG_LINES: [usize; 6] = [0, 1, 10, 100, 1000, 10_000];
/// The length of one, as the handler writes it.
const LOG_LINE: usize = 100;
const IN_FLIGHT: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// A target at each place of the axis.
type Line<'a> = (&'static str, Box<dyn Fn(usize) -> Target + 'a>);

pub(crate) fn measure(binary: &Path, about: About, scale: f64) -> Result<Growth> {
    let events = move |least: usize, most: usize, work: usize| ((work as f64 * scale) as usize).clamp(least, most);
    let jsonl = |log_lines, takes| bootstrap("bootstrap", "bootstrap", binary, "jsonl", &echo("jsonl", log_lines, takes));
    let several = |target: Target, n: usize| target.env("AWS_LAMBDA_MAX_CONCURRENCY", &n.to_string());

    let by_size: [Line; 3] = [
        ("bootstrap", Box::new(|_| jsonl(0, 0))),
        ("lambda_runtime", Box::new(|_| in_process())),
        ("floor with a pipe", Box::new(|_| floor())),
    ];
    let by_log: [Line; 1] = [("bootstrap", Box::new(|lines| jsonl(lines, 0)))];
    let by_number: [Line; 3] = [
        ("bootstrap, one handler that takes as many", Box::new(|n| several(jsonl(0, n), n))),
        ("bootstrap, as many handlers", Box::new(|n| several(jsonl(0, 0), n))),
        ("lambda_runtime", Box::new(|n| several(concurrent_in_process(), n))),
    ];
    let size_plan = |size: usize| plan(size, events(20, 3000, (128 << 20) / size), 1);
    let log_plan = |lines: usize| plan(1024, events(20, 2000, 200_000 / (lines + 10)), 1);
    let number_plan = |n: usize| plan(1024, events(500, 4000, 4000), n);
    let mut progress = Progress::new(about.rounds * (3 * SIZES.len() + LOG_LINES.len() + 3 * IN_FLIGHT.len()));
    let curves = vec![
        curve("size", "Event size", "bytes", &SIZES, &by_size, &size_plan, about.rounds, &mut progress)?,
        curve("logs", "Log lines of 100 bytes an event", "lines", &LOG_LINES, &by_log, &log_plan, about.rounds, &mut progress)?,
        curve(
            "in-flight",
            "Invocations in flight",
            "in flight",
            &IN_FLIGHT,
            &by_number,
            &number_plan,
            about.rounds,
            &mut progress,
        )?,
    ];
    Ok(Growth { about, curves })
}

#[allow(clippy::too_many_arguments)]
fn curve(
    key: &str,
    name: &str,
    axis: &str,
    places: &[usize],
    lines: &[Line],
    plan: &dyn Fn(usize) -> Plan,
    rounds: usize,
    progress: &mut Progress,
) -> Result<Curve> {
    let mut runs: Vec<Vec<Vec<Run>>> = lines.iter().map(|_| places.iter().map(|_| vec![]).collect()).collect();
    for round in 0..rounds {
        for (place, at) in places.iter().enumerate() {
            for (line, (line_name, target)) in lines.iter().enumerate() {
                progress.step(&format!("{name}, round {} of {rounds}", round + 1), &format!("{line_name}, {at} {axis}"));
                let (target, plan) = (target(*at), plan(*at));
                look(std::slice::from_ref(&target))?;
                let run = run(&target, plan).with_context(|| format!("{at} {axis}"))?;
                if key == "logs" {
                    let expected = (at * LOG_LINE * (plan.events + plan.warm_up)) as u64;
                    ensure!(run.log_bytes == expected, "{at} lines an event gave {} bytes of log, not {expected}", run.log_bytes);
                }
                runs[line][place].push(run);
            }
        }
    }
    let series = lines.iter().zip(runs).map(|((name, _), runs)| Series {
        name: (*name).to_owned(),
        points: places.iter().zip(runs).map(|(at, runs)| Point { at: *at, run: medians(&runs) }).collect(),
    });
    Ok(Curve { key: key.into(), name: name.into(), axis: axis.into(), series: series.collect() })
}

/// The curves as tables. "For each" is what a byte or a line costs beyond the first row: where work grows in a line, it is the same
/// in all rows.
pub(crate) fn report(growth: &Growth) -> String {
    let about = &growth.about;
    let mut text = format!(
        "`{}`: version {}; medians of {} rounds, all on processor {} of {}.\n",
        about.command, about.version, about.rounds, about.pinned_to, about.machine
    );
    for curve in &growth.curves {
        for series in &curve.series {
            let mut rows = vec![];
            let first = &series.points[0];
            for point in &series.points {
                let more = whole_processor(&point.run) - whole_processor(&first.run);
                // What is less than a tenth is noise, and invocations in flight cost nothing by themselves.
                let known = curve.key != "in-flight" && more > whole_processor(&first.run) / 10.0;
                let one_more = if known { more * 1e3 / (point.at - first.at) as f64 } else { f64::NAN };
                rows.push(vec![
                    point.at.to_string(),
                    number(point.run.p50),
                    number(point.run.cycle),
                    number(point.run.processor),
                    number(point.run.handler_processor),
                    number(one_more),
                    format!("{:.1}", point.run.memory),
                    format!("{:.1}", point.run.handler_memory),
                ]);
            }
            let header = [
                curve.axis.as_str(),
                "p50 µs",
                "from event to event µs",
                "processor µs",
                "handlers",
                "processor ns for each",
                "memory MiB",
                "handlers",
            ];
            let _ = write!(text, "\n### {}: {}\n\n{}", curve.name, series.name, markdown(&header, &rows));
        }
    }
    text
}
