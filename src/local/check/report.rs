//! The verdicts, for people and for scripts.

use std::fmt::Write as _;

use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;

use super::rules::{Rule, Verdict};

/// The verdicts in the order of the rules.
#[derive(Debug)]
pub struct Report {
    /// Each rule and what it says.
    pub verdicts: Vec<(Rule, Verdict)>,
}

/// The JSON form. `--help` documents it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    kept: usize,
    broken: usize,
    does_not_apply: usize,
    rules: Vec<JsonRule<'a>>,
}

#[derive(Serialize)]
struct JsonRule<'a> {
    id: &'static str,
    rule: &'static str,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    came: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<&'static str>,
}

/// The column in which sentences begin.
const INDENT: usize = 26;

impl Report {
    /// How many rules are kept, broken, and do not apply.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |wanted: fn(&Verdict) -> bool| self.verdicts.iter().filter(|(_, verdict)| wanted(verdict)).count();
        (
            count(|verdict| matches!(verdict, Verdict::Kept(_))),
            count(|verdict| matches!(verdict, Verdict::Broken { .. })),
            count(|verdict| matches!(verdict, Verdict::DoesNotApply(_))),
        )
    }

    /// A line a rule, with three more for one that is broken, and a line of counts.
    pub fn text(&self, colours: bool) -> String {
        let mut text = String::new();
        for (Rule { id, sentence, mend, .. }, verdict) in &self.verdicts {
            let (word, colour) = match verdict {
                Verdict::Kept(_) => ("kept", AnsiColor::Green),
                Verdict::Broken { .. } => ("broken", AnsiColor::Red),
                Verdict::DoesNotApply(_) => ("-", AnsiColor::BrightBlack),
            };
            let style = if colours { colour.on_default() } else { Style::new() };
            let _ = write!(text, "{style}{word:<7}{style:#} {id:<17} {sentence}");
            let _ = match verdict {
                Verdict::Kept(None) => writeln!(text),
                Verdict::Kept(Some(note)) => writeln!(text, " ({})", note.replace(char::is_control, " ")),
                Verdict::DoesNotApply(why) => writeln!(text, " ({why})"),
                Verdict::Broken { sent, came } => {
                    // A handler's words may hold what would move a terminal's cursor.
                    let came = came.replace(char::is_control, " ");
                    writeln!(text, "\n{:INDENT$}sent  {sent}\n{:INDENT$}came  {came}\n{:INDENT$}mend  {mend}", "", "", "")
                }
            };
        }
        let (kept, broken, does_not_apply) = self.counts();
        let _ = writeln!(text, "\n{} rules: {kept} kept, {broken} broken, {does_not_apply} not applicable", self.verdicts.len());
        text
    }

    /// One JSON object.
    pub fn json(&self) -> String {
        let (kept, broken, does_not_apply) = self.counts();
        let rules = self.verdicts.iter().map(|(rule, verdict)| JsonRule::new(rule, verdict)).collect();
        // Texts and numbers can't fail to serialise.
        serde_json::to_string(&Json { kept, broken, does_not_apply, rules }).unwrap_or_default() + "\n"
    }
}

impl<'a> JsonRule<'a> {
    fn new(rule: &Rule, verdict: &'a Verdict) -> Self {
        let (id, sentence) = (rule.id, rule.sentence);
        let plain = JsonRule { id, rule: sentence, verdict: "kept", note: None, sent: None, came: None, mend: None };
        match verdict {
            Verdict::Kept(note) => JsonRule { note: note.as_deref(), ..plain },
            Verdict::DoesNotApply(why) => JsonRule { verdict: "doesNotApply", note: Some(why), ..plain },
            Verdict::Broken { sent, came } => {
                JsonRule { verdict: "broken", sent: Some(sent), came: Some(came), mend: Some(rule.mend), ..plain }
            }
        }
    }
}
