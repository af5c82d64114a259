//! Writes what fuzzing begins from: `fuzz_seeds DIR` leaves `DIR/<target>/<number>`, real encodings for each target.

use std::error::Error;
use std::path::PathBuf;

#[expect(unreachable_pub, reason = "shared with a library, where it is not")]
#[path = "../fuzz/src/decoders.rs"]
mod decoders;
#[expect(unreachable_pub, reason = "as above")]
#[path = "../fuzz/src/samples.rs"]
mod samples;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: fuzz_seeds DIR")?);
    for (name, decoder) in decoders::ALL {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir)?;
        for (number, bytes) in samples::of(name).iter().enumerate() {
            if !decoder(bytes) {
                return Err(format!("sample {number} for `{name}` is refused").into());
            }
            std::fs::write(dir.join(number.to_string()), bytes)?;
        }
    }
    Ok(())
}
