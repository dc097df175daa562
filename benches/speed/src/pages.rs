//! Tables and plots for the documentation, from the JSON of real runs.
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::bench::SIZES;
use crate::growth::{self, Curve, Growth};
use crate::judge::whole_processor;
use crate::plot::{Bar, Plot, bars, curves};
use crate::results::{Results, Run};
use crate::table::{self, number};

pub(crate) fn write(results: &Results, growth: &Growth, docs: &Path) -> Result<()> {
    let save = |name: &str, text: &str| fs::write(docs.join(name), text).with_context(|| docs.join(name).display().to_string());
    save("speed.svg", &bars(&panels(results)))?;
    for curve in &growth.curves {
        save(&format!("speed-{}.svg", curve.key), &curves(&plots(curve)))?;
    }
    let page = docs.join("speed.md");
    let text = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    let text = replaced(&text, "make bench", &table::report(results))?;
    let text = replaced(&text, "make bench-growth", &growth::report(growth))?;
    save("speed.md", &text)
}

/// The text with what stands between the two comments of this name replaced.
fn replaced(text: &str, name: &str, with: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- what `{name}` printed -->\n"), format!("<!-- end of what `{name}` printed -->\n"));
    let (before, rest) = text.split_once(&begin).with_context(|| format!("speed.md has no {begin}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("speed.md has no {end}"))?;
    Ok(format!("{before}{begin}\n{with}\n{end}{after}"))
}

/// What a plot shows beside the runtimes of all sizes.
const SHOWN: [&str; 6] = ["floor", "bootstrap", "in_process", "in_process_one_thread", "web_adapter", "python"];

fn panels(results: &Results) -> Vec<(String, Vec<Bar>)> {
    let panel = |scenario: &str, title: String, also: &[&str], scale: f64, figure: fn(&Run) -> f64| {
        let targets = results.scenario(scenario).map_or(&[][..], |s| &s.targets);
        let shown = targets.iter().filter(|t| SHOWN.contains(&t.key.as_str()) || also.contains(&t.key.as_str()));
        let bar = |(key, name, value): (&str, &str, f64)| Bar {
            own: key == "bootstrap",
            name: name.replace(['*', '`'], ""),
            value,
            label: number(value),
        };
        (title, shown.map(|t| bar((&t.key, &t.name, figure(&t.median) / scale))).collect::<Vec<_>>())
    };
    let mut all = vec![];
    for (key, name, size, _) in SIZES {
        let (unit, scale) = if size >= 1 << 20 { ("ms", 1e3) } else { ("µs", 1.0) };
        all.push(panel(key, format!("{name}: round trip, p50, {unit}"), &["java_jsonl"], scale, |r| r.p50));
        if key == "1kb" {
            all.push(panel(key, format!("{name}: round trip, p99, {unit}"), &["java_jsonl"], scale, |r| r.p99));
        }
    }
    all.push(panel("1kb", "1 KB: processor time, µs".into(), &["java_jsonl"], 1.0, whole_processor));
    all.push(panel("5.5mb", "after 5.5 MB: memory of the runtime, MiB".into(), &[], 1.0, |r| r.memory));
    all.push(panel("start", "start to first response, ms".into(), &["java_jsonl"], 1.0, |r| r.first_response));
    all.push(panel("concurrency", "8 in flight: invocations a second".into(), &["processes"], 1.0, |r| 1e6 / r.cycle));
    all.retain(|(_, bars)| !bars.is_empty());
    all
}

fn plots(curve: &Curve) -> Vec<Plot> {
    let plot = |title: &str, y: &str, figure: fn(&Run) -> f64| Plot {
        title: format!("{}: {title}", curve.name),
        x: curve.axis.clone(),
        y: y.into(),
        lines: curve
            .series
            .iter()
            .map(|series| (series.name.clone(), series.points.iter().map(|p| (p.at as f64, figure(&p.run))).collect()))
            .collect(),
    };
    vec![
        plot("processor time", "µs an invocation, runtime and handlers", whole_processor),
        plot("peak memory", "MiB, runtime alone", |r| r.memory),
    ]
}
