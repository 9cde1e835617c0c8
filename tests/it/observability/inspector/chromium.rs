//! A headless Chromium, driven over the DevTools protocol.
//!
//! The protocol runs over two pipes: messages are JSON, and each ends with a zero byte.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long the browser may take for one answer.
const LIMIT: Duration = Duration::from_secs(60);

/// A browser with one page. Dropping it ends the process and removes its folder.
pub(super) struct Chromium {
    process: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    calls: u64,
    session: Option<String>,
    events: Vec<Value>,
    folder: PathBuf,
}

/// Returns the program, if it is installed. The environment variable `CHROMIUM` names another one.
///
/// If `REQUIRE_BROWSER` is set, as `tests/run.sh` does, a missing program fails the test.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let in_path = |name: &str| {
        std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|file| file.is_file())
    };
    let found = named
        .or_else(|| ["chromium", "chromium-browser", "google-chrome"].iter().find_map(|name| in_path(name)));
    assert!(found.is_some() || std::env::var_os("REQUIRE_BROWSER").is_none(), "chromium is missing");
    found
}

impl Chromium {
    /// Starts the browser. Returns `None`, with a message, if it is not installed.
    pub(super) fn start() -> Option<Self> {
        let Some(program) = program() else {
            eprintln!("skipped: chromium is not installed (tests/run.sh does it)");
            return None;
        };
        let folder = std::env::temp_dir().join(format!("trc-chromium-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut process = Command::new("sh")
            // The browser reads messages from descriptor 3, and writes them to descriptor 4.
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1"])
            .arg(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", folder.display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the browser starts");
        let (input, output) = (process.stdin.take().expect("a pipe"), process.stdout.take().expect("a pipe"));
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let (mut output, mut message) = (BufReader::new(output), Vec::new());
            while output.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else { break };
                if sender.send(value).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let (calls, session, events) = (0, None, Vec::new());
        let mut browser = Self { process, input, messages, calls, session, events, folder };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", &attach);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        Some(browser)
    }

    /// Calls a method of the protocol, and returns its result.
    pub(super) fn call(&mut self, method: &str, params: &Value) -> Value {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.input.write_all(format!("{message}\0").as_bytes()).expect("the browser runs");
        loop {
            let message =
                self.messages.recv_timeout(LIMIT).unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] == self.calls {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    /// Opens a page, and waits until it is loaded. Returns the status of the response.
    pub(super) fn open(&mut self, url: &str) -> u64 {
        let seen = self.events.len();
        let opened = self.call("Page.navigate", &json!({ "url": url }));
        assert!(
            opened["errorText"].is_null() || opened["errorText"] == "net::ERR_HTTP_RESPONSE_CODE_FAILURE",
            "{opened}"
        );
        self.wait_for("document.readyState === 'complete'");
        let is_document = |event: &&Value| {
            event["method"] == "Network.responseReceived" && event["params"]["type"] == "Document"
        };
        let response = self.events[seen..].iter().rfind(is_document).expect("a response");
        response["params"]["response"]["status"].as_u64().expect("a status")
    }

    /// Evaluates a JavaScript expression. A promise is awaited.
    pub(super) fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let result = self.call("Runtime.evaluate", &params);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {}", result["exceptionDetails"]);
        result["result"]["value"].clone()
    }

    pub(super) fn text(&mut self, selector: &str) -> String {
        let text = self.evaluate(&format!("document.querySelector({})?.textContent ?? ''", json!(selector)));
        text.as_str().expect("text").to_owned()
    }

    /// Waits until a JavaScript condition is true.
    pub(super) fn wait_for(&mut self, condition: &str) {
        let promise = format!(
            "new Promise((resolve) => {{ let rest = 400; const check = () => \
             ({condition}) ? resolve(true) : rest-- ? setTimeout(check, 50) : resolve(false); check(); }})"
        );
        if self.evaluate(&promise) != true {
            let page = self.evaluate("document.documentElement.outerHTML");
            panic!("{condition} does not become true in {page}\n{:?}", self.problems());
        }
    }

    /// Clicks an element with the mouse.
    pub(super) fn click(&mut self, selector: &str) {
        let place = format!(
            "(() => {{ const found = document.querySelector({}); found.scrollIntoView({{ block: 'center' }}); \
             const box = found.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()",
            json!(selector)
        );
        let place = self.evaluate(&place);
        for kind in ["mousePressed", "mouseReleased"] {
            let event =
                json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", &event);
        }
    }

    /// Replaces the text of an input field.
    pub(super) fn fill(&mut self, selector: &str, text: &str) {
        self.evaluate(&format!("document.querySelector({}).value = {}", json!(selector), json!(text)));
    }

    /// Returns the errors and warnings of the console since the last call: exceptions, failed
    /// requests, and violations of the content security policy.
    pub(super) fn problems(&mut self) -> Vec<Value> {
        self.call("Runtime.evaluate", &json!({ "expression": "0" }));
        let is_problem = |event: &Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => {
                event["params"]["type"] == "error" || event["params"]["type"] == "warning"
            }
            Some("Log.entryAdded") => event["params"]["entry"]["level"] != "verbose",
            _ => false,
        };
        let problems = self.events.iter().filter(|event| is_problem(event)).cloned().collect();
        self.events.retain(|event| !is_problem(event));
        problems
    }

    /// Returns the URLs of all requests that the page has sent.
    pub(super) fn requested_urls(&self) -> Vec<String> {
        let sent = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["params"]["request"]["url"].as_str().map(str::to_owned)).collect()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // A killed browser leaves processes that still write into the folder for a moment.
        let _ = self.input.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        while self.messages.recv_timeout(Duration::from_secs(5)).is_ok() {}
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
