//! Compiles the word lists and the model into the tables of the automaton, the vocabulary and the phrases.
//!
//! Owns the reading of `data/` and what is written to `OUT_DIR`; the construction is in `build/`. The invariant: a list or
//! a model that does not fit the tables fails the build with the line that is wrong.

#[path = "build/compile.rs"]
mod compile;
#[allow(unreachable_pub, reason = "shared with the crate")]
#[path = "src/gram.rs"]
mod gram;
#[path = "build/grams.rs"]
mod grams;
#[allow(unreachable_pub, reason = "shared with the crate")]
#[path = "src/key.rs"]
mod key;
#[path = "build/parse.rs"]
mod parse;
#[allow(dead_code, unreachable_pub, reason = "the build needs the alphabet of patterns only")]
#[path = "src/symbol.rs"]
mod symbol;
#[path = "build/vocabulary.rs"]
mod vocabulary;

use std::path::{Path, PathBuf};
use std::{env, fs};

use vocabulary::Vocabulary;

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for path in ["build.rs", "build", "data", "src/symbol.rs", "src/key.rs", "src/gram.rs"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let lists = parse::lists(&read(&here.join("data/lists.txt")));
    let model = parse::model(&read(&here.join("data/model.txt")));
    let tables = compile::compile(&lists);
    let vocabulary = vocabulary::build(&lists, &model, &tables);
    let halves = |halves: &[u16]| halves.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<_>>();
    write(&out.join("next.bin"), halves(&tables.next));
    write(&out.join("hits.bin"), halves(&tables.hits));
    let numbers = |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
    let (grams, groups) = grams::table(&model);
    write(&out.join("grams.bin"), numbers(&grams));
    write(&out.join("groups.bin"), halves(&groups));
    write(&out.join("places.bin"), numbers(&vocabulary.places));
    let lengths = grams::lengths(&model);
    let constants = format!(
        "/// States of the automaton, a power of two.\npub(super) const STATES: usize = {};\n\
         /// The state behind a boundary, in which every word begins.\npub(super) const START: u16 = {};\n\
         /// What every text begins with: explicit, implicit, action.\npub const BIAS: [i32; 3] = {:?};\n\
         /// What a word that is in a list weighs more, by list, in lanes.\npub(super) static LIST_LANES: [i64; {}] = {:?};\n\
         /// What a text weighs more, by the number of its different words, in lanes; the last is of all that are longer.\n\
         pub(super) static LENGTH_LANES: [i64; {}] = {:?};\n\
         /// Probability of toxicity in thousandths, by margin: one for each {}th part of the range.\n\
         pub static CALIBRATION: [u16; {}] = {:?};\n",
        tables.hits.len(),
        tables.start,
        model.bias,
        model.lists.len(),
        model.lists.each_ref().map(grams::lanes),
        lengths.len(),
        lengths,
        model.calibration.len() - 1,
        model.calibration.len(),
        model.calibration,
    );
    write(&out.join("constants.rs"), constants.into_bytes());
    let Vocabulary { steps, firsts, .. } = &vocabulary;
    let phrases = format!(
        "static STEPS: [[u16; 3]; {}] = {steps:?};\nstatic FIRSTS: [u16; {}] = {firsts:?};\n",
        steps.len(),
        firsts.len()
    );
    write(&out.join("phrases.rs"), phrases.into_bytes());
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write(path: &Path, bytes: Vec<u8>) {
    fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
