//! The image of the Dockerfile, run as Lambda and as Docker would.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::support::{Answer, Container, Example, Image, Peer, client, goes_on_after, of_the_project, output};

/// All that is in a folder, with the path from there, in order.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
            found.push(entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
        }
    }
    found.sort();
    found
}

#[test]
fn in_lambda_the_image_is_the_function() {
    let mut emulator = Image::built().in_lambda();
    goes_on_after(&mut emulator, Example::Java);
    let (event, error_type, _) = Example::Java.wrong_event().unwrap();
    emulator.fails(event.as_bytes(), error_type);
    goes_on_after(&mut emulator, Example::Java);
}

#[test]
fn without_lambda_the_image_serves_the_function_to_whoever_reaches_it() {
    let mut container = Image::built().run(None);
    container.wait_log("is at http://");
    let mut aws = client("aws", container.dir());
    aws.args(["lambda", "invoke", "--region", "us-east-1", "--endpoint-url", &Container::endpoint()]);
    aws.args(["--function-name", "function", "--payload", Example::Java.event(), "out.json"]);
    output(&mut container.beside(&aws), b"");
    let body = std::fs::read(container.dir().join("out.json")).unwrap();
    Example::Java.answered(&Answer { status: 200, body });

    // With `docker run -p 9000:8080` a client outside knows this host and port, and the container has never heard of them.
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--data", Example::Java.event(), "--header", "Host: localhost:9000"]);
    curl.arg(format!("{}/2015-03-31/functions/function/invocations", Container::endpoint()));
    curl.env("PATH", std::env::var_os("PATH").unwrap());
    let body = output(&mut container.beside(&curl), b"");
    Example::Java.answered(&Answer { status: 200, body });
}

#[test]
fn the_image_takes_the_other_commands_of_bootstrap() {
    let invoke = ["invoke", "--event", Example::Java.event()];
    let said = Image::built().run(Some(&invoke)).ends_with(0);
    assert!(said.contains(r#""tax":7.58,"total":47.48}"#), "{said}");
    let said = Image::built().run(Some(&["dist/bin/executable"])).ends_with(2);
    assert!(said.contains("`dist/bin/executable` is no subcommand") && said.contains("bootstrap serve -- "), "{said}");
}

#[test]
fn the_image_says_what_it_starts_and_where_it_listens() {
    let image = Image::built();
    let config = image.config();
    assert_eq!(config["Entrypoint"], json!(["/var/runtime/bootstrap"]));
    assert_eq!(config["Cmd"], json!(["serve", "--listen", "0.0.0.0:8080"]));
    assert_eq!(config["WorkingDir"], "/var/task");
    assert_eq!(config["ExposedPorts"], json!({"8080/tcp": {}}));
    // Lambda gives it a user.
    assert_eq!(config["User"].as_str().unwrap_or_default(), "");
    let labels = &config["Labels"];
    assert_eq!(labels["org.opencontainers.image.title"], "orders");
    assert!(labels["org.opencontainers.image.base.name"].as_str().unwrap().starts_with("localhost/base:"), "{labels}");
    let mut variables: Vec<_> = config["Env"].as_array().unwrap().iter().map(|variable| variable.as_str().unwrap()).collect();
    variables.retain(|variable| variable.contains("/var/task") || variable.contains("BOOTSTRAP") || variable.contains("CARGO"));
    variables.retain(|variable| !variable.starts_with("LD_LIBRARY_PATH="));
    assert_eq!(variables, ["LAMBDA_TASK_ROOT=/var/task", "BOOTSTRAP_COMMAND=dist/bin/executable"]);
}

#[test]
fn bootstrap_and_the_function_are_all_that_the_image_adds_to_its_base() {
    let image = Image::built();
    let function = files(&of_the_project("examples/java-jlink/dist"));
    assert!(function.iter().any(|file| file == "lib/server/classes.jsa"), "{function:?}");
    let mut wanted: Vec<_> = function.iter().map(|file| format!("var/task/dist/{file}")).collect();
    wanted.extend(["var/runtime", "var/runtime/bootstrap", "var/task", "var/task/dist"].map(str::to_owned));
    wanted.sort();
    assert_eq!(image.added(), wanted);

    // Whoever runs it, it can be read by all, written by none but root, and executed where it should be.
    for path in &wanted {
        let file = image.root().join(path).symlink_metadata().unwrap();
        assert_eq!((file.uid(), file.gid()), (0, 0), "{path}");
        if !file.is_symlink() {
            let executable = file.is_dir() || path.ends_with("/bootstrap") || path.contains("/bin/");
            let mode = file.mode() & 0o7777;
            assert!(mode & 0o444 == 0o444 && mode & 0o022 == 0, "{path} has mode {mode:o}");
            assert!(!executable || mode & 0o111 == 0o111, "{path} has mode {mode:o}");
        }
    }
}

#[test]
fn the_image_is_built_from_the_sources_and_a_change_of_theirs_leaves_the_dependencies_alone() {
    let log = Image::built().log();
    let (before, after) = log.split_once("COPY src src").unwrap();
    let compiled = |text: &str| text.lines().filter(|line| line.trim_start().starts_with("Compiling ")).count();
    assert!(compiled(before) > 50, "{log}");
    let (bootstrap, java) = after.split_once("AS jdk").unwrap();
    assert!(compiled(bootstrap) == 1 && bootstrap.contains("Compiling bootstrap "), "{log}");
    // A dist/ that lies about would have been taken in place of this.
    assert!(java.contains("bin/jlink ") && java.contains("-Xshare:dump"), "{log}");
}
