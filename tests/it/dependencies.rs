use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Name and version of each crate that is linked, our own aside.
fn linked() -> BTreeSet<(String, String)> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--locked", "--prefix", "none", "--format", "{p}", "-e", "normal,no-proc-macro"]);
    cargo.args(["--target", "x86_64-unknown-linux-gnu", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    let tree = cargo.output().unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let lines = String::from_utf8(tree.stdout).unwrap();
    let crates = lines.lines().filter_map(|line| {
        let (name, rest) = line.split_once(" v")?;
        Some((name.to_owned(), rest.split(' ').next()?.to_owned()))
    });
    crates.filter(|(name, _)| name != "bootstrap").collect()
}

/// The part of a version that says what is compatible: 1 of 1.2.3, and 0.2 of 0.2.3.
fn compatible(version: &str) -> String {
    let parts: Vec<&str> = version.split('.').collect();
    parts[..parts.iter().position(|part| *part != "0").unwrap_or(0) + 1].join(".")
}

#[test]
fn the_list_of_crates_in_the_binary_is_whole_and_has_no_other() {
    let text = include_str!("../../docs/dependencies.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let mut listed: Vec<String> = rows.flat_map(|row| row.split(", ").map(|name| name.trim_matches('`').to_owned())).collect();
    listed.sort();

    let crates = linked();
    let mut versions = BTreeMap::<&str, usize>::new();
    for (name, _) in &crates {
        *versions.entry(name).or_default() += 1;
    }
    let mut expected: Vec<String> = crates
        .iter()
        .map(|(name, version)| if versions[name.as_str()] == 1 { name.clone() } else { format!("{name}@{}", compatible(version)) })
        .collect();
    expected.sort();
    let missing: Vec<_> = expected.iter().filter(|name| !listed.contains(name)).collect();
    let surplus: Vec<_> = listed.iter().filter(|name| !expected.contains(name)).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "docs/dependencies.md: missing are {missing:?}, too many are {surplus:?}");
    assert_eq!(listed, expected, "each once");
    let sentence = format!("links {} crates besides its own", crates.len());
    assert!(text.contains(&sentence), "docs/dependencies.md does not say: {sentence}");
}

/// What is fuzzed is what is shipped: the fuzz targets' lock file, which cargo fills by itself, has each crate in the same version.
#[test]
fn the_fuzz_targets_use_the_same_versions() {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/Cargo.lock")).unwrap();
    let other: Vec<_> = linked()
        .into_iter()
        .filter(|(name, version)| !lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")))
        .collect();
    assert!(
        other.is_empty(),
        "fuzz/Cargo.lock has other versions of {other:?}; copy Cargo.lock over it and run `cargo metadata` in fuzz/"
    );
}
