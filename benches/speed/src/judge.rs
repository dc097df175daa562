//! The targets, and whether they are met.
use crate::results::{Results, Run, Scenario};

/// A figure as a ratio of medians, beside one peer, or as it is; with what it must be and what it should be.
struct Rule {
    figure: &'static str,
    scenario: &'static str,
    /// The peer; none: the figure itself.
    beside: Option<(&'static str, &'static str)>,
    /// At most, or with `at_least` at least.
    must: f64,
    aim: f64,
    at_least: bool,
    of: fn(&Run) -> f64,
}

const FLOOR: Option<(&str, &str)> = Some(("floor", "the floor"));
const IN_PROCESS: Option<(&str, &str)> = Some(("in_process", "`lambda_runtime`"));
const WEB: Option<(&str, &str)> = Some(("web_adapter", "the Web Adapter"));

pub(crate) fn whole_processor(run: &Run) -> f64 {
    run.processor + run.handler_processor
}

const fn rule(
    figure: &'static str,
    scenario: &'static str,
    beside: Option<(&'static str, &'static str)>,
    (must, aim): (f64, f64),
    of: fn(&Run) -> f64,
) -> Rule {
    Rule { figure, scenario, beside, must, aim, at_least: false, of }
}

const RULES: [Rule; 16] = [
    rule("1 KB p50", "1kb", FLOOR, (1.65, 1.50), |r| r.p50),
    rule("1 KB p50", "1kb", IN_PROCESS, (0.95, 0.85), |r| r.p50),
    rule("1 KB p50", "1kb", WEB, (0.34, 0.30), |r| r.p50),
    rule("1 KB p99", "1kb", IN_PROCESS, (0.60, 0.45), |r| r.p99),
    rule("processor time at 1 KB, runtime and handler", "1kb", IN_PROCESS, (0.75, 0.62), whole_processor),
    rule("processor time at 1 KB, runtime and handler", "1kb", WEB, (0.36, 0.29), whole_processor),
    rule("100 KB p50", "100kb", FLOOR, (1.90, 1.45), |r| r.p50),
    rule("100 KB p50", "100kb", IN_PROCESS, (0.70, 0.55), |r| r.p50),
    rule("100 KB p50", "100kb", WEB, (0.08, 0.06), |r| r.p50),
    rule("5.5 MB p50", "5.5mb", FLOOR, (1.60, 1.30), |r| r.p50),
    rule("5.5 MB p50", "5.5mb", IN_PROCESS, (0.85, 0.70), |r| r.p50),
    rule("5.5 MB p50", "5.5mb", WEB, (0.11, 0.09), |r| r.p50),
    rule("peak resident memory at 1 KB, MiB", "1kb", None, (3.5, 2.6), |r| r.memory),
    rule("peak resident memory after 5.5 MB, MiB", "5.5mb", None, (18.0, 15.0), |r| r.memory),
    rule("start to first response", "start", WEB, (0.65, 0.55), |r| r.first_response),
    Rule { at_least: true, ..rule("throughput with 8 in flight", "concurrency", IN_PROCESS, (1.0, 1.3), |r| 1e6 / r.cycle) },
];
/// The static file in MB, which is 10⁶ bytes.
const FILE: (f64, f64) = (3.0, 2.5);

pub(crate) struct Verdict {
    pub(crate) figure: &'static str,
    pub(crate) beside: &'static str,
    pub(crate) value: f64,
    pub(crate) must: f64,
    pub(crate) aim: f64,
    pub(crate) at_least: bool,
}

impl Verdict {
    /// What is missing to be met, as a share of the limit; negative where there is room.
    fn excess(&self, limit: f64) -> f64 {
        if self.at_least { limit / self.value - 1.0 } else { self.value / limit - 1.0 }
    }

    pub(crate) fn missed(&self) -> bool {
        self.excess(self.must) > 0.0
    }

    pub(crate) fn text(&self) -> String {
        match self {
            _ if self.missed() => format!("**missed by {:.1} %**", self.excess(self.must) * 100.0),
            _ if self.excess(self.aim) > 0.0 => "met".into(),
            _ => "aim met".into(),
        }
    }
}

/// Whatever can be judged by what was measured.
pub(crate) fn judge(results: &Results) -> Vec<Verdict> {
    let value = |rule: &Rule, scenario: &Scenario| {
        let own = (rule.of)(scenario.median("bootstrap")?);
        Some(match rule.beside {
            Some((peer, _)) => own / (rule.of)(scenario.median(peer)?),
            None => own,
        })
    };
    let rules = RULES.iter().filter_map(|rule| Some((rule, value(rule, results.scenario(rule.scenario)?)?)));
    let mut verdicts: Vec<Verdict> = rules
        .map(|(rule, value)| Verdict {
            figure: rule.figure,
            beside: rule.beside.map_or("", |(_, name)| name),
            value,
            must: rule.must,
            aim: rule.aim,
            at_least: rule.at_least,
        })
        .collect();
    let value = results.static_bytes as f64 / 1e6;
    verdicts.push(Verdict { figure: "the static file, MB", beside: "", value, must: FILE.0, aim: FILE.1, at_least: false });
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_says_whether_the_limit_or_the_aim_is_met_and_by_how_much_it_is_missed() {
        let text = |value, at_least| {
            let (must, aim) = if at_least { (1.0, 1.3) } else { (1.0, 0.5) };
            Verdict { figure: "", beside: "", value, must, aim, at_least }.text()
        };
        assert_eq!([0.5, 0.6, 1.0, 1.1].map(|value| text(value, false)), ["aim met", "met", "met", "**missed by 10.0 %**"]);
        assert_eq!([1.3, 1.0, 0.5].map(|value| text(value, true)), ["aim met", "met", "**missed by 100.0 %**"]);
    }
}
