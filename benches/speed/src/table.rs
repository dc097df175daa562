//! The results as Markdown.
use std::fmt::Write as _;

use crate::judge::{judge, whole_processor};
use crate::results::{Results, Run, Scenario};

pub(crate) fn markdown(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::as_str).chain([header[column]]);
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = widths.iter().zip(cells).enumerate().map(|(column, (&width, cell))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    let mut text = line(&mut header.iter().copied());
    let dashes = widths.iter().enumerate().map(|(column, width)| match column {
        0 => "-".repeat(*width),
        _ => "-".repeat(width - 1) + ":",
    });
    let dashes: Vec<String> = dashes.collect();
    text += &line(&mut dashes.iter().map(String::as_str));
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

/// Three digits, at least.
pub(crate) fn number(value: f64) -> String {
    match value {
        v if v.is_nan() => "–".into(),
        v if v.abs() >= 100.0 => format!("{v:.0}"),
        v if v.abs() >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

fn ratio(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { "–".into() }
}

/// What was measured, how and where.
pub(crate) fn heading(results: &Results) -> String {
    format!(
        "`{}`: version {}, static file {} bytes{}; medians of {} rounds, interleaved, all on processor {} of {}; load before {}, after {}.\n",
        results.command,
        results.version,
        results.static_bytes,
        if results.dynamic_bytes > 0 { format!(", dynamic {} bytes", results.dynamic_bytes) } else { String::new() },
        results.rounds,
        results.pinned_to,
        results.machine,
        results.load[0],
        results.load[1],
    )
}

/// All that `make bench` prints.
pub(crate) fn report(results: &Results) -> String {
    let mut text = heading(results);
    let verdicts = judge(results);
    let rows: Vec<Vec<String>> = verdicts
        .iter()
        .map(|v| {
            let digits = |value: f64| format!("{}{value:.2}", if v.at_least { "≥ " } else { "≤ " });
            vec![v.figure.into(), v.beside.into(), ratio(v.value), digits(v.must), digits(v.aim), v.text()]
        })
        .collect();
    let _ = write!(text, "\n### Targets\n\n{}", markdown(&["figure", "beside", "measured", "must be", "aim", "verdict"], &rows));
    for scenario in &results.scenarios {
        let _ = write!(text, "\n### {}\n\n{}", scenario.name, table(scenario));
    }
    text
}

fn table(scenario: &Scenario) -> String {
    match scenario.key.as_str() {
        "start" => starts(scenario),
        "concurrency" => throughputs(scenario),
        _ => round_trips(scenario),
    }
}

/// A figure's ratio to that of a peer's.
fn beside(scenario: &Scenario, peer: &str, own: &Run, figure: fn(&Run) -> f64) -> String {
    ratio(scenario.median(peer).map_or(f64::NAN, |peer| figure(own) / figure(peer)))
}

fn round_trips(scenario: &Scenario) -> String {
    let scale = if scenario.size >= 1 << 20 { 1e3 } else { 1.0 };
    let unit = if scale > 1.0 { "ms" } else { "µs" };
    let p50 = format!("p50 {unit}");
    let processor = format!("processor {unit}");
    let header = [
        "runtime",
        &p50,
        "p90",
        "p99",
        "p99.9",
        "p50 of the rounds",
        "× floor",
        "× `lambda_runtime`",
        "× Web Adapter",
        &processor,
        "handler",
        "both × `lambda_runtime`",
        "memory MiB",
        "handler",
    ];
    let rows: Vec<Vec<String>> = scenario
        .targets
        .iter()
        .map(|target| {
            let run = &target.median;
            let time = |value: f64| number(value / scale);
            let each = target.runs.iter().map(|run| run.p50);
            let range = [each.clone().fold(f64::INFINITY, f64::min), each.fold(0.0, f64::max)].map(time).join("–");
            vec![
                target.name.clone(),
                time(run.p50),
                time(run.p90),
                time(run.p99),
                // One of a thousand takes a thousand.
                if target.events >= 1000 { time(run.p999) } else { "–".into() },
                range,
                beside(scenario, "floor", run, |r| r.p50),
                beside(scenario, "in_process", run, |r| r.p50),
                beside(scenario, "web_adapter", run, |r| r.p50),
                time(run.processor),
                time(run.handler_processor),
                beside(scenario, "in_process", run, whole_processor),
                format!("{:.1}", run.memory),
                format!("{:.1}", run.handler_memory),
            ]
        })
        .collect();
    markdown(&header, &rows)
}

fn starts(scenario: &Scenario) -> String {
    let rows: Vec<Vec<String>> = scenario
        .targets
        .iter()
        .map(|target| {
            let mut each: Vec<f64> = target.runs.iter().map(|run| run.first_response).collect();
            each.sort_by(f64::total_cmp);
            let at = |share: f64| each.get(((each.len() - 1) as f64 * share).round() as usize).copied().unwrap_or(f64::NAN);
            vec![
                target.name.clone(),
                number(target.median.first_response),
                number(at(0.1)),
                number(at(0.9)),
                beside(scenario, "in_process", &target.median, |r| r.first_response),
                beside(scenario, "web_adapter", &target.median, |r| r.first_response),
            ]
        })
        .collect();
    markdown(&["runtime", "median ms", "p10", "p90", "× `lambda_runtime`", "× Web Adapter"], &rows)
}

fn throughputs(scenario: &Scenario) -> String {
    let rows: Vec<Vec<String>> = scenario
        .targets
        .iter()
        .map(|target| {
            let run = &target.median;
            vec![
                target.name.clone(),
                format!("{:.0}", 1e6 / run.cycle),
                beside(scenario, "in_process", run, |r| 1.0 / r.cycle),
                number(run.processor),
                number(run.handler_processor),
                number(run.from_first_byte_p50),
                number(run.p99),
                format!("{:.1}", run.memory),
                format!("{:.1}", run.handler_memory),
            ]
        })
        .collect();
    let header = [
        "runtime",
        "invocations a second",
        "× `lambda_runtime`",
        "processor µs",
        "handler",
        "p50 µs",
        "p99",
        "memory MiB",
        "handler",
    ];
    markdown(&header, &rows)
}
