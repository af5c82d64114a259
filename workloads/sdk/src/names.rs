//! Names of keys that end in a number.
//!
//! Owns one buffer that is written over for each name: a call that touches hundreds of keys allocates once, and carries no
//! formatting machinery. The invariant: a name is what `format!("{prefix}{id}")` gives.

/// The digits of the largest id.
const DIGITS_MAX: usize = 20;

/// Names with one prefix: `Names::new("combat:damage:").of(42)` is `combat:damage:42`.
#[derive(Clone, Debug)]
pub struct Names {
    text: String,
    prefix: usize,
}

impl Names {
    /// Names that begin with `prefix`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        let mut text = String::with_capacity(prefix.len() + DIGITS_MAX);
        text.push_str(prefix);
        Self { text, prefix: prefix.len() }
    }

    /// The name that ends in `id`.
    pub fn of(&mut self, mut id: u64) -> &str {
        self.text.truncate(self.prefix);
        let (mut digits, mut from) = ([b'0'; DIGITS_MAX], DIGITS_MAX);
        while from == DIGITS_MAX || id > 0 {
            from -= 1;
            digits[from] += (id % 10).to_le_bytes()[0];
            id /= 10;
        }
        self.text.extend(digits[from..].iter().map(|digit| char::from(*digit)));
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_formatting_gives() {
        let mut names = Names::new("a:b:");
        for id in [0, 7, 10, 99, 100, 1_234_567_890, u64::MAX, 5] {
            assert_eq!(names.of(id), format!("a:b:{id}"));
        }
    }
}
