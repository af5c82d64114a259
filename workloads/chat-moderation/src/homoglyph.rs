//! Characters beyond ASCII, as what they are read as.
//!
//! Owns the table of lookalikes: accents, full width, Greek and Cyrillic letters that look Latin, letters of mathematics
//! and in circles, and what is not seen at all. It is a short table of what chat contains and not all of Unicode's
//! confusables: the complete one would be larger than the model. The invariant: no ASCII character comes in, and what
//! goes out is ASCII or one of three kinds.

/// What a character is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A character of ASCII; letters in lower case.
    Ascii(u8),
    /// A letter that looks like no Latin one.
    Letter,
    /// Not seen: zero width, or a mark upon the letter before it.
    Nothing,
    /// A boundary: punctuation, pictures, white space.
    Space,
}

/// Reads one character that is not ASCII.
#[must_use]
pub fn read(c: char) -> Reading {
    if is_unseen(c) {
        return Reading::Nothing;
    }
    if let Some(ascii) = styled(c) {
        return Reading::Ascii(ascii.to_ascii_lowercase());
    }
    let lower = c.to_lowercase().next().unwrap_or(c);
    match u8::try_from(lower).ok().filter(u8::is_ascii).or(lookalike(lower)) {
        Some(ascii) => Reading::Ascii(ascii),
        None if lower.is_alphabetic() => Reading::Letter,
        None => Reading::Space,
    }
}

/// Zero-width characters, marks that combine, selectors, changes of direction.
const fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}' | '\u{feff}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e0fff}'
        | '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// Whole alphabets in another style: they are laid out in order, so arithmetic reads them.
fn styled(c: char) -> Option<u8> {
    let (first, base, length) = match c {
        '\u{ff01}'..='\u{ff5e}' => (0xff01, b'!', 94),
        '\u{24b6}'..='\u{24cf}' => (0x24b6, b'a', 26),
        '\u{24d0}'..='\u{24e9}' => (0x24d0, b'a', 26),
        '\u{249c}'..='\u{24b5}' => (0x249c, b'a', 26),
        '\u{1f110}'..='\u{1f129}' => (0x1f110, b'a', 26),
        '\u{1f130}'..='\u{1f149}' => (0x1f130, b'a', 26),
        '\u{1f150}'..='\u{1f169}' => (0x1f150, b'a', 26),
        '\u{1f170}'..='\u{1f189}' => (0x1f170, b'a', 26),
        '\u{1f1e6}'..='\u{1f1ff}' => (0x1f1e6, b'a', 26),
        // Thirteen styles, each of 26 capitals and 26 small letters.
        '\u{1d400}'..='\u{1d6a3}' => (0x1d400, b'a', 26),
        '\u{1d7ce}'..='\u{1d7ff}' => (0x1d7ce, b'0', 10),
        '\u{2070}' | '\u{2074}'..='\u{2079}' => (0x2070, b'0', 10),
        '\u{2080}'..='\u{2089}' => (0x2080, b'0', 10),
        _ => return None,
    };
    let offset = (u32::from(c) - first) % length;
    u8::try_from(offset).ok().map(|offset| base + offset)
}

