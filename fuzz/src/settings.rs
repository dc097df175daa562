//! The settings of section 8. The input is one `NAME=value` a line.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use bootstrap::config::{Config, Environment, Readiness, SETTINGS, near_misses};
use bootstrap::fault::Fault;
use bootstrap::log;
use bootstrap::protocol::conversation::Mode;

/// An environment.
#[derive(Debug)]
pub struct Variables(pub Vec<(OsString, OsString)>);

impl Environment for Variables {
    fn get(&self, name: &str) -> Option<OsString> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
    }

    fn names(&self) -> Vec<OsString> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }
}

/// Reads the settings, and holds each against its rule.
pub fn check(data: &[u8]) {
    let mut variables = Vec::new();
    for line in data.split(|byte| *byte == b'\n') {
        if let Some(at) = line.iter().position(|byte| *byte == b'=') {
            variables.push((OsStr::from_bytes(&line[..at]).to_owned(), OsStr::from_bytes(&line[at + 1..]).to_owned()));
        }
    }
    let variables = Variables(variables);

    for warning in near_misses(&variables) {
        // A name may hold spaces, so it is found by what follows it.
        let name = warning.split(" is not a setting of bootstrap; did you mean ").next().unwrap_or_default();
        assert!(name.starts_with("BOOTSTRAP_") && !SETTINGS.contains(&name), "{warning}");
        assert!(variables.0.iter().any(|(found, _)| found == name), "{warning}");
    }
    let (_, warnings) = log::Settings::from_environment(|name| variables.get(name)?.into_string().ok());
    assert!(warnings.len() <= 2);

    match (Config::new(&variables, &["handler".into()]), reference(&variables)) {
        (Ok(config), Some(expected)) => {
            let found = Expected {
                mode: config.mode,
                readiness: config.readiness,
                init_timeout: config.init_timeout,
                deadline_margin: config.deadline_margin,
                max_restarts: config.max_restarts,
                concurrency: config.concurrency,
                stop_grace: config.stop_grace,
                graceful_shutdown: config.graceful_shutdown,
                snap_start: config.snap_start,
            };
            assert_eq!(found, expected);
            assert!(!config.command.words.is_empty() && config.task_root.is_absolute());
        }
        (Err(Fault::InvalidConfiguration(why)), None) => {
            let names = SETTINGS.iter().chain(&["_HANDLER"]);
            assert!(names.into_iter().any(|name| why.starts_with(&format!("{name}=\""))), "{why}");
        }
        // Whether a command splits is the target `commands`' to judge.
        (Err(Fault::InvalidConfiguration(why)), Some(_)) => {
            assert!(why.starts_with("BOOTSTRAP_COMMAND=") || why.starts_with("_HANDLER="), "{why}");
        }
        (found, expected) => panic!("{found:?}, not {expected:?}"),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Expected {
    mode: Mode,
    readiness: Readiness,
    init_timeout: Duration,
    deadline_margin: Option<Duration>,
    max_restarts: u32,
    concurrency: u32,
    stop_grace: Duration,
    graceful_shutdown: bool,
    snap_start: bool,
}

fn reference(variables: &Variables) -> Option<Expected> {
    // Empty is the default; what is not UTF-8 is not allowed.
    let text = |name: &str| match variables.get(name).map(OsString::into_string) {
        None => Some(None),
        Some(Ok(value)) if value.is_empty() => Some(None),
        Some(Ok(value)) => Some(Some(value)),
        Some(Err(_)) => None,
    };
    let number = |name: &str, least: u128, most: u128| match text(name)? {
        None => Some(None),
        Some(value) => {
            let digits = Some(value).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()))?;
            let number = digits.parse::<u128>().ok().filter(|number| (least..=most).contains(number))?;
            Some(Some(u32::try_from(number).expect("it is in a range")))
        }
    };
    let milliseconds = |number: u32| Duration::from_millis(number.into());
    let of_lambda = |name: &str| text(name).flatten();

    let mode = match text("BOOTSTRAP_MODE")?.as_deref() {
        None | Some("jsonl") => Mode::JsonLines,
        Some("filter") => Mode::Filter,
        Some("oneshot") => Mode::OneShot,
        Some(_) => return None,
    };
    let readiness = match (text("BOOTSTRAP_READY")?.as_deref(), mode) {
        (None | Some("auto" | "message" | "none"), Mode::OneShot) | (Some("none"), _) | (None, Mode::Filter) => Readiness::None,
        (None | Some("auto"), _) => Readiness::Auto,
        (Some("message"), _) => Readiness::Message,
        (Some(_), _) => return None,
    };
    let initialization = of_lambda("AWS_LAMBDA_INITIALIZATION_TYPE");
    let on_demand = matches!(initialization.as_deref(), None | Some("on-demand"));
    let slots = of_lambda("AWS_LAMBDA_MAX_CONCURRENCY").filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    // Digits that are too many for any integer are very many all the same.
    let slots = slots.map_or(1, |digits| digits.parse::<u128>().unwrap_or(u128::MAX).clamp(1, 1000));
    let graceful_shutdown = match text("BOOTSTRAP_GRACEFUL_SHUTDOWN")?.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return None,
    };
    Some(Expected {
        mode,
        readiness,
        init_timeout: milliseconds(number("BOOTSTRAP_INIT_TIMEOUT_MS", 1, 900_000)?.unwrap_or(if on_demand {
            9000
        } else {
            120_000
        })),
        deadline_margin: number("BOOTSTRAP_DEADLINE_MARGIN_MS", 0, 60_000)?.map(milliseconds),
        max_restarts: number("BOOTSTRAP_MAX_RESTARTS", 1, 1000)?.unwrap_or(10),
        concurrency: number("BOOTSTRAP_CONCURRENCY", 1, 1000)?.unwrap_or(u32::try_from(slots).expect("it is at most 1000")),
        stop_grace: milliseconds(number("BOOTSTRAP_STOP_GRACE_MS", 0, 60_000)?.unwrap_or(200)),
        graceful_shutdown,
        snap_start: initialization.as_deref() == Some("snap-start"),
    })
}
