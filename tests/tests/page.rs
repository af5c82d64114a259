//! The status page in a real browser, over real agents: it shows what the API tells, with scripts and without, by day and by night,
//! on a phone and on a wall, by keyboard, and when things go wrong.

use std::path::Path;
use std::time::Duration;

use selvedge_tests::browser::{self, Look, Window};
use selvedge_tests::http::ask;
use selvedge_tests::{Agent, Browser, Launch, eventually};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of everything that a first look loads.
const FIRST_PAINT_BYTES_MAX: usize = 100 * 1024;

/// A name as a hostile host could give itself: markup, if anybody takes it for such.
const HOSTILE: &str = "<img/src=x/onerror=document.title='taken'>";

/// Three agents that know each other; the second has a hostile name, and the first has a workload and some state.
fn mesh(folder: &Path) -> [Agent; 3] {
    let first = Launch::new(folder, "first").with(&["--listen", "127.0.0.1:0", "--region", "here"]).start();
    let second = Launch::new(folder, HOSTILE).with(&["--region", "there"]).joining(&[&first]).start();
    let third = Launch::new(folder, "third").with(&["--region", "there"]).joining(&[&first, &second]).start();
    let (_, wasm) = selvedge::shipped::shipped().into_iter().find(|(name, _)| *name == "combat").expect("it ships");
    let file = folder.join("combat.wasm");
    std::fs::write(&file, wasm).expect("written");
    let deployed = first.cli(&["deploy", &file.to_string_lossy(), "--name", "combat", "--replicas", "2"]);
    assert_eq!(deployed.code, 0, "{}{}", deployed.stdout, deployed.stderr);
    for _ in 0..5 {
        assert_eq!(first.cli(&["call", "combat", "resolve", "[]"]).code, 0);
    }
    for put in [["gcounter/kills", "increment", "5"], ["orset/online", "add", HOSTILE]] {
        assert_eq!(first.cli(&["put", put[0], put[1], put[2]]).code, 0);
    }
    let converged = first.cli(&["converged", "--wait", "30s"]);
    assert_eq!(converged.code, 0, "{}{}", converged.stdout, converged.stderr);
    [first, second, third]
}

fn status(agent: &Agent) -> Value {
    serde_json::from_slice(&ask(agent, "GET", "/v1/status", b"").body).expect("JSON")
}

/// The cells of a table's body, row by row.
fn cells(window: &Window<'_>, table: &str) -> Vec<Vec<String>> {
    let rows = window.eval(&format!(
        "[...document.querySelectorAll('#{table} tbody tr')].map((row) => [...row.cells].map((cell) => cell.innerText.trim()))"
    ));
    serde_json::from_value(rows).expect("rows of texts")
}

fn shown(window: &Window<'_>, agent: &Agent) {
    window.go(&agent.api());
    window.until(
        "the page is alive",
        "document.querySelector('#live')?.innerText === 'live' && !document.querySelector('#live').hidden",
    );
}

/// Nothing was asked of anybody else, nothing was refused by the policy, and nothing failed.
fn is_clean(window: &Window<'_>, agent: &Agent) {
    let elsewhere = |address: &String| !address.starts_with(&agent.api()) && !address.starts_with("data:");
    let asked: Vec<String> = window.requests().into_iter().filter(elsewhere).collect();
    assert_eq!(asked, [""; 0], "the page asks nobody but its agent");
    // Whoever asks about a workload that has gone in that moment is answered with 404, which the console tells.
    let is_gone = |line: &String| line.contains("404") && line.contains("/v1/workloads/");
    let complaints: Vec<String> = window.console().into_iter().filter(|line| !is_gone(line)).collect();
    assert_eq!(complaints, [""; 0], "nothing to complain of");
}

