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

/// The names in backticks that look like `module::a_test`, where a module is a file of `tests/it`.
#[test]
fn each_test_that_the_page_names_is_there() {
    let page = include_str!("../../docs/trust.md");
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let mut count = 0;
    for quoted in page.split('`').skip(1).step_by(2) {
        let Some((module, name)) = quoted.split_once("::") else { continue };
        if !module.split('/').all(is_name) || !is_name(name) {
            continue;
        }
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(module).with_extension("rs");
        let source =
            std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("docs/trust.md names {quoted}: {}: {e}", file.display()));
        assert!(source.contains(&format!("#[test]\nfn {name}() {{")), "docs/trust.md names {quoted}, which is no test");
        count += 1;
    }
    assert!(count > 50, "{count} names were found");
}
