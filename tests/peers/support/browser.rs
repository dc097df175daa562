//! Chromium without a window, driven by ChromeDriver.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::it_support::{Call, Client, Reply, eventually};

/// It opens what it is told, looks up no other hosts, and leaves nothing of the user's touched.
const ARGUMENTS: [&str; 8] = [
    "--headless",
    // As root it has none; the one page that it opens is ours.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A browser with one page. It ends with this value.
pub(crate) struct Browser {
    /// The leader of a process group, which the browser is in.
    driver: Child,
    dir: TempDir,
    address: SocketAddr,
    session: String,
}

impl Browser {
    #[track_caller]
    pub(crate) fn start() -> Browser {
        let dir = tempfile::Builder::new().prefix("bootstrap-browser-").tempdir().unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").env_clear().env("HOME", dir.path()).env("TMPDIR", dir.path());
        command.env("PATH", std::env::var_os("PATH").unwrap()).current_dir(dir.path()).process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let driver =
            command.spawn().unwrap_or_else(|e| panic!("chromedriver: {e}: run `make test`, which installs what is missing"));

        let mut browser = Browser { driver, dir, address: (Ipv4Addr::LOCALHOST, 0).into(), session: String::new() };
        let port = eventually(|| browser.log().split_once("successfully on port ")?.1.split_once('.')?.0.parse().ok());
        browser.address.set_port(port.unwrap_or_else(|| panic!("waited in vain for ChromeDriver's port\n{}", browser.log())));
        let profile = format!("--user-data-dir={}", browser.dir.path().join("profile").display());
        let arguments: Vec<&str> = ARGUMENTS.into_iter().chain([&*profile]).collect();
        // What comes of a page is looked at while it loads.
        let capabilities = json!({"pageLoadStrategy": "none", "goog:chromeOptions": {"args": arguments}});
        let session = browser.ask("POST", "/session", &json!({"capabilities": {"alwaysMatch": capabilities}}));
        browser.session = session["sessionId"].as_str().unwrap().to_owned();
        browser
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// A call of the `WebDriver` API.
    fn call(&self, method: &str, path: &str, body: &Value) -> Reply {
        let call = Call::new(method, path).header("Content-Type", "application/json");
        Client::connect(self.address).call(&call.body(body.to_string()))
    }

    /// A call that is done; gives the value that came.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let reply = self.call(method, path, body);
        assert_eq!(reply.status, 200, "{method} {path}: {reply}\n{}", self.log());
        reply.json()["value"].take()
    }

    /// Opens a page, and doesn't wait for it.
    #[track_caller]
    pub(crate) fn open(&self, url: &str) {
        self.ask("POST", &format!("/session/{}/url", self.session), &json!({"url": url}));
    }

    /// Waits until an expression in the page gives this.
    #[track_caller]
    pub(crate) fn wait(&self, expression: &str, expected: &Value) {
        let (path, script) = (format!("/session/{}/execute/sync", self.session), format!("return {expression}"));
        let mut came = Value::Null;
        let right = eventually(|| {
            // Between two pages there is none to ask: then this is an error's description.
            came = self.call("POST", &path, &json!({"script": script, "args": []})).json()["value"].take();
            (came == *expected).then_some(())
        });
        assert!(right.is_some(), "{expression} is {came} and not {expected}\n{}", self.log());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.ask("DELETE", &format!("/session/{}", self.session), &json!({}));
        }
        let group = Pid::from_child(&self.driver);
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.driver.wait();
        // Its files go when none of its processes writes any more.
        eventually(|| test_kill_process_group(group).is_err().then_some(()));
    }
}
