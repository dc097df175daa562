//! `template.yaml`: AWS's tools find nothing wrong with it, and what `sam build` makes of it runs as it would on Lambda: `/opt` and
//! `/var/task` read-only, a user without rights, and with nothing of the system's but its libraries and `sh`.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use super::support::{Emulator, Example, Peer, Served, Template, Unpacked, answers, architecture, output, sam};
use crate::it_support::{Call, Client, fixture};

#[test]
fn aws_tools_find_nothing_wrong_with_the_template() {
    output(sam("cfn-lint").arg("template.yaml"), b"");
    let told = output(sam("sam").args(["validate", "--lint"]), b"");
    assert!(String::from_utf8_lossy(&told).contains("is a valid SAM Template"));
}

/// The names of all files below a folder, links too.
fn names(folder: &Path) -> BTreeSet<String> {
    let listed = output(std::process::Command::new("find").args([".", "!", "-type", "d"]).current_dir(folder), b"");
    String::from_utf8(listed).unwrap().lines().map(|line| line.trim_start_matches("./").to_owned()).collect()
}

#[test]
fn each_package_has_what_it_needs_and_no_more() {
    let template = Template::built();
    for (resource, files) in [
        ("BootstrapLayer", &["bootstrap"][..]),
        ("GreetFunction", &["hello.sh"]),
        ("AloneFunction", &["bootstrap", "hello.sh"]),
        ("PageFunction", &["page.sh"]),
    ] {
        let folder = template.files(resource);
        assert_eq!(names(&folder), files.iter().map(ToString::to_string).collect(), "{resource}");
        for file in files {
            let mode = std::fs::metadata(folder.join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o755, "{resource}: {file}");
        }
    }
    let orders = names(&template.files("OrdersFunction"));
    assert!(orders.contains("dist/bin/executable") && orders.iter().all(|name| name.starts_with("dist/")), "{orders:?}");
}

#[test]
fn each_function_may_write_to_its_own_logs_and_send_traces_and_no_more() {
    let template = Template::source();
    let functions = template.resources("AWS::Serverless::Function");
    let roles = template.resources("AWS::IAM::Role");
    let groups = template.resources("AWS::Logs::LogGroup");
    assert_eq!((functions.len(), roles.len(), groups.len()), (4, 4, 4));
    for (name, function) in functions {
        let own = name.strip_suffix("Function").unwrap();
        // Where a role is given, SAM makes none, and attaches no managed policy.
        assert_eq!(function["Role"], json!({"Fn::GetAtt": [format!("{own}Role"), "Arn"]}), "{name}");
        assert_eq!(function["LoggingConfig"]["LogGroup"], json!({"Ref": format!("{own}Logs")}), "{name}");
        let (_, group) = groups.iter().find(|(name, _)| *name == format!("{own}Logs")).unwrap();
        let (_, role) = roles.iter().find(|(name, _)| *name == format!("{own}Role")).unwrap();
        assert_eq!(group["RetentionInDays"], json!({"Ref": "LogRetentionDays"}), "{name}");
        assert!(role.get("ManagedPolicyArns").is_none(), "{role}");
        let statements = json!([
            {
                "Effect": "Allow",
                "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                "Resource": {"Fn::GetAtt": [format!("{own}Logs"), "Arn"]},
            },
            {"Effect": "Allow", "Action": ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "Resource": "*"},
        ]);
        assert_eq!(role["Policies"].as_array().unwrap().len(), 1, "{role}");
        assert_eq!(role["Policies"][0]["PolicyDocument"]["Statement"], statements, "{name}");
    }
}

#[test]
fn the_page_is_open_to_everybody_only_where_that_is_asked_for() {
    let template = Template::source();
    assert_eq!(template.default_of("PageAuthType"), "AWS_IAM");
    let functions = template.resources("AWS::Serverless::Function");
    let (_, page) = functions.iter().find(|(name, _)| *name == "PageFunction").unwrap();
    assert_eq!(page["FunctionUrlConfig"], json!({"AuthType": {"Ref": "PageAuthType"}, "InvokeMode": "RESPONSE_STREAM"}));
    assert_eq!(template.conditions("AWS::Lambda::Permission"), ["PageIsOpen", "PageIsOpen"]);
}

/// Starts a function of the template, with little memory.
fn unpacked(name: &str) -> Emulator {
    Template::built().function(name).with_little_memory().start()
}

/// It answers events again and again, and one that is long.
#[track_caller]
fn says_hello(mut emulator: Emulator) {
    for _ in 0..2 {
        let answer = emulator.invoke(Example::Hello.event().as_bytes());
        Example::Hello.answered(&answer);
    }
    let event = format!("\"{}\"", "x".repeat(1 << 20));
    emulator.invoke(event.as_bytes()).is(format!("{{\"hello\":{event}}}"));
}

#[test]
fn the_shell_function_answers_with_bootstrap_from_the_layer() {
    says_hello(unpacked("GreetFunction"));
}

#[test]
fn the_function_without_a_layer_answers_with_the_bootstrap_next_to_it() {
    says_hello(unpacked("AloneFunction"));
}

#[test]
fn a_bootstrap_next_to_the_code_goes_before_one_in_a_layer() {
    let function = Template::built().function("AloneFunction").with_little_memory();
    says_hello(function.in_layer("bootstrap", 0o755, "#!/bin/sh\nexit 7\n").start());
}

