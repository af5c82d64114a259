//! What clients ask for: changes to objects of all five types, hot keys, several keys at once, large sets.

use super::rng::Rng;
use super::scenario::Scenario;
use crate::change::Change;
use crate::key::{Key, Kind};
use crate::scalar::{Float, Scalar};

/// So few members that writers meet.
pub(super) const FEW: u64 = 6;
/// The same for the fields of a map.
const FIELDS: u64 = 6;
/// Of a thousand commits in a scenario with large sets, how many put many members at once.
const LARGE_PERMILLE: u64 = 60;

/// The changes of one commit.
pub(super) fn changes(scenario: &Scenario, rng: &mut Rng) -> Vec<(Key, Change)> {
    let keys = if rng.chance(600) { 1 } else { rng.between(1, 6) };
    let keys = if rng.chance(5) { 40 } else { keys };
    (0..keys).filter_map(|_| change(scenario, rng)).collect()
}

fn change(scenario: &Scenario, rng: &mut Rng) -> Option<(Key, Change)> {
    let kind = Kind::ALL[rng.index(Kind::ALL.len())];
    // Half of all writes go to one key: that is what "hot" means.
    let name = if rng.chance(500) { 0 } else { rng.between(0, scenario.names) };
    let key = Key::new(kind, &format!("k{name}")).ok()?;
    let change = match kind {
        Kind::GCounter => Change::Increment(rng.between(0, 9)),
        Kind::PnCounter if rng.chance(500) => Change::Decrement(rng.between(0, 9)),
        Kind::PnCounter => Change::Increment(rng.between(0, 9)),
        Kind::GSet => Change::Add(members(scenario, scenario.members * 4, rng)),
        Kind::OrSet if rng.chance(450) => Change::Remove(members(scenario, scenario.members, rng)),
        Kind::OrSet => Change::Add(members(scenario, scenario.members, rng)),
        Kind::LwwMap if rng.chance(350) => {
            Change::RemoveFields((0..rng.between(1, 3)).map(|_| format!("f{}", rng.between(0, FIELDS))).collect())
        }
        Kind::LwwMap => Change::Put(
            (0..rng.between(1, 3)).map(|_| (format!("f{}", rng.between(0, FIELDS)), scalar(1000, rng))).collect(),
        ),
    };
    Some((key, change))
}

/// A few members, or a stretch of many where sets are to become large.
fn members(scenario: &Scenario, among: u64, rng: &mut Rng) -> Vec<Scalar> {
    if scenario.members > FEW && rng.chance(LARGE_PERMILLE) {
        let first = rng.between(0, among);
        return (first..first + rng.between(1, among / 4)).map(|number| Scalar::Int(number.cast_signed())).collect();
    }
    (0..rng.between(1, 3)).map(|_| scalar(among, rng)).collect()
}

/// A scalar of any kind; each number stands for one scalar.
fn scalar(among: u64, rng: &mut Rng) -> Scalar {
    let number = rng.between(0, among);
    match number % 6 {
        0 => Scalar::Text("x".repeat(usize::try_from(number).unwrap_or(0) % 40)),
        1 => Scalar::Bytes(number.to_le_bytes().to_vec()),
        2 => Scalar::Float(Float(f64::from_bits(number.wrapping_mul(0x3ff1_0000_0000_0001)))),
        3 => Scalar::Bool(number % 4 == 3),
        4 if number % 8 == 4 => Scalar::Null,
        _ => Scalar::Int(i64::try_from(number).unwrap_or(0)),
    }
}
