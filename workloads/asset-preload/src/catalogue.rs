//! What an operator says about assets: which zone needs which, how large they are, how much may be loaded.
//!
//! Owns the format of the configuration (`docs/asset-preload.md`). The invariant: a line that cannot be read is left out and
//! complained of, and the others still count.

use std::collections::BTreeMap;

use selvedge_sdk::{Entries, Fault};

/// What of the configuration is read.
const ENTRIES: Entries =
    Entries { known: &["assets", "assets-max", "budget-bytes", "probability-min", "overhead-bytes"], renamed: &[] };
/// Complaints about lines of a table that are told: enough to see what is wrong with it.
const COMPLAINTS_MAX: usize = 16;

/// Assets per player in a plan when the configuration is silent: what a client loads in the seconds before a zone's border.
const ASSETS_MAX_DEFAULT: usize = 8;
/// Most that can be asked for: an answer for 1,024 players has to fit its limit.
const ASSETS_MAX_MAX: usize = 64;
/// Bytes per player in a plan when the configuration is silent: the size of the largest asset that agents keep.
const BUDGET_BYTES_DEFAULT: u64 = 64 << 20;
/// Least probability of a planned asset when the configuration is silent: below it nearly all loading is in vain.
const PROBABILITY_MIN_DEFAULT: f64 = 0.01;
/// The bytes that a request costs beside its own, when the configuration is silent: a round trip of 50 ms at 5 MiB/s.
const OVERHEAD_BYTES_DEFAULT: u64 = 256 << 10;

/// An asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// `blake3:` and 64 hexadecimal digits.
    pub digest: String,
    /// Its size, where the configuration says it.
    pub bytes: Option<u64>,
}

/// The configuration, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalogue {
    /// Each asset once.
    pub assets: Vec<Asset>,
    /// Positions in `assets`, by zone.
    pub zones: BTreeMap<String, Vec<usize>>,
    /// Most assets for one player.
    pub assets_max: usize,
    /// Most bytes for one player.
    pub budget_bytes: u64,
    /// Least probability of what is planned.
    pub probability_min: f64,
    /// What a request costs beside the bytes that it asks for, in bytes.
    pub overhead_bytes: u64,
}

impl Catalogue {
    /// Reads the configuration through `get`; complaints are for the operator.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> (Self, Vec<Fault>) {
        let mut complaints = Vec::new();
        let mut catalogue = Self {
            assets: Vec::new(),
            zones: BTreeMap::new(),
            assets_max: number(&get, "assets-max", 1..=ASSETS_MAX_MAX, ASSETS_MAX_DEFAULT, &mut complaints),
            budget_bytes: number(&get, "budget-bytes", 1..=u64::MAX, BUDGET_BYTES_DEFAULT, &mut complaints),
            probability_min: number(&get, "probability-min", 0.0..=1.0, PROBABILITY_MIN_DEFAULT, &mut complaints),
            overhead_bytes: number(&get, "overhead-bytes", 0..=u64::MAX, OVERHEAD_BYTES_DEFAULT, &mut complaints),
        };
        let mut known = BTreeMap::new();
        for (index, line) in get("assets").unwrap_or_default().lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match read_line(line) {
                Some((asset, zone)) => catalogue.add(&mut known, asset, zone),
                None if complaints.len() >= COMPLAINTS_MAX => {}
                None => complaints.push(complaint("assets", format!("line {}: expected DIGEST BYTES ZONE", index + 1))),
            }
        }
        (catalogue, complaints)
    }

    fn add(&mut self, known: &mut BTreeMap<String, usize>, asset: Asset, zone: &str) {
        let position = *known.entry(asset.digest.clone()).or_insert_with(|| {
            self.assets.push(Asset { digest: asset.digest, bytes: None });
            self.assets.len() - 1
        });
        let bytes = &mut self.assets[position].bytes;
        *bytes = bytes.or(asset.bytes);
        let zone = self.zones.entry(zone.to_owned()).or_default();
        if !zone.contains(&position) {
            zone.push(position);
        }
    }

    /// Positions of the assets of a zone.
    #[must_use]
    pub fn of(&self, zone: &str) -> &[usize] {
        self.zones.get(zone).map_or(&[], Vec::as_slice)
    }
}

