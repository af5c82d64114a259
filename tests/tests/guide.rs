//! What the documentation says to type is typed, and what it says will be seen is seen.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use selvedge_tests::guest;
use selvedge_tests::guide::{Page, Story, pages};

/// Pages that are followed on one host, from nothing.
const ALONE: [&[&str]; 3] = [
    &["README.md"],
    &["docs/guide/troubleshoot.md"],
    &[
        "docs/http.md",
        "docs/calls.md",
        "docs/operations.md",
        "docs/guests.md",
        "docs/combat.md",
        "docs/prediction.md",
        "docs/anti-cheat.md",
        "docs/chat-moderation.md",
        "docs/asset-preload.md",
    ],
];

/// Pages that are followed one after the other, on the same three hosts.
const TOGETHER: [&str; 3] = ["docs/guide/install.md", "docs/guide/ship.md", "docs/guide/operate.md"];

/// Pages whose commands another test types.
const ELSEWHERE: [(&str, &str); 1] = [("docs/workloads.md", "tests/tests/guests.rs")];

/// Whose turn it is: one story at a time, for a machine of two cores.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn every_block_for_a_shell_is_run_or_says_why_not() {
    let alone = ALONE.into_iter().flatten().copied();
    let run: BTreeSet<&str> = alone.chain(TOGETHER).chain(ELSEWHERE.map(|(page, _)| page)).collect();
    let mut faults = Vec::new();
    for path in pages() {
        let page = Page::read(&path);
        let silent = page.blocks.iter().filter(|block| block.left_out.is_none());
        if !run.contains(&*path) {
            faults.extend(silent.map(|block| format!("{path}:{}: is neither run nor says why not", block.line)));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for page in run {
        assert!(pages().iter().any(|path| path == page), "there is no {page}");
    }
}

#[test]
fn pages_about_one_host_are_followed() {
    let _turn = turn();
    for paths in ALONE {
        let Some(mut story) = Story::try_new(&["host".to_owned()]) else { return };
        for path in paths {
            story.follow(&Page::read(path));
        }
    }
}

#[test]
fn the_guide_is_followed_on_three_hosts() {
    let _turn = turn();
    if !guest::can_be_built() {
        return;
    }
    let read: Vec<Page> = TOGETHER.into_iter().map(Page::read).collect();
    let mut names: Vec<String> = read.iter().flat_map(Page::hosts).filter(|name| name != "every-host").collect();
    names.sort();
    names.dedup();
    let Some(mut story) = Story::try_new(&names) else { return };
    for page in &read {
        story.follow(page);
    }
}
