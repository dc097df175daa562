//! Lambda's advanced logging controls: the format, and the least important level.

/// How important a line is; Lambda's own levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Level {
    Trace,
    Debug,
    #[default]
    Info,
    Warn,
    Error,
    Fatal,
}

impl Level {
    const ALL: [Self; 6] = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Fatal];

    /// The name that Lambda gives it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}

/// Lambda's advanced logging controls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// Lines are JSON objects.
    pub json: bool,
    /// The least important of bootstrap's own lines that is written.
    pub level: Level,
}

impl Settings {
    /// Reads `AWS_LAMBDA_LOG_FORMAT` and `AWS_LAMBDA_LOG_LEVEL`, and what is to be warned of: a bad value means the default.
    pub fn from_environment(lookup: impl Fn(&str) -> Option<String>) -> (Self, Vec<String>) {
        let mut warnings = Vec::new();
        let mut settings = Self::default();
        if let Some(value) = lookup("AWS_LAMBDA_LOG_FORMAT").filter(|value| !value.is_empty()) {
            settings.json = value.eq_ignore_ascii_case("json");
            if !settings.json && !value.eq_ignore_ascii_case("text") {
                warnings.push(format!("AWS_LAMBDA_LOG_FORMAT={value:?} is neither JSON nor Text; logging as text"));
            }
        }
        if let Some(value) = lookup("AWS_LAMBDA_LOG_LEVEL").filter(|value| !value.is_empty()) {
            match Level::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(&value)) {
                Some(level) => settings.level = level,
                None => warnings.push(format!(
                    "AWS_LAMBDA_LOG_LEVEL={value:?} is none of TRACE, DEBUG, INFO, WARN, ERROR, FATAL; logging at INFO"
                )),
            }
        }
        (settings, warnings)
    }
}
