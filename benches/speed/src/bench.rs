//! The benchmark: every target under every condition, round by round, each round beginning with another target.
use crate::api::Plan;
use crate::progress::Progress;
use crate::results::{Run, Scenario, TargetRuns, medians};
use crate::run::run;
use crate::targets::{Programs, Target, concurrent, one_at_a_time};

pub(crate) const SIZES: [(&str, &str, usize, usize); 3] =
    [("1kb", "1 KB", 1024, 10_000), ("100kb", "100 KB", 100 * 1024, 1000), ("5.5mb", "5.5 MB", 5632 * 1024, 40)];
const CONCURRENCY: usize = 8;
/// A start takes so little time that a round has several.
const STARTS_A_ROUND: usize = 8;

/// Targets that are to be measured under one condition.
pub(crate) struct Condition {
    pub(crate) key: &'static str,
    pub(crate) name: String,
    pub(crate) rounds: usize,
    pub(crate) targets: Vec<(Target, Plan)>,
}

pub(crate) fn plan(size: usize, events: usize, concurrency: usize) -> Plan {
    let warm_up = (events / 10).clamp(3, 500).max(2 * concurrency);
    Plan { size, events, warm_up, concurrency, spans: &[] }
}

/// `scale` 1 is the whole; with 0.1, each target gets a tenth of the events.
pub(crate) fn conditions(programs: &Programs, rounds: usize, scale: f64) -> Vec<Condition> {
    let share = |events: usize, share: f64| ((events as f64 * share * scale).round() as usize).max(4);
    let mut all = vec![];
    for (number, (key, name, size, events)) in SIZES.into_iter().enumerate() {
        let targets = one_at_a_time(programs).into_iter().filter(|target| target.share[number] > 0.0).map(|target| {
            let plan = plan(size, share(events, target.share[number]), 1);
            (target, plan)
        });
        all.push(Condition { key, name: format!("{name}, one at a time"), rounds, targets: targets.collect() });
    }
    let first = Plan { size: 1024, events: 1, warm_up: 0, concurrency: 1, spans: &[] };
    all.push(Condition {
        key: "start",
        name: "Start to first response, 1 KB".into(),
        rounds: rounds * STARTS_A_ROUND,
        targets: one_at_a_time(programs).into_iter().map(|target| (target, first)).collect(),
    });
    let plan = plan(1024, share(10_000, 1.0), CONCURRENCY);
    all.push(Condition {
        key: "concurrency",
        name: format!("1 KB, {CONCURRENCY} in flight"),
        rounds,
        targets: concurrent(programs, CONCURRENCY).into_iter().map(|target| (target, plan)).collect(),
    });
    all
}

/// A target that fails is reported and left out; the second result says whether any did.
pub(crate) fn measure(conditions: Vec<Condition>) -> (Vec<Scenario>, bool) {
    let mut progress = Progress::new(conditions.iter().map(|c| c.rounds * c.targets.len()).sum());
    let mut failed = false;
    let scenarios = conditions.into_iter().map(|condition| {
        let mut runs: Vec<Vec<Run>> = condition.targets.iter().map(|_| vec![]).collect();
        for round in 0..condition.rounds {
            let part = format!("{}, round {} of {}", condition.name, round + 1, condition.rounds);
            for turn in 0..condition.targets.len() {
                let number = (turn + round) % condition.targets.len();
                let (target, plan) = &condition.targets[number];
                progress.step(&part, target.name);
                match run(target, *plan) {
                    Ok(run) => runs[number].push(run),
                    Err(error) => {
                        failed = true;
                        progress.say(&format!("FAILED  {part}: {error:#}"));
                    }
                }
            }
        }
        let (_, plan) = condition.targets[0];
        let targets = condition.targets.iter().zip(runs).filter(|(_, runs)| !runs.is_empty());
        let targets = targets.map(|((target, plan), runs)| TargetRuns {
            key: target.key.into(),
            name: target.name.into(),
            events: plan.events,
            median: medians(&runs),
            runs,
        });
        Scenario {
            key: condition.key.into(),
            name: condition.name,
            size: plan.size,
            concurrency: plan.concurrency,
            targets: targets.collect(),
        }
    });
    let scenarios = scenarios.collect();
    drop(progress);
    (scenarios, failed)
}
