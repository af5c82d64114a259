//! The host against real components: those that ship, and hostile ones written as text.
//!
//! Owns the fixtures; the cases lie in the files of this folder.

mod fixtures;
mod hostile;
mod largest;
mod limits;
mod loading;
mod preload;
mod replay;
mod shipped;
mod typed;
mod vet;
mod wasi;
