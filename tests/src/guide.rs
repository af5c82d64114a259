//! The documentation, done: pages are read as a person at a terminal reads them, and what they say to type is typed.
//!
//! Owns how a page is written so that it can be followed (below), hosts to follow it on, and the comparison with what the page shows.
//! The invariant: each block for a shell is run, or says why it is not; a page that shows other output than there is fails.
//!
//! # How a page is written
//! A block in `console`, `sh`, `bash` or `shell` is for a shell. In one whose first line has a prompt (`$ `, or `edge-1# ` for the
//! host of that name), lines with a prompt are commands and those below them what they print. In one without, every line is a
//! command, and what they print is not shown.
//!
//! - `…` in what is printed stands for anything within a line, and on a line of its own for any lines; blanks are as good as one. What is
//!   JSON on both sides is compared as JSON.
//! - What a page looks at (`selvedge status` and the like) is looked at again until it is as shown, or too late.
//! - A command that goes on until Ctrl-C (`selvedge run`, `selvedge watch`) runs on beside the others.
//! - `TOKEN` is the last invitation that was printed.
//! - A comment before a block, invisible to readers, says what is different: `<!-- test: not run: REASON -->`,
//!   `<!-- test: fails -->` for commands that are to fail, and `<!-- test: run edge-1# COMMAND -->` for what is done unseen.

mod expect;
mod host;
mod page;
mod story;

pub use expect::difference;
pub use host::Host;
pub use page::{Block, Page, Step, pages};
pub use story::Story;
