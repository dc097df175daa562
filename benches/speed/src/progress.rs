//! What is shown while it runs: a bar on a terminal, else a line for each part.
use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};

pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    part: String,
}

impl Progress {
    pub(crate) fn new(steps: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} {percent:>3} %, {eta} left: {msg}");
            ProgressBar::new(steps as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, part: String::new() }
    }

    /// Before each step.
    pub(crate) fn step(&mut self, part: &str, target: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(format!("{part}: {target}"));
                bar.inc(1);
            }
            None if self.part != part => eprintln!("    {part}"),
            None => {}
        }
        self.part = part.to_owned();
    }

    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