#[test]
fn the_page_shows_what_the_api_tells() {
    let Some(browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let agents = mesh(folder.path());
    let [first, ..] = &agents;
    let page = ask(first, "GET", "/", b"");
    assert!(page.body.len() <= FIRST_PAINT_BYTES_MAX, "{} bytes", page.body.len());

    let window = browser.open(Look::default());
    shown(&window, first);
    window.until("all are there", "document.querySelector('#figures').innerText.includes('3 of 3')");
    let told = status(first);
    let names: Vec<String> = cells(&window, "members").iter().map(|row| row[0].clone()).collect();
    assert_eq!(names, [HOSTILE, "first", "third"], "a name is text");
    for peer in told["peers"].as_array().expect("peers") {
        let rows = cells(&window, "members");
        let row = rows.iter().find(|row| peer["name"] == row[0]).expect("a row for each peer");
        assert_eq!(row[2], peer["link"]["state"].as_str().expect("a state"));
    }
    let [workload] = &cells(&window, "workloads")[..] else { panic!("one workload") };
    let instances = told["workloads"][0]["instances"].as_array().expect("instances").len();
    assert_eq!((workload[0].as_str(), workload[1].as_str(), instances), ("combat", "2 of 2", 2));
    assert_eq!(workload[3], told["workloads"][0]["recent"]["calls"].to_string());
    window
        .until("why it runs there is told", "document.querySelector('#workloads .why')?.innerText.includes('scores')");
    // What is said twice is one figure.
    assert_eq!(workload[5], "0");
    assert!(window.text("#figures").contains("none failed in "), "{}", window.text("#figures"));
    assert!(window.text("#health").contains("All is well."));
    window.until("the past is told", "document.querySelector('#events').innerText.includes('combat ready on')");
    let picture = window.eval("document.querySelector('#mesh svg').getAttribute('aria-label')");
    assert!(picture.as_str().is_some_and(|words| words.contains("3 members as first sees them")), "{picture}");
    assert_eq!(window.eval("document.querySelectorAll('#mesh .member:not(.self)').length"), 2);
    assert_ne!(window.eval("document.title"), "taken");
    assert_eq!(window.eval("document.images.length"), 0, "a name never becomes an element");

    // What happens next is told by the stream.
    assert_eq!(first.cli(&["undeploy", "combat"]).code, 0);
    window.until(
        "the end of the workload is told",
        "document.querySelector('#events').innerText.includes('combat gone on')",
    );
    is_clean(&window, first);
}

#[test]
fn without_scripts_the_tables_say_the_same() {
    let Some(browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let agents = mesh(folder.path());
    let [first, ..] = &agents;
    let with = browser.open(Look::default());
    shown(&with, first);
    let without = browser.open(Look { scripts: false, ..Look::default() });
    without.go(&first.api());
    assert!(without.eval("document.querySelector('#live').hidden") == true, "no script has run");
    // Figures that move all the time are left out; everything else is equal, cell by cell.
    for (table, still) in [("members", &[0, 1, 2, 3, 5, 10][..]), ("workloads", &[0, 1, 2, 3, 5, 6, 7, 8, 9])] {
        let of = |window: &Window<'_>| -> Vec<Vec<String>> {
            let rows = cells(window, table);
            rows.iter().map(|row| still.iter().map(|at| row[*at].clone()).collect()).collect()
        };
        eventually("both say the same", PATIENCE, || {
            without.go(&first.api());
            let (one, other) = (of(&with), of(&without));
            if one != other {
                println!("{table}: {one:?} and {other:?}");
            }
            (one == other && !one.is_empty()).then_some(())
        });
    }
    assert!(without.text("#health").contains("All is well."));
    assert!(without.text("#workloads .why").contains("scores"), "{}", without.text("#workloads"));
    assert_eq!(without.eval("document.querySelector('#mesh').checkVisibility()"), false, "no empty picture");
    is_clean(&without, first);
}

#[test]
fn every_thing_has_a_view_and_an_address_of_its_own() {
    let Some(browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let agents = mesh(folder.path());
    let [first, second, _] = &agents;
    let window = browser.open(Look::default());
    let check = |hash: &str, expect: &[&str]| {
        window.go("about:blank");
        window.go(&format!("{}/#{hash}", first.api()));
        for text in expect {
            window.until(
                &format!("{hash} shows {text}"),
                &format!("document.querySelector('#detail').innerText.includes({})", json!(text)),
            );
        }
        assert_eq!(window.eval("document.querySelector('#overview').checkVisibility()"), false);
    };
    check(
        &format!("node/{}", second.node()),
        &[HOSTILE, "there", "connected", "Round trips that it measured", "joined"],
    );
    check("workload/combat", &["2 of 2", "Why there", "chosen", "resource × 0.3"]);
    let candidates: Value =
        serde_json::from_slice(&ask(first, "GET", "/v1/workloads/combat/placement", b"").body).expect("JSON");
    assert_eq!(cells(&window, "scores").len(), candidates["candidates"].as_array().expect("candidates").len());
    check("key/gcounter%2Fkills", &["Key gcounter/kills", "5", "commits of any key that this host had applied"]);
    assert_eq!(cells(&window, "writers")[0][0], "first");
    assert_eq!(first.cli(&["put", "gcounter/kills", "increment", "2"]).code, 0);
    window.until("the new value is shown", "document.querySelector('.large')?.innerText === '7'");
    check("key/orset%2Fonline", &["1 member", HOSTILE]);
    check("keys/gcounter", &["gcounter/kills"]);
    check("key/gset%2Fnone", &["Nobody has written this key"]);
    check("node/nobody", &["There is no member nobody"]);
    // The way back.
    window.run("document.querySelector('#detail nav a').click()");
    window
        .until("the overview is back", "document.querySelector('#overview').checkVisibility() && location.hash === ''");
    assert_eq!(window.eval("document.images.length"), 0);
    // A view that names what is not there is answered with 404, which the console tells.
    let complaints: Vec<String> = window.console().into_iter().filter(|line| !line.contains("404")).collect();
    assert_eq!(complaints, [""; 0]);
}

#[test]
fn trouble_is_named_and_silence_is_said() {
    let Some(browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let [first, second, third] = mesh(folder.path());
    let file = folder.path().join("combat.wasm");
    let on_all = first.cli(&["deploy", &file.to_string_lossy(), "--name", "combat", "--replicas", "3"]);
    assert_eq!(on_all.code, 0, "{}{}", on_all.stdout, on_all.stderr);
    let window = browser.open(Look { dark: true, ..Look::default() });
    shown(&window, &first);
    drop(third.kill());
    window.until("the lost member is named", "document.querySelector('#events').innerText.includes('third is lost')");
    window.until("and counted", "document.querySelector('#figures').innerText.includes('2 of 3')");
    window.until("it comes first", "document.querySelector('#members tbody tr').innerText.includes('lost')");
    window.until("it is named above all else", "document.querySelector('#health').innerText.includes('third is lost')");
    let short = "document.querySelector('#health').innerText.includes('combat has 2 of 3 instances ready')";
    window.until("what lacks an instance is named with the agent's reason", short);
    let plain = browser.open(Look { scripts: false, ..Look::default() });
    // For how long is a figure that moves.
    let lasting =
        |text: String| text.split_whitespace().filter(|word| !word.starts_with(char::is_numeric)).collect::<String>();
    eventually("the same is said without scripts", PATIENCE, || {
        plain.go(&first.api());
        (lasting(plain.text("#health")) == lasting(window.text("#health"))).then_some(())
    });
    let folds = "[...document.querySelectorAll('#detail .mark')].some((mark) => mark.innerText.includes('complete, yet too few instances') \
                 && mark.dataset.state === 'warn')";
    window.run("location.hash = '#workload/combat'");
    window.until("a rollout that is over is not taken for one that serves", folds);
    window.run("location.hash = ''");
    let picture = "document.querySelector('#mesh svg').getAttribute('aria-label').includes('Not well: third, lost')";
    window.until("the picture says so in words", picture);
    let listeners = || {
        let text = String::from_utf8_lossy(&ask(&first, "GET", "/metrics", b"").body).into_owned();
        text.lines().find_map(|line| line.strip_prefix("selvedge_watchers ")?.parse::<u64>().ok()).expect("a figure")
    };
    assert_eq!(listeners(), 1, "one stream");
    // A tab that nobody sees asks for nothing.
    let hide = |hidden: bool| {
        let script = format!(
            "Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }}); \
             document.dispatchEvent(new Event('visibilitychange'))"
        );
        window.run(&script);
    };
    hide(true);
    eventually("the stream has ended", PATIENCE, || (listeners() == 0).then_some(()));
    hide(false);
    eventually("the stream is back", PATIENCE, || (listeners() == 1).then_some(()));
    drop(first.kill());
    window.until("silence is said", "/^no answer since [0-9:]{8}$/.test(document.querySelector('#live').innerText)");
    assert_eq!(window.text("#said"), "The agent does not answer.");
    drop(second);
}

/// A component whose function `run` does this and answers a number.
fn version(folder: &Path, name: &str, body: &str) -> String {
    let module = format!(r#"(core module $m (func (export "run") (result i32) {body}))"#);
    let lifted =
        r#"(core instance $i (instantiate $m)) (func (export "run") (result u32) (canon lift (core func $i "run")))"#;
    let file = folder.join(format!("{name}.wasm"));
    std::fs::write(&file, wat::parse_str(format!("(component {module} {lifted})")).expect("a component"))
        .expect("written");
    file.to_string_lossy().into_owned()
}

#[test]
fn a_version_that_was_rolled_back_is_named_until_another_is_deployed() {
    let Some(browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let agent = Launch::new(folder.path(), "one").start();
    let deploy = |name: &str, body: &str, options: &[&str]| {
        let wasm = version(folder.path(), name, body);
        let done = agent.cli(&[&["deploy", &wasm, "--name", "w", "--timeout", "60s"], options].concat());
        assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    };
    deploy("good", "i32.const 1", &[]);
    let window = browser.open(Look::default());
    shown(&window, &agent);
    window.until("nothing is wrong", "document.querySelector('#health').innerText.includes('All is well.')");
    deploy("bad", "unreachable", &["--canary", "60s", "--no-wait"]);
    let tried = "document.querySelector('#workloads').innerText.match(/one tries the new version: 0 of [0-9]+ calls, .* to go/)";
    window.until("who tries it, and for how long, is told", &format!("Boolean({tried})"));
    eventually("it is taken back", PATIENCE, || {
        // It traps; each call that does is held against the version.
        let _trapped = agent.cli(&["call", "w", "run"]);
        (status(&agent)["workloads"][0]["rollout"]["stage"] == "rolled_back").then_some(())
    });
    let named = "document.querySelector('#health').innerText.includes('w was rolled back to the version before: ')";
    window.until("it is named above all else", named);
    let place = |window: &Window<'_>| cells(window, "workloads")[0][2].clone();
    assert!(place(&window).contains("the new version was rolled back: "), "{}", place(&window));
    let plain = browser.open(Look { scripts: false, ..Look::default() });
    eventually("the same is said without scripts", PATIENCE, || {
        plain.go(&agent.api());
        ((plain.text("#health"), place(&plain)) == (window.text("#health"), place(&window))).then_some(())
    });
    deploy("better", "i32.const 2", &["--canary", "0s"]);
    window.until("all is well again", "document.querySelector('#health').innerText.includes('All is well.')");
    assert!(!place(&window).contains("rolled back"), "{}", place(&window));
}

#[test]
fn it_fits_a_phone_and_a_wall_and_follows_the_readers_wishes() {
    let Some(browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let agents = mesh(folder.path());
    let [first, ..] = &agents;
    let mut papers = Vec::new();
    for (width, dark, text) in [(360, false, 16), (1280, true, 16), (2560, false, 16), (390, false, 32)] {
        let window = browser.open(Look { width, dark, text, ..Look::default() });
        shown(&window, first);
        for hash in ["", "#workload/combat", &format!("#node/{}", agents[1].node()), "#keys/", "#key/orset%2Fonline"] {
            window.run(&format!("location.hash = {}", json!(hash)));
            let drawn = if hash.is_empty() { "#mesh svg" } else { "#detail-content > :not(.quiet)" };
            window.until("the view is drawn", &format!("document.querySelector({}) !== null", json!(drawn)));
            let wide = window.eval("document.documentElement.scrollWidth");
            assert!(wide.as_u64().is_some_and(|wide| wide <= u64::from(width)), "{hash} is {wide} wide on {width}");
            audit(&window, &format!("{hash} on {width}"));
        }
        if width < 700 {
            window.run("location.hash = ''");
            is_all_there(&window);
        }
        papers.push(window.eval("getComputedStyle(document.body).backgroundColor"));
        let moving = "[...document.querySelectorAll('*')].filter((one) => getComputedStyle(one).transitionDuration !== '0s').length";
        assert_eq!(window.eval(moving), 0, "nothing moves but what changes");
    }
    assert_eq!(papers[0], papers[2]);
    assert_ne!(papers[0], papers[1], "the night has a paper of its own");
}

/// Both tables are cards: no figure is beyond an edge, and each stands under the word of its column.
fn is_all_there(window: &Window<'_>) {
    window.until("the cards are drawn", "document.querySelector('#members').checkVisibility()");
    let cut = "[...document.querySelectorAll('#workloads td, #members td')].filter((cell) => { const { left, right } = cell.getBoundingClientRect(); \
               return left < 0 || right > innerWidth; }).map((cell) => cell.innerText)";
    assert_eq!(window.eval(cut), json!([]), "nothing is cut off");
    let misnamed = "[...document.querySelectorAll('#workloads, #members')].flatMap((table) => [...table.tBodies[0].rows].flatMap((row) => \
                    [...row.cells].slice(1).map((cell, at) => [table.tHead.rows[0].cells[at + 1].textContent, \
                    JSON.parse(getComputedStyle(cell, '::before').content)]))).filter(([head, label]) => head !== label)";
    assert_eq!(window.eval(misnamed), json!([]), "each figure has its word");
}

/// What axe-core finds that keeps somebody out.
fn audit(window: &Window<'_>, what: &str) {
    let Some(axe) = browser::axe() else { return };
    window.run(&format!("{axe}; null"));
    let found = window.eval(
        "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations.map(({ id, impact, nodes }) => \
         `${impact} ${id}: ${nodes.slice(0, 3).map(({ html, failureSummary }) => `${html} ${failureSummary}`).join(' | ')}`))",
    );
    let serious: Vec<&str> = found
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .filter(|line| line.starts_with("serious") || line.starts_with("critical"))
        .collect();
    assert_eq!(serious, [""; 0], "{what}");
}

#[test]
fn a_keyboard_gets_everywhere_and_sees_where_it_is() {
    let Some(browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let agents = mesh(folder.path());
    let [first, ..] = &agents;
    let window = browser.open(Look::default());
    shown(&window, first);
    let focused = || {
        let place = "(() => { const at = document.activeElement, seen = getComputedStyle(at); return [at.tagName, at.innerText.slice(0, 40), \
                     at === document.body || (seen.outlineStyle !== 'none' && seen.outlineWidth !== '0px')]; })()";
        window.eval(place)
    };
    let mut walked: Vec<Value> = Vec::new();
    // More stops than the page has.
    for _ in 0..200 {
        window.press("Tab");
        let at = focused();
        if at[0] == "BODY" || (walked.len() > 1 && at == walked[0]) {
            break;
        }
        assert_eq!(at[2], true, "the focus is seen on {at}");
        walked.push(at);
    }
    let words: Vec<&str> = walked.iter().filter_map(|at| at[1].as_str()).collect();
    assert_eq!(words.first(), Some(&"Skip to the content"));
    for stop in ["combat", "third", "metrics"] {
        assert!(words.contains(&stop), "{stop} is not reached: {words:?}");
    }
    assert!(walked.len() < 200, "the walk has an end");
    // The keyboard opens a view, and the reader is taken to its heading.
    window.run("document.querySelector('#workloads tbody a').focus()");
    window.press("Enter");
    window.until(
        "the view has the focus",
        "document.activeElement.id === 'detail-title' && document.activeElement.innerText === 'Workload combat'",
    );
    window.press("Escape");
    window.until(
        "it closes, and the focus is back where it was",
        "document.querySelector('#overview').checkVisibility() && document.activeElement.matches('#workloads tbody a') \
         && document.activeElement.innerText === 'combat'",
    );
}
