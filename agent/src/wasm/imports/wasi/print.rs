//! What a guest prints: lines of its log.
//!
//! Owns the handles of WASI: those of stdout and stderr gather a line, all others stand for nothing. The invariants: a handle
//! counts among the workload's open handles, a line among its lines of log, and a line that a call did not end is gone with it.

use wasmtime::component::{Resource, ResourceAny, Val};
use wasmtime::{AsContextMut, Result, StoreContextMut};

use crate::wasm::imports::wit::log::Level;
use crate::wasm::instance::CallState;

/// Where what is printed comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Printed {
    /// From stdout.
    Out,
    /// From stderr: what panics and assertions say.
    Err,
    /// From nothing that could print.
    Nowhere,
}

/// Any handle of WASI.
pub(super) struct Handle {
    printed: Printed,
    /// What the call that printed last has printed since its last line ended.
    line: Vec<u8>,
    /// Which call that was.
    call: u64,
}

impl Handle {
    pub(super) const fn new(printed: Printed) -> Self {
        Self { printed, line: Vec::new(), call: 0 }
    }
}

/// Gives a guest a handle of its own.
///
/// # Errors
/// As many are open as may be.
pub(super) fn open(cx: &mut StoreContextMut<'_, CallState>, handle: Handle) -> Result<Val> {
    let handle = cx.data_mut().open_handle(handle)?;
    Ok(Val::Resource(ResourceAny::try_from_resource(handle, cx.as_context_mut())?))
}

/// Takes a handle back. What it has of a line is logged.
///
/// # Errors
/// There is no such handle.
pub(super) fn close(state: &mut CallState, handle: Resource<Handle>) -> Result<()> {
    let Handle { printed, line, call } = state.close_handle(handle)?;
    if call == state.call {
        tell(state, printed, &line);
    }
    Ok(())
}

/// Takes bytes, and logs the lines that they end.
///
/// # Errors
/// There is no such handle.
pub(super) fn take(state: &mut CallState, handle: &Resource<Handle>, bytes: &[Val]) -> Result<()> {
    let call = state.call;
    let printing = state.handles.get_mut(handle)?;
    if printing.call != call {
        // An instance serves one caller after another: none reads what an earlier one left.
        printing.line.clear();
        printing.call = call;
    }
    for byte in bytes {
        let Val::U8(byte) = byte else { continue };
        let limit = state.limits.log_line_bytes;
        let handle = state.handles.get_mut(handle)?;
        if *byte == b'\n' {
            let (printed, line) = (handle.printed, std::mem::take(&mut handle.line));
            tell(state, printed, &line);
        } else if handle.line.len() < limit {
            handle.line.push(*byte);
        }
    }
    Ok(())
}

fn tell(state: &mut CallState, printed: Printed, line: &[u8]) {
    let level = match printed {
        Printed::Out => Level::Info,
        Printed::Err => Level::Warn,
        Printed::Nowhere => return,
    };
    let line = String::from_utf8_lossy(line);
    if !line.trim().is_empty() {
        state.tell(level, &line);
    }
}
