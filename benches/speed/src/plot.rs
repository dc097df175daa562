//! Plots as SVG: bars for the benchmark, curves for the growth.
use std::fmt::Write as _;

const STYLE: &str = "<style>text{font:13px sans-serif;fill:#222}.s{font-size:11px;fill:#555}.t{font-size:15px;font-weight:bold}\
    .g{stroke:#ddd}.a{stroke:#888;fill:none}.b{fill:#9aa7b5}.o{fill:#d9541e}</style>";
/// One a series; told apart by colour-blind readers too.
const COLORS: [&str; 4] = ["#d9541e", "#2b6ca3", "#6b7a3a", "#8a5a9e"];

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn page(width: f64, height: f64, content: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n{STYLE}\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{content}</svg>\n"
    )
}

/// A bar: its name, its value, whether it is ours, and what is written behind it.
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) own: bool,
    pub(crate) label: String,
}

/// Panels of bars, two in a row.
pub(crate) fn bars(panels: &[(String, Vec<Bar>)]) -> String {
    const NAME: f64 = 240.0;
    const LENGTH: f64 = 150.0;
    const WIDTH: f64 = NAME + LENGTH + 70.0;
    const LINE: f64 = 20.0;
    let mut content = String::new();
    let mut top = 0.0;
    for pair in panels.chunks(2) {
        for (column, (title, bars)) in pair.iter().enumerate() {
            let left = 10.0 + column as f64 * WIDTH;
            let _ = writeln!(content, "<text class=\"t\" x=\"{left}\" y=\"{}\">{}</text>", top + 28.0, escaped(title));
            let most = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
            for (number, bar) in bars.iter().enumerate() {
                let y = top + 42.0 + number as f64 * LINE;
                let length = LENGTH * bar.value / most;
                let class = if bar.own { "o" } else { "b" };
                let _ = writeln!(
                    content,
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text><rect class=\"{class}\" x=\"{:.1}\" y=\"{y:.1}\" \
                     width=\"{length:.1}\" height=\"14\"/><text class=\"s\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    left + NAME - 6.0,
                    y + 11.5,
                    escaped(&bar.name),
                    left + NAME,
                    left + NAME + length + 4.0,
                    y + 11.0,
                    escaped(&bar.label),
                );
            }
        }
        let lines = pair.iter().map(|(_, bars)| bars.len()).max().unwrap_or(0);
        top += 52.0 + lines as f64 * LINE;
    }
    page(2.0 * WIDTH + 10.0, top + 8.0, &content)
}

/// A line of a plot: its name and its points.
pub(crate) type Line = (String, Vec<(f64, f64)>);

/// A plot with logarithmic axes, where growth in a line has the slope of the dotted lines or less.
pub(crate) struct Plot {
    pub(crate) title: String,
    pub(crate) x: String,
    pub(crate) y: String,
    pub(crate) lines: Vec<Line>,
}

/// Plots, two in a row, with one legend a plot.
pub(crate) fn curves(plots: &[Plot]) -> String {
    const WIDTH: f64 = 460.0;
    const HEIGHT: f64 = 340.0;
    let mut content = String::new();
    for (number, plot) in plots.iter().enumerate() {
        let (column, row) = (number % 2, number / 2);
        let _ = writeln!(content, "<g transform=\"translate({},{})\">", column as f64 * WIDTH, row as f64 * HEIGHT);
        one(plot, &mut content);
        content.push_str("</g>\n");
    }
    page(WIDTH * plots.len().min(2) as f64, HEIGHT * plots.len().div_ceil(2) as f64, &content)
}

