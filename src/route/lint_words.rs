//! What somebody may have meant.

/// The known word that looks most like this one, if one does.
fn near<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(word, known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min()
        .map(|(_, known)| known)
}

pub fn suggestion(word: &str, known: &[&str]) -> String {
    near(word, known.iter().copied()).map_or_else(String::new, |known| format!("; did you mean `{known}`?"))
}

/// What there is, after what there is not.
pub fn instead(word: &str, known: &[&str]) -> String {
    let all = known.join(", ");
    match suggestion(word, known) {
        _ if known.is_empty() => "; there are none".to_owned(),
        near if near.is_empty() => format!("; there are: {all}"),
        near => format!("{near} There are: {all}"),
    }
}