/// A Java virtual machine reserves more than 128 MB of addresses, whatever it uses of them.
#[test]
fn the_java_function_answers_and_refuses() {
    let mut emulator = Template::built().function("OrdersFunction").start();
    answers(&mut emulator, Example::Java);
    emulator.run().wait_log(Emulator::NAME, r#""message":"priced an order for "#);
}

/// The emulator can't stream; it hands the whole page over at its end.
#[test]
fn the_page_is_whole_under_the_emulator() {
    let mut emulator = unpacked("PageFunction");
    let answer = emulator.invoke(br#"{"rawQueryString":"n=12,91"}"#);
    let page =
        "<!DOCTYPE html><title>Factors</title><h1>Factors</h1><table>\n<tr><td>12<td>2 × 2 × 3\n<tr><td>91<td>7 × 13\n</table>\n";
    let prelude =
        r#"{"statusCode":200,"headers":{"cache-control":"no-store","content-type":"text/html; charset=utf-8"},"cookies":[]}"#;
    answer.is(format!("{prelude}\0\0\0\0\0\0\0\0{page}"));
    emulator.run().wait_log(Emulator::NAME, ": 91 is done");
}

/// `bootstrap serve` can: the package's own file, with the package's own handler.
#[test]
fn the_page_is_streamed_by_serve() {
    let served = Served::of(Template::built().files("PageFunction").join("page.sh"), "function");
    let reply = Client::connect(served.address()).call(&Call::new("GET", "/?n=12%2C91"));
    assert_eq!((reply.status, reply.header("transfer-encoding")), (200, Some("chunked")), "{reply}");
    assert!(String::from_utf8_lossy(&reply.body).contains("<tr><td>91<td>7 × 13\n"), "{reply}");
    served.end();
}

/// What the others rely on.
#[test]
fn an_unpacked_function_may_write_to_tmp_alone() {
    let layer = Template::built().files("BootstrapLayer");
    let task = fixture("sandbox");
    let function = Unpacked::new(&task).layer(&layer).env("_HANDLER", "probe.sh").env("BOOTSTRAP_MODE", "oneshot");
    let mut emulator = function.env("AWS_LAMBDA_FUNCTION_TIMEOUT", "300").with_little_memory().start();
    let answer: Value = serde_json::from_slice(&emulator.invoke(b"{}").body).unwrap();
    let told = [
        "Uid: 993",
        "CapEff: 0000000000000000",
        "NoNewPrivs: 1",
        "writable: /tmp",
        "programs: /usr/bin/bash /usr/bin/sh",
        "directory: /var/task",
        "address space: 131072 kB",
    ];
    assert_eq!(answer, told.join("\n"));
}

/// `sam build` of one resource for the other architecture, with released binaries that stand for themselves.
fn built_for_the_other_architecture(resource: &str, folder: &Path) -> std::process::Output {
    let (other, dist) = (if architecture() == "arm64" { "x86_64" } else { "arm64" }, folder.join("dist"));
    std::fs::create_dir(&dist).unwrap();
    for machine in ["x86_64", "aarch64"] {
        std::fs::write(dist.join(format!("bootstrap-{machine}")), machine.replace("aarch64", "arm64")).unwrap();
    }
    let mut build = sam("sam");
    build.args(["build", resource, "--parameter-overrides", &format!("Architecture={other}"), "--build-dir"]);
    let built = build.arg(folder.join("build")).env("BOOTSTRAP_DIST", dist).output().unwrap();
    if built.status.success() {
        let binary = folder.join("build").join(resource).join("bootstrap");
        assert_eq!(std::fs::read_to_string(binary).unwrap(), other);
    }
    built
}

#[test]
fn the_parameter_architecture_chooses_the_binary() {
    for resource in ["BootstrapLayer", "AloneFunction"] {
        let folder = tempfile::tempdir().unwrap();
        let built = built_for_the_other_architecture(resource, folder.path());
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    }
}

/// What SAM's make would do in the folder of an architecture.
#[test]
fn bootstrap_is_built_for_that_architecture_where_no_released_one_is_named() {
    for (architecture, machine) in [("x86_64", "x86_64"), ("arm64", "aarch64")] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sam").join(architecture);
        let mut make = std::process::Command::new("make");
        make.args(["--dry-run", "--makefile", "../Makefile", "build-BootstrapLayer", "ARTIFACTS_DIR=/layer"]).current_dir(folder);
        let told = output(
            make.env_remove("BOOTSTRAP_DIST").env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env_remove("CARGO_TARGET_DIR"),
            b"",
        );
        let told = String::from_utf8(told).unwrap();
        assert!(told.contains(&format!(".ci/dist {machine}\n")), "{told}");
        assert!(told.ends_with(&format!("/target/dist/bootstrap-{machine} /layer/bootstrap\n")), "{told}");
    }
}

#[test]
fn a_java_image_for_another_architecture_is_refused_and_the_reason_told() {
    let folder = tempfile::tempdir().unwrap();
    let built = built_for_the_other_architecture("OrdersFunction", folder.path());
    let told = String::from_utf8_lossy(&built.stderr);
    assert!(!built.status.success() && told.contains("jlink makes an image for the processor it runs on"), "{told}");
}