/// What is wrong with the configuration whose entries have these names.
pub fn check(names: &[String], get: impl Fn(&str) -> Option<String>) -> Vec<Fault> {
    ENTRIES.unknown(names).into_iter().chain(Catalogue::read(get).1).collect()
}

fn complaint(name: &str, message: String) -> Fault {
    Fault::new(format!("config.{name}"), message)
}

/// `DIGEST BYTES ZONE`, where BYTES may be `-` and ZONE is the rest of the line.
fn read_line(line: &str) -> Option<(Asset, &str)> {
    let (digest, rest) = line.split_once(char::is_whitespace)?;
    let (bytes, zone) = rest.trim_start().split_once(char::is_whitespace)?;
    let hex = digest.strip_prefix("blake3:")?;
    let is_digest = hex.len() == 64 && hex.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let bytes = if bytes == "-" { None } else { Some(bytes.parse().ok()?) };
    is_digest.then(|| (Asset { digest: digest.to_owned(), bytes }, zone.trim_start()))
}

fn number<T: std::str::FromStr + PartialOrd + Copy>(
    get: impl Fn(&str) -> Option<String>,
    name: &str,
    range: std::ops::RangeInclusive<T>,
    default: T,
    complaints: &mut Vec<Fault>,
) -> T {
    let Some(text) = get(name) else { return default };
    match text.trim().parse() {
        Ok(value) if range.contains(&value) => value,
        Ok(_) | Err(_) => {
            complaints.push(complaint(name, format!("`{}` is out of range or no number", text.trim())));
            default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(letter: char) -> String {
        format!("blake3:{}", letter.to_string().repeat(64))
    }

    #[test]
    fn a_table_is_read_and_its_faults_are_named() {
        let table = format!(
            "# what the town needs\n{a} 1000 plaza\n\n  {a}  -\told town\n{b} - plaza\n{b} 5 plaza\nblake3:xyz 1 plaza\n{a} many plaza\n{a} 1\n",
            a = digest('a'),
            b = digest('b')
        );
        let (catalogue, complaints) = Catalogue::read(|name| match name {
            "assets" => Some(table.clone()),
            "assets-max" => Some("0".to_owned()),
            "probability-min" => Some(" 0.2 ".to_owned()),
            _ => None,
        });
        assert_eq!(
            catalogue.assets,
            [('a', 1000), ('b', 5)].map(|(letter, bytes)| Asset { digest: digest(letter), bytes: Some(bytes) })
        );
        assert_eq!(catalogue.of("plaza"), [0, 1]);
        assert_eq!(catalogue.of("old town"), [0]);
        assert_eq!(catalogue.of("harbour"), [0; 0]);
        assert_eq!((catalogue.assets_max, catalogue.probability_min), (ASSETS_MAX_DEFAULT, 0.2));
        let named: Vec<_> = complaints.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(named, ["config.assets-max", "config.assets", "config.assets", "config.assets"]);
        let lines: Vec<_> =
            complaints.iter().filter_map(|fault| fault.message.strip_prefix("line ")?.split(':').next()).collect();
        assert_eq!(lines, ["7", "8", "9"]);
    }

    #[test]
    fn the_whole_configuration_can_be_checked_before_anybody_plans() {
        let wrong = |name: &str, value: &str| -> Vec<String> {
            let get = |asked: &str| (asked == name).then(|| value.to_owned());
            check(&[name.to_owned()], get).into_iter().map(|fault| fault.field).collect()
        };
        assert_eq!(wrong("assets-max", "4"), [""; 0]);
        assert_eq!(wrong("assets-max", "many"), ["config.assets-max"]);
        assert_eq!(wrong("assets_max", "4"), ["assets_max"]);
    }
}
