//! Tests against programs that are not ours: the real binary and the examples under AWS's own emulator and under
//! cargo-lambda, called by AWS's own clients and by a browser; and tests of the files that are released.
//!
//! `make test` installs these programs and builds the examples; a test that misses one of them fails and says so. Their
//! place is `target/tools/bin`, or what `PEER_TOOLS` names; that of the released files `target/dist`, or what `BOOTSTRAP_TEST_DIST` names. `TEST_PATIENCE_MS` and `BOOTSTRAP_TEST_BINARY` mean what they
//! mean in `tests/it.rs`.

// A test that can't go on panics; that is what unwrap says.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

/// The harness of the black-box tests; what is of use here, too.
#[path = "it/support/mod.rs"]
#[allow(dead_code, unused_imports)]
mod it_support;

mod peers {
    /// The emulator, cargo-lambda, the examples, and what is told of them to each. No tests.
    pub(crate) mod support;

    /// Chromium opens the function URL.
    mod browser;
    /// cargo-lambda, whose API is at a path and whose deadline is in 1970.
    mod cargo_lambda;
    /// `bootstrap check` on the Java example.
    mod check;
    /// The AWS CLI and boto3 call the emulator, as users do.
    mod clients;
    /// A JSON parsing test suite.
    mod conformance;
    /// The README's commands that deploy.
    mod deploying;
    /// The files that are released.
    mod dist;
    /// AWS's Runtime Interface Emulator.
    mod emulator;
    /// What is left of the Java example where bootstrap is killed.
    mod endings;
    /// The image of the Dockerfile.
    mod image;
    /// Bootstrap in one layer, and what others bring.
    mod layers;
    /// The Java example's deployment package, and the naive runtime that it is compared with.
    mod package;
    /// What `sam build` makes of `template.yaml`, as Lambda unpacks it.
    mod sam;
    /// The AWS CLI, boto3 and curl call `bootstrap serve`.
    mod serve;
    /// `bootstrap serve` beside the emulator: what is the same, and what is known to differ.
    mod side_by_side;
}
