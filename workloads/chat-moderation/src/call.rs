//! The messages of a call, and how many they may be.
//!
//! Owns the bounds of a call and the two shapes that messages come in. The invariant: whatever is within the bounds is judged
//! in a fraction of the default deadline.

use selvedge_sdk::Fault;

/// Messages in one call: each may be another offender's, and a call may write little more than this.
pub const MESSAGES_MAX: usize = 4_000;
/// The longest text of a message, in bytes. Chats of games stop at a few hundred.
pub const TEXT_BYTES_MAX: usize = 4_096;
/// Bytes of all texts in one call: the worst of them take some 10 ms where it was measured, and the default deadline is 50 ms.
pub const CALL_BYTES_MAX: usize = 64 * 1024;

/// Refuses messages of which there are too many, or that are too long.
///
/// # Errors
/// Names the message (`messages[3].text`), or `messages` if it is all of them.
pub fn check<'a>(texts: impl ExactSizeIterator<Item = &'a str>) -> Result<(), Fault> {
    let lengths = texts.map(str::len);
    check_lengths(lengths, "messages", ".text")
}

/// Cuts a text into its messages, by where each ends.
///
/// # Errors
/// The same as [`check`], of `lines`; and names the line that ends before it begins, behind the text or within a character, or the
/// text, if some of it is in no line.
pub fn cut(text: &str, ends: impl ExactSizeIterator<Item = u32>) -> Result<Vec<&str>, Fault> {
    let mut from = 0;
    let lines = ends.enumerate().map(|(at, end)| {
        let end = usize::try_from(end).unwrap_or(usize::MAX);
        let line = text.get(from..end).ok_or_else(|| {
            let message = format!("is {end}; the end of a character is right, from {from} to {}", text.len());
            Fault::new(format!("lines[{at}].end"), message)
        })?;
        from = end;
        Ok(line)
    });
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    if from < text.len() {
        return Err(Fault::new("text", format!("has {} bytes behind the last line", text.len() - from)));
    }
    check_lengths(lines.iter().map(|line| line.len()), "lines", ".end")?;
    Ok(lines)
}

fn check_lengths(lengths: impl ExactSizeIterator<Item = usize>, list: &str, field: &str) -> Result<(), Fault> {
    let messages = lengths.len();
    if messages > MESSAGES_MAX {
        return Err(Fault::new(list, format!("are {messages}; at most {MESSAGES_MAX} are allowed in one call")));
    }
    let mut bytes = 0;
    for (at, length) in lengths.enumerate() {
        if length > TEXT_BYTES_MAX {
            let message = format!("has {length} bytes; at most {TEXT_BYTES_MAX} are allowed");
            return Err(Fault::new(format!("{list}[{at}]{field}"), message));
        }
        bytes += length;
    }
    if bytes > CALL_BYTES_MAX {
        return Err(Fault::new(list, format!("have {bytes} bytes; at most {CALL_BYTES_MAX} are allowed in one call")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_could_not_be_written_or_read_in_time_are_refused() {
        let check = |messages, bytes| check(vec!["a".repeat(bytes).as_str(); messages].into_iter());
        assert_eq!(check(MESSAGES_MAX, 1), Ok(()));
        assert_eq!(check(MESSAGES_MAX + 1, 1).expect_err("too many").field, "messages");
        assert_eq!(check(16, 4_096), Ok(()));
        assert_eq!(check(17, 4_096).expect_err("too long together").field, "messages");
        assert_eq!(check(1, 4_097).expect_err("too long").field, "messages[0].text");
    }

    #[test]
    fn lines_are_cut_where_they_end_and_cover_the_text() {
        let cut = |text, ends: &[u32]| cut(text, ends.iter().copied()).map_err(|fault| fault.field);
        assert_eq!(cut("gg wpéz", &[2, 2, 7, 8]), Ok(vec!["gg", "", " wpé", "z"]));
        assert_eq!(cut("", &[]), Ok(vec![]));
        for (ends, field) in
            [(&[2, 6, 8][..], "lines[1].end"), (&[2, 1, 8], "lines[1].end"), (&[9], "lines[0].end"), (&[2], "text")]
        {
            assert_eq!(cut("gg wpéz", ends), Err(field.to_owned()), "{ends:?}");
        }
        assert_eq!(cut(&"a".repeat(5_000), &[5_000]), Err("lines[0].end".to_owned()));
    }
}