fn one(plot: &Plot, content: &mut String) {
    const LEFT: f64 = 62.0;
    const TOP: f64 = 40.0;
    const RIGHT: f64 = 445.0;
    const BOTTOM: f64 = 290.0;
    let points = || plot.lines.iter().flat_map(|(_, points)| points.iter().copied()).filter(|(x, y)| *x > 0.0 && *y > 0.0);
    let range = |of: fn((f64, f64)) -> f64| {
        let logs = points().map(of).map(f64::log10);
        let (least, most) = logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), log| (a.min(log), b.max(log)));
        (least.floor(), most.ceil().max(least.floor() + 1.0))
    };
    let (xs, ys) = (range(|(x, _)| x), range(|(_, y)| y));
    let at_x = |log: f64| LEFT + (log - xs.0) / (xs.1 - xs.0) * (RIGHT - LEFT);
    let at_y = |log: f64| BOTTOM - (log - ys.0) / (ys.1 - ys.0) * (BOTTOM - TOP);
    let _ = writeln!(content, "<text class=\"t\" x=\"{LEFT}\" y=\"22\">{}</text>", escaped(&plot.title));
    for log in xs.0 as i32..=xs.1 as i32 {
        let x = at_x(f64::from(log));
        let _ = writeln!(
            content,
            "<line class=\"g\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{BOTTOM}\"/><text class=\"s\" x=\"{x:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\">{}</text>",
            BOTTOM + 15.0,
            power(log)
        );
    }
    for log in ys.0 as i32..=ys.1 as i32 {
        let y = at_y(f64::from(log));
        let _ = writeln!(
            content,
            "<line class=\"g\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{RIGHT}\" y2=\"{y:.1}\"/><text class=\"s\" x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\">{}</text>",
            LEFT - 5.0,
            y + 4.0,
            power(log)
        );
    }
    // In proportion: through every decade of the y axis, as far as it is inside.
    for log in (ys.0 - (xs.1 - xs.0)) as i32..ys.1 as i32 {
        let (from, to) = (f64::max(xs.0, xs.0 + ys.0 - f64::from(log)), f64::min(xs.1, xs.0 + ys.1 - f64::from(log)));
        if from < to {
            let y = |x: f64| at_y(f64::from(log) + x - xs.0);
            let _ = writeln!(
                content,
                "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#bbb\" stroke-dasharray=\"2 4\"/>",
                at_x(from),
                y(from),
                at_x(to),
                y(to)
            );
        }
    }
    let _ =
        writeln!(content, "<rect class=\"a\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{}\" height=\"{}\"/>", RIGHT - LEFT, BOTTOM - TOP);
    let _ = writeln!(
        content,
        "<text class=\"s\" x=\"{RIGHT}\" y=\"{}\" text-anchor=\"end\">{}</text>",
        BOTTOM + 32.0,
        escaped(&plot.x)
    );
    let _ = writeln!(content, "<text class=\"s\" x=\"{LEFT}\" y=\"{}\">{}</text>", TOP - 5.0, escaped(&plot.y));
    for (number, (name, points)) in plot.lines.iter().enumerate() {
        let color = COLORS[number % COLORS.len()];
        let drawn: Vec<(f64, f64)> =
            points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0).map(|(x, y)| (at_x(x.log10()), at_y(y.log10()))).collect();
        let path: Vec<String> = drawn.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(content, "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>", path.join(" "));
        for (x, y) in drawn {
            let _ = write!(content, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{color}\"/>");
        }
        let y = TOP + 16.0 + number as f64 * 16.0;
        let _ = writeln!(
            content,
            "<rect x=\"{}\" y=\"{}\" width=\"12\" height=\"4\" fill=\"{color}\"/><text class=\"s\" x=\"{}\" y=\"{y}\">{}</text>",
            LEFT + 8.0,
            y - 6.0,
            LEFT + 25.0,
            escaped(name)
        );
    }
}

fn power(log: i32) -> String {
    match log {
        0..6 => 10_u64.pow(log as u32).to_string(),
        6..9 => format!("{} M", 10_u64.pow(log as u32 - 6)),
        _ => format!("{}", 10_f64.powi(log)),
    }
}
