//! Compiles the word lists and the model into the tables of the automaton.
//!
//! Owns the reading of `data/` and what is written to `OUT_DIR`; the construction is in `build/compile.rs`. The invariant:
//! a list or a model that does not fit the tables fails the build with the line that is wrong.

#[path = "build/compile.rs"]
mod compile;
#[path = "build/parse.rs"]
mod parse;
#[allow(dead_code, unreachable_pub, reason = "the build needs the alphabet of patterns only")]
#[path = "src/symbol.rs"]
mod symbol;

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for path in ["build.rs", "build", "data", "src/symbol.rs"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let lists = parse::lists(&read(&here.join("data/lists.txt")));
    let model = parse::model(&read(&here.join("data/model.txt")));
    let tables = compile::compile(&lists, &model);
    let states = tables.lanes.len();
    let bytes = |halves: &[u16]| halves.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<_>>();
    write(&out.join("next.bin"), bytes(&tables.next));
    write(&out.join("hits.bin"), bytes(&tables.hits));
    write(&out.join("lanes.bin"), tables.lanes.iter().flat_map(|lanes| lanes.to_le_bytes()).collect::<Vec<_>>());
    let constants = format!(
        "/// States of the automaton, a power of two.\npub(super) const STATES: usize = {states};\n\
         /// The state behind a boundary, in which every text begins.\npub(super) const START: u16 = {};\n\
         /// What every text begins with: explicit, implicit, action.\npub const BIAS: [i32; 3] = {:?};\n\
         /// Probability of toxicity in thousandths, by margin: one for each {}th part of the range.\n\
         pub static CALIBRATION: [u16; {}] = {:?};\n",
        tables.start,
        model.bias,
        model.calibration.len() - 1,
        model.calibration.len(),
        model.calibration,
    );
    write(&out.join("constants.rs"), constants.into_bytes());
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write(path: &Path, bytes: Vec<u8>) {
    fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
