//! `template.yaml`, and what `sam build` makes of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use super::client::output;
use super::tool::{of_the_project, tool};
use super::unpacked::Unpacked;

/// Lambda's name for the architecture of this machine.
pub(crate) fn architecture() -> &'static str {
    if std::env::consts::ARCH == "aarch64" { "arm64" } else { std::env::consts::ARCH }
}

/// A tool of AWS's at the project's root, without an account, telling nobody.
pub(crate) fn sam(name: &str) -> Command {
    let mut command = Command::new(tool(name));
    command.env("SAM_CLI_TELEMETRY", "0").env("AWS_DEFAULT_REGION", "eu-west-1").env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("AWS_ACCESS_KEY_ID", "nobody").env("AWS_SECRET_ACCESS_KEY", "nothing").current_dir(of_the_project(""));
    // What is released is built already, and other tests are running it.
    if let Some(dist) = std::env::var_os("BOOTSTRAP_TEST_DIST") {
        command.env("BOOTSTRAP_DIST", dist);
    }
    // The make that runs these tests has no part in what SAM's make does.
    command.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("MAKELEVEL");
    command
}

/// A template, read.
pub(crate) struct Template {
    /// Where it is, and beside it what was built.
    folder: PathBuf,
    template: Value,
}

impl Template {
    /// The one in the repository.
    pub(crate) fn source() -> Template {
        Template::read(of_the_project(""))
    }

    /// What `sam build` makes of it for this machine, once for all tests.
    pub(crate) fn built() -> &'static Template {
        static BUILT: OnceLock<Template> = OnceLock::new();
        BUILT.get_or_init(|| {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sam");
            let mut build = sam("sam");
            build.args(["build", "--parameter-overrides", &format!("Architecture={}", architecture()), "--build-dir"]);
            output(build.arg(&folder), b"");
            Template::read(folder)
        })
    }

    fn read(folder: PathBuf) -> Template {
        // Its short forms, such as !Ref, are no plain YAML.
        let code = "import json, sys; from samcli.yamlhelper import yaml_parse; print(json.dumps(yaml_parse(sys.stdin.read())))";
        let text = std::fs::read(folder.join("template.yaml")).unwrap();
        let template = serde_json::from_slice(&output(sam("python").args(["-c", code]), &text)).unwrap();
        Template { folder, template }
    }

    /// The resources of a type, by their names.
    pub(crate) fn resources(&self, kind: &str) -> Vec<(&str, &Value)> {
        let resources = self.template["Resources"].as_object().unwrap();
        resources.iter().filter(|(_, r)| r["Type"] == kind).map(|(name, r)| (name.as_str(), &r["Properties"])).collect()
    }

    /// The condition of each resource of a type.
    pub(crate) fn conditions(&self, kind: &str) -> Vec<&str> {
        let resources = self.template["Resources"].as_object().unwrap().values();
        resources.filter(|r| r["Type"] == kind).map(|r| r["Condition"].as_str().unwrap_or("none")).collect()
    }

    /// What a parameter is where nothing is said.
    pub(crate) fn default_of(&self, parameter: &str) -> &Value {
        &self.template["Parameters"][parameter]["Default"]
    }

    /// Where the files of a resource are.
    pub(crate) fn files(&self, name: &str) -> PathBuf {
        let properties = &self.template["Resources"][name]["Properties"];
        let place = properties["CodeUri"].as_str().or(properties["ContentUri"].as_str());
        self.folder.join(place.unwrap_or_else(|| panic!("{name} has no files: {properties}")))
    }

    /// A function as it is deployed: its files, its layers, and what it is told.
    pub(crate) fn function(&self, name: &str) -> Unpacked {
        let globals = &self.template["Globals"]["Function"];
        let properties = &self.template["Resources"][name]["Properties"];
        let property = |name: &str| if properties[name].is_null() { &globals[name] } else { &properties[name] };
        assert_eq!(property("Runtime"), "provided.al2023");
        let mut unpacked = Unpacked::new(&self.files(name)).env("_HANDLER", property("Handler").as_str().unwrap());
        for layer in property("Layers").as_array().into_iter().flatten() {
            unpacked = unpacked.layer(&self.files(layer["Ref"].as_str().unwrap()));
        }
        unpacked
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", property("MemorySize").to_string())
            .env("AWS_LAMBDA_FUNCTION_TIMEOUT", "300")
            .env("AWS_LAMBDA_LOG_FORMAT", globals["LoggingConfig"]["LogFormat"].as_str().unwrap())
    }
}
