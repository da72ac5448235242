//! Hostile text made harmless: what every target that people read needs.

/// Without control characters (line breaks and tabs stay) and without marks that turn or hide text.
pub fn clean(text: &str) -> String {
    text.chars().filter(|&c| !is_hostile(c)).collect()
}

/// The same on one line.
pub fn one_line(text: &str) -> String {
    let spaced: String = clean(text).chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
    spaced.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn is_hostile(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        // Zero width, bidirectional overrides and isolates, byte order mark, non-characters.
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => true,
        '\u{fffe}' | '\u{ffff}' => true,
        c => c.is_control(),
    }
}

/// At most `max` characters, with a visible mark where something is missing.
pub fn shorten(text: &str, max: usize) -> String {
    const MARK: &str = " (truncated)";
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max.saturating_sub(MARK.len())).collect();
    short.push_str(MARK);
    short
}

/// A link that may be shown as one: https, one word, nothing that ends a markup.
pub fn safe_link(url: &str) -> Option<&str> {
    let harmless = url.starts_with("https://")
        && url.len() <= 2_000
        && !url
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || matches!(c, '|' | '<' | '>' | '"' | '\\' | '[' | ']'));
    harmless.then_some(url)
}

/// `VERY HIGH`.
pub fn spoken_risk(risk: &str) -> String {
    one_line(risk).replace('_', " ")
}

/// `3 d 4 h`, `12 min`, `40 s`.
pub fn spoken_span(ms: i64) -> String {
    let minutes = (ms / 60_000).max(0);
    let (days, hours) = (minutes / 1440, minutes % 1440 / 60);
    match (days, hours) {
        (0, 0) if minutes == 0 => format!("{} s", ms.max(0) / 1_000),
        (0, 0) => format!("{minutes} min"),
        (0, hours) => format!("{hours} h"),
        (days, 0) => format!("{days} d"),
        (days, hours) => format!("{days} d {hours} h"),
    }
}

/// `2026-11-23`.
pub fn day(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.strftime("%F").to_string())
}

/// An error with everything that led to it.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_turns_or_hides_text_is_removed() {
        assert_eq!(clean("a\u{202e}b\u{200b}c\u{1b}[31m\nd"), "abc[31m\nd");
        assert_eq!(one_line(" a\r\n\tb  c "), "a b c");
    }

    #[test]
    fn long_text_is_cut_at_a_character_and_says_so() {
        let cut = shorten(&"é".repeat(50), 20);
        assert_eq!(cut.chars().count(), 20);
        assert!(cut.ends_with("(truncated)"));
    }

    #[test]
    fn only_https_links_without_markup_are_links() {
        assert!(safe_link("https://kb.example/x#1").is_some());
        for bad in
            ["http://kb.example", "javascript:alert(1)", "https://a|b", "https://a b", "https://a>", "https://a]"]
        {
            assert_eq!(safe_link(bad), None, "{bad}");
        }
    }

    #[test]
    fn spans_are_told_in_two_units_at_most() {
        assert_eq!(spoken_span(273_600_000), "3 d 4 h");
        assert_eq!(spoken_span(720_000), "12 min");
        assert_eq!(spoken_span(40_700), "40 s");
        assert_eq!(spoken_span(-5), "0 s", "clocks of two machines");
    }
}
