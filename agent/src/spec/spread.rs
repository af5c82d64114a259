//! How many instances of a workload there should be, and over which regions.
//!
//! Owns the fields `replicas`, `everywhere`, `per_region` and `spread` of a spec, of which the first three exclude each other.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde_json::Value;

use super::fields::Fields;
use super::{SpecError, is_token};
use crate::encoding::whole;

/// Instances when a spec says neither `replicas` nor `everywhere`: one, since each further one costs memory.
pub const REPLICAS_DEFAULT: u16 = 1;
/// Most instances that a spec may ask for by number. Whoever wants more wants `everywhere`.
pub const REPLICAS_MAX: u16 = 1_000;
/// Most regions that `per_region` may name; a spec is one value of the shared state, and whoever has more regions spreads over them.
pub const REGIONS_MAX: usize = 16;

/// How many instances of a workload there should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spread {
    /// This many, on as many hosts; 1 to [`REPLICAS_MAX`].
    Replicas(u16),
    /// This many, and no region has two more than another that could take one; `"spread": "regions"` in JSON.
    OverRegions(u16),
    /// One on each host that no constraint rules out.
    Everywhere,
    /// So many in each of these regions, and none elsewhere.
    PerRegion(BTreeMap<String, u16>),
}

impl Spread {
    /// How many instances that is, where it does not depend on the hosts.
    #[must_use]
    pub fn replicas(&self) -> Option<u32> {
        match self {
            Self::Replicas(replicas) | Self::OverRegions(replicas) => Some(u32::from(*replicas)),
            Self::Everywhere => None,
            Self::PerRegion(counts) => Some(counts.values().map(|count| u32::from(*count)).sum()),
        }
    }

    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, SpecError> {
        let replicas = fields.integer("replicas", 1..=REPLICAS_MAX)?;
        let everywhere = fields.flag("everywhere")?.unwrap_or(false);
        let per_region = fields.object("per_region").map(|json| read_counts(fields, json)).transpose()?;
        let over_regions = match fields.object("spread").map(|json| (json, json.as_str())) {
            None | Some((_, Some("any"))) => false,
            Some((_, Some("regions"))) => true,
            Some((_, Some(_))) => return Err(fields.invalid("spread", "is `any` or `regions`")),
            Some((json, None)) => return Err(fields.wrong_type("spread", "`any` or `regions`", json)),
        };
        let apart =
            |name: &str, other: &str| fields.invalid(name, format_args!("cannot be given together with `{other}`"));
        match (everywhere, per_region, replicas) {
            (true, _, Some(_)) => Err(apart("replicas", "everywhere")),
            (true, Some(_), None) => Err(apart("per_region", "everywhere")),
            (true, None, None) if over_regions => Err(apart("spread", "everywhere")),
            (true, None, None) => Ok(Self::Everywhere),
            (false, Some(_), _) if over_regions => Err(apart("spread", "per_region")),
            (false, Some(counts), replicas) => {
                let counts = Self::PerRegion(counts);
                match replicas.map(u32::from) {
                    // Members that do not know `per_region` go by `replicas`, so both are written.
                    None => Ok(counts),
                    Some(replicas) if counts.replicas() == Some(replicas) => Ok(counts),
                    Some(_) => Err(fields.invalid("replicas", "is not the sum of `per_region`; leave it out")),
                }
            }
            (false, None, replicas) => {
                let replicas = replicas.unwrap_or(REPLICAS_DEFAULT);
                Ok(if over_regions { Self::OverRegions(replicas) } else { Self::Replicas(replicas) })
            }
        }
    }

    pub(super) fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        match self {
            Self::Replicas(replicas) => map.serialize_entry("replicas", replicas),
            Self::OverRegions(replicas) => {
                map.serialize_entry("replicas", replicas)?;
                map.serialize_entry("spread", "regions")
            }
            Self::Everywhere => map.serialize_entry("everywhere", &true),
            Self::PerRegion(counts) => {
                map.serialize_entry("replicas", &self.replicas())?;
                map.serialize_entry("per_region", counts)
            }
        }
    }
}

fn read_counts(fields: &Fields<'_>, json: &Value) -> Result<BTreeMap<String, u16>, SpecError> {
    let Value::Object(entries) = json else {
        return Err(fields.wrong_type("per_region", "an object of counts by region", json));
    };
    if entries.is_empty() || entries.len() > REGIONS_MAX {
        return Err(fields.invalid("per_region", format_args!("names 1 to {REGIONS_MAX} regions")));
    }
    let mut counts = BTreeMap::new();
    let mut sum = 0_u64;
    for (region, count) in entries {
        if !is_token(region) {
            return Err(fields.invalid("per_region", "a region has 1 to 64 bytes without blanks or control characters"));
        }
        let field = format!("per_region.{region}");
        let number = whole(count).ok_or_else(|| fields.wrong_type(&field, "a whole number", count))?;
        let count = fields.within(&field, number, &(1..=REPLICAS_MAX))?;
        sum += u64::from(count);
        counts.insert(region.clone(), count);
    }
    if sum > u64::from(REPLICAS_MAX) {
        return Err(fields.invalid("per_region", format_args!("asks for {sum} instances, at most {REPLICAS_MAX} are")));
    }
    Ok(counts)
}
