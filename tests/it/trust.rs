use std::path::Path;

/// All sources under a directory.
fn sources(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![std::fs::read_to_string(path).unwrap()] }).collect()
}

#[test]
fn the_unsafe_code_is_counted_and_each_of_it_is_argued_for() {
    let (mut count, mut arguments) = (0, 0);
    for source in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        count += code.map(|line| line.matches("unsafe {").count() + line.matches("unsafe impl").count()).sum::<usize>();
        arguments += source.matches("// SAFETY: ").count();
    }
    assert_eq!(arguments, count, "an argument for each");
    let sentence = format!("There are {count} `unsafe` blocks and implementations");
    assert!(include_str!("../../docs/trust.md").contains(&sentence), "docs/trust.md does not say: {sentence}");
}
