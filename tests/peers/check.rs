//! `bootstrap check` on the example that has to be built first.

use std::process::Command;

use super::support::Example;
use crate::it_support::{binary, path};

#[test]
fn the_java_example_keeps_every_rule() {
    let check = Command::new(binary())
        .args(["check", "--timeout", "60", "--stop-grace-ms", "60000", "--event", Example::Java.event(), "--"])
        .arg(Example::Java.command())
        .env("PATH", path())
        .output()
        .unwrap();
    let (report, log) = (String::from_utf8_lossy(&check.stdout), String::from_utf8_lossy(&check.stderr));
    assert!(check.status.success() && report.contains(" 27 kept, 0 broken, 1 not applicable"), "{report}\n{log}");
}
