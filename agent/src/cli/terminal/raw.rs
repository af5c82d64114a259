//! A terminal that gives each key at once, and gets back what it was.
//!
//! Owns the terminal's mode while there is a [`Raw`]. The invariant: however the process ends that can still say something (an end in
//! good order, an error, a panic), the mode is what it was before. Signals stay keys: Ctrl-C is still
//! SIGINT, and Ctrl-Z leaves the terminal as it was until one comes back.

use std::io;
use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError};

use super::is_one;

/// The mode before, for whoever restores it.
static BEFORE: Mutex<Option<libc::termios>> = Mutex::new(None);

/// The alternate screen, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
/// The screen as it was, with its cursor.
const LEAVE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";

/// The terminal is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Raw(());

impl Raw {
    /// Takes the terminal.
    ///
    /// # Errors
    /// Standard input or output is none.
    pub(crate) fn enter() -> io::Result<Self> {
        if !is_one() {
            return Err(io::Error::other("standard output is no terminal"));
        }
        take()?;
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            leave();
            earlier(panic);
        }));
        write(ENTER)?;
        Ok(Self(()))
    }

    /// Gives the terminal back, stops this process as Ctrl-Z does, and takes the terminal again when it goes on. What was shown is gone then.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        leave();
        stop();
        take()?;
        write(ENTER)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        leave();
    }
}

/// Takes the terminal, and keeps in mind what it was.
fn take() -> io::Result<()> {
    let before = mode()?;
    let mut raw = before;
    raw.c_lflag &= !(libc::ICANON | libc::ECHO);
    *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
    set_mode(&raw)
}

/// Gives the terminal back, once.
fn leave() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // A terminal that is gone needs nothing back.
        drop(write(LEAVE).and_then(|()| set_mode(&before)));
    }
}

fn write(text: &str) -> io::Result<()> {
    use io::Write as _;
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Stops this process until it is told to go on.
#[expect(unsafe_code, reason = "a process has no other way to stop itself")]
fn stop() {
    // SAFETY: raising a signal touches no memory of ours; this one cannot be caught.
    unsafe { libc::raise(libc::SIGSTOP) };
}

#[expect(unsafe_code, reason = "the system call that tells the mode has no other form")]
fn mode() -> io::Result<libc::termios> {
    let mut mode = MaybeUninit::<libc::termios>::zeroed();
    // SAFETY: tcgetattr writes one `termios` to where the pointer points, which is one of ours.
    if unsafe { libc::tcgetattr(libc::STDIN_FILENO, mode.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has succeeded, and so has written it.
    Ok(unsafe { mode.assume_init() })
}

#[expect(unsafe_code, reason = "the system call that sets the mode has no other form")]
fn set_mode(mode: &libc::termios) -> io::Result<()> {
    // SAFETY: tcsetattr reads one `termios`, which the reference is to.
    if unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, mode) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
