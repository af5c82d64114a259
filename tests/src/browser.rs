//! A browser, to look at pages with: Chromium without a screen, driven over WebDriver.
//!
//! Owns the driver's process and its windows; asserts nothing itself. Where there is no Chromium, [`Browser::start`] says so and
//! gives none, and the test that wanted one is skipped.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::http;
use crate::skip::skip;
use crate::wait::eventually;

/// Where Debian puts the driver of its Chromium, which finds the browser by itself.
const DRIVER: &str = "chromedriver";

/// The driver, with Chromium behind it. Ended when dropped, with all windows.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    address: String,
}

/// How to look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Width of the window in pixels.
    pub width: u32,
    /// Height of the window in pixels.
    pub height: u32,
    /// Whether the reader prefers dark pages.
    pub dark: bool,
    /// Whether scripts run.
    pub scripts: bool,
    /// Size of plain text in pixels, as the reader has set it.
    pub text: u32,
}

impl Default for Look {
    fn default() -> Self {
        Self { width: 1280, height: 900, dark: false, scripts: true, text: 16 }
    }
}

/// A window with one page. Closed when dropped.
#[derive(Debug)]
pub struct Window<'a> {
    browser: &'a Browser,
    session: String,
}

impl Browser {
    /// Starts the driver; `None`, with the reason on stderr, where it is not installed.
    ///
    /// # Panics
    /// It is installed and does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        let spawned = Command::new(DRIVER).arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut driver = match spawned {
            Ok(driver) => driver,
            Err(error) => {
                skip("browser", &format!("no {DRIVER} (apt-get install chromium chromium-driver): {error}"));
                return None;
            }
        };
        let lines = BufReader::new(driver.stdout.take().expect("its output is ours")).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            let port = line.strip_suffix('.')?.rsplit_once("on port ")?.1.parse::<u16>();
            port.ok()
        });
        let address = format!("127.0.0.1:{}", port.expect("the driver says where it listens"));
        Some(Self { driver, address })
    }

    /// Opens a window.
    ///
    /// # Panics
    /// Chromium does not start.
    #[must_use]
    pub fn open(&self, look: Look) -> Window<'_> {
        let size = format!("--window-size={},{}", look.width, look.height);
        // The sandbox does not start for root, and containers have little shared memory.
        let arguments = json!(["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", size]);
        let options = json!({
            "args": arguments,
            "prefs": {
                "profile.managed_default_content_settings.javascript": if look.scripts { 1 } else { 2 },
                "webkit.webprefs.default_font_size": look.text,
            },
        });
        let logs = json!({"browser": "ALL", "performance": "ALL"});
        let wanted = json!({"goog:chromeOptions": options, "goog:loggingPrefs": logs});
        let opened = self.ask("POST", "/session", &json!({"capabilities": {"alwaysMatch": wanted}}));
        let session = opened["sessionId"].as_str().expect("a session").to_owned();
        let window = Window { browser: self, session };
        let screen = json!({"width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": false});
        window.devtools("Emulation.setDeviceMetricsOverride", &screen);
        let scheme = json!({"name": "prefers-color-scheme", "value": if look.dark { "dark" } else { "light" }});
        let motion = json!({"name": "prefers-reduced-motion", "value": "reduce"});
        window.devtools("Emulation.setEmulatedMedia", &json!({"features": [scheme, motion]}));
        window
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = http::exchange(&self.address, method, path, "", body.to_string().as_bytes());
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 200, "{method} {path}: {text}");
        serde_json::from_str::<Value>(&text).expect("the driver speaks JSON")["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Already gone is as good.
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}

impl Window<'_> {
    /// Goes to a page and waits until it is loaded.
    pub fn go(&self, address: &str) {
        self.ask("POST", "/url", &json!({"url": address}));
    }

    /// What an expression comes to in the page; a promise is awaited.
    ///
    /// # Panics
    /// It throws.
    #[must_use]
    pub fn eval(&self, expression: &str) -> Value {
        let wanted = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.devtools("Runtime.evaluate", &wanted);
        assert!(answer.get("exceptionDetails").is_none(), "{expression:.200}: {answer}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// It is not, in time; the panic shows the page's text.
    pub fn until(&self, what: &str, expression: &str) {
        let text = || self.text("body");
        let mut looks = 0;
        eventually(what, PATIENCE, || {
            looks += 1;
            if looks % 250 == 0 {
                println!("still not {what}:\n{}", text());
            }
            (self.eval(expression) == true).then_some(())
        });
    }

    /// The text of the first element that a selector finds, as a reader sees it; empty where there is none.
    #[must_use]
    pub fn text(&self, selector: &str) -> String {
        let text = self.eval(&format!("document.querySelector({})?.innerText ?? ''", json!(selector)));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Presses and releases a key, by its name: `Tab`, `Enter`, `Escape`.
    pub fn press(&self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Tab" => (9, ""),
            "Escape" => (27, ""),
            other => panic!("`{other}` is not needed yet"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.devtools("Input.dispatchKeyEvent", &event);
        }
    }

    /// Does something in the page.
    ///
    /// # Panics
    /// It throws.
    pub fn run(&self, script: &str) {
        drop(self.eval(script));
    }

    /// A command of Chromium's own protocol.
    #[expect(clippy::must_use_candidate, reason = "most commands have no answer")]
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.ask("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// Addresses that were asked for since this was last asked.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        let messages = self.logged("performance").into_iter().filter_map(|entry| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &message["message"];
            let asked = message["method"] == "Network.requestWillBeSent";
            asked.then(|| message["params"]["request"]["url"].as_str().map(str::to_owned))?
        });
        messages.collect()
    }

    /// What the page's console said since this was last asked.
    #[must_use]
    pub fn console(&self) -> Vec<String> {
        self.logged("browser").iter().map(|entry| format!("{} {}", entry["level"], entry["message"])).collect()
    }

    fn logged(&self, log: &str) -> Vec<Value> {
        self.ask("POST", "/se/log", &json!({"type": log})).as_array().cloned().unwrap_or_default()
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.browser.ask(method, &format!("/session/{}{path}", self.session), body)
    }
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        // A driver that has ended has closed its windows.
        let path = format!("/session/{}", self.session);
        drop(std::panic::catch_unwind(|| http::exchange(&self.browser.address, "DELETE", &path, "", b"{}")));
    }
}

/// How long a page may take to show what it is waited for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// The checker of accessibility, if it was fetched: `SELVEDGE_AXE` names its file.
#[must_use]
pub fn axe() -> Option<String> {
    let file = std::env::var_os("SELVEDGE_AXE").map(PathBuf::from);
    let source = file.and_then(|file| std::fs::read_to_string(file).ok());
    if source.is_none() {
        skip("axe", "SELVEDGE_AXE names no file with axe-core (.ci/run fetches it from npm)");
    }
    source
}
