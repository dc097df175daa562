//! Where the programs are.

use std::path::{Path, PathBuf};

/// The binary that is tested.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("BOOTSTRAP_TEST_BINARY").unwrap_or(env!("CARGO_BIN_EXE_bootstrap").into()).into()
}

/// A file that is released, for `x86_64` or `aarch64`.
pub(crate) fn released(name: &str) -> PathBuf {
    let dist = std::env::var_os("BOOTSTRAP_TEST_DIST").map_or_else(|| of_the_project("target/dist"), PathBuf::from);
    there(dist.join(name))
}

/// A program that `make test` installs.
pub(crate) fn tool(name: &str) -> PathBuf {
    let tools = std::env::var_os("PEER_TOOLS").map_or_else(|| of_the_project("target/tools/bin"), PathBuf::from);
    there(tools.join(name))
}

/// The directory with JSONTestSuite's files.
pub(crate) fn suite() -> PathBuf {
    tool("json-test-suite")
}

/// A file in `examples/`.
pub(super) fn example(name: &str) -> PathBuf {
    there(of_the_project("examples").join(name))
}

/// The folder of the naive Java runtime that the Java example is compared with.
pub(crate) fn naive_runtime() -> PathBuf {
    let folder = of_the_project("benches/java-naive");
    there(folder.join("dist"));
    folder
}

pub(crate) fn of_the_project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn there(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is not there: run `make test`, which installs or builds what is missing", path.display());
    path
}