/// A letter in lower case, as the Latin letter that it looks like. A line for each, which rustfmt would make a column.
#[rustfmt::skip]
const fn lookalike(c: char) -> Option<u8> {
    Some(match c {
        'à'..='å' | 'ā' | 'ă' | 'ą' | 'ǎ' | 'ȧ' | 'ạ' | 'ả' | 'ấ'..='ặ' | 'а' | 'α' | 'ά' | 'ɑ' | 'ᴀ' | 'ª' | 'ᵃ' | 'æ' => b'a',
        'ḃ' | 'ḅ' | 'ƀ' | 'в' | 'ь' | 'β' | 'ʙ' | 'ᵇ' => b'b',
        'ç' | 'ć' | 'ĉ' | 'ċ' | 'č' | 'с' | 'ϲ' | 'ᴄ' | '¢' | 'ⅽ' | 'ᶜ' => b'c',
        'ď' | 'đ' | 'ḋ' | 'ḍ' | 'ԁ' | 'ᴅ' | 'ð' | 'ⅾ' | 'ᵈ' => b'd',
        'è'..='ë' | 'ē' | 'ĕ' | 'ė' | 'ę' | 'ě' | 'ẹ' | 'ẻ' | 'ẽ' | 'ế'..='ệ' | 'е' | 'ё' | 'є' | 'ε' | 'έ' | 'ᴇ' | '€' | 'ᵉ' | 'ə' => b'e',
        'ƒ' | 'ḟ' | 'ғ' | 'ꜰ' | 'ᶠ' => b'f',
        'ĝ' | 'ğ' | 'ġ' | 'ģ' | 'ǧ' | 'ɡ' | 'ɢ' | 'ᵍ' => b'g',
        'ĥ' | 'ħ' | 'ḥ' | 'н' | 'һ' | 'ʜ' | 'ʰ' => b'h',
        'ì'..='ï' | 'ĩ' | 'ī' | 'ĭ' | 'į' | 'ı' | 'ỉ' | 'ị' | 'і' | 'ї' | 'ι' | 'ί' | 'ɪ' | '¡' | 'ⅰ' | 'ⁱ' => b'i',
        'ĵ' | 'ј' | 'ϳ' | 'ᴊ' | 'ʲ' => b'j',
        'ķ' | 'ǩ' | 'к' | 'κ' | 'ᴋ' | 'ᵏ' => b'k',
        'ĺ' | 'ļ' | 'ľ' | 'ł' | 'ḷ' | 'ӏ' | 'ʟ' | 'ⅼ' | 'ˡ' | '£' => b'l',
        'ḿ' | 'ṁ' | 'м' | 'ᴍ' | 'ⅿ' | 'ᵐ' => b'm',
        'ñ' | 'ń' | 'ņ' | 'ň' | 'ŋ' | 'ṅ' | 'ṇ' | 'ո' | 'η' | 'п' | 'ɴ' | 'ⁿ' => b'n',
        'ò'..='ö' | 'ø' | 'ō' | 'ŏ' | 'ő' | 'ơ' | 'ǒ' | 'ọ' | 'ỏ' | 'ố'..='ợ' | 'о' | 'ο' | 'ό' | 'σ' | 'ᴏ' | 'º' | 'ᵒ' | 'օ' | 'œ' => b'o',
        'ṕ' | 'ṗ' | 'р' | 'ρ' | 'ᴘ' | 'þ' | 'ᵖ' => b'p',
        'ԛ' | 'ɋ' => b'q',
        'ŕ' | 'ŗ' | 'ř' | 'ṛ' | 'г' | 'ʀ' | 'ʳ' => b'r',
        'ś' | 'ŝ' | 'ş' | 'š' | 'ș' | 'ṡ' | 'ṣ' | 'ѕ' | 'ꜱ' | 'ß' | '§' | 'ˢ' => b's',
        'ţ' | 'ť' | 'ŧ' | 'ț' | 'ṭ' | 'т' | 'τ' | 'ᴛ' | '†' | 'ᵗ' => b't',
        'ù'..='ü' | 'ũ' | 'ū' | 'ŭ' | 'ů' | 'ű' | 'ų' | 'ư' | 'ǔ' | 'ụ' | 'ủ' | 'ứ'..='ự' | 'υ' | 'ύ' | 'µ' | 'ս' | 'ᴜ' | 'ᵘ' => b'u',
        'ν' | 'ѵ' | 'ᴠ' | 'ⅴ' | 'ᵛ' => b'v',
        'ŵ' | 'ẁ' | 'ẃ' | 'ẅ' | 'ω' | 'ώ' | 'ԝ' | 'ш' | 'ᴡ' | 'ʷ' => b'w',
        'х' | 'χ' | 'ⅹ' | '×' | 'ˣ' => b'x',
        'ý' | 'ÿ' | 'ŷ' | 'ỳ' | 'ỵ' | 'ỷ' | 'ỹ' | 'у' | 'γ' | 'ү' | 'ʏ' | '¥' | 'ʸ' => b'y',
        'ź' | 'ż' | 'ž' | 'ẓ' | 'ᴢ' | 'ᶻ' => b'z',
        'з' => b'3',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_latin_is_read_as_latin() {
        let read_all = |text: &str| -> String {
            text.chars()
                .filter_map(|c| match read(c) {
                    Reading::Ascii(ascii) => Some(char::from(ascii)),
                    Reading::Letter => Some('~'),
                    Reading::Nothing => None,
                    Reading::Space => Some(' '),
                })
                .collect()
        };
        for (text, expect) in [
            ("ｆｕｃｋ！", "fuck!"),
            ("𝓲𝓭𝓲𝓸𝓽", "idiot"),
            ("𝗜𝗗𝗜𝗢𝗧", "idiot"),
            ("ⓕⓤⓒⓚ", "fuck"),
            ("🅵🆄🅲🅺", "fuck"),
            ("сука", "cyka"),
            ("àéîöü", "aeiou"),
            ("\u{200b}\u{301}\u{fe0f}", ""),
            ("ж日", "~~"),
            ("😀。", "  "),
            ("𝟘𝟙𝟡", "019"),
            ("İ", "i"),
        ] {
            assert_eq!(read_all(text), expect, "{text}");
        }
    }
}
