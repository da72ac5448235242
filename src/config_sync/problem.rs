//! What is wrong with a file: where, why, and the lines around it.

use std::fmt;

/// A problem of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// Relative to the directory.
    pub file: String,
    /// Line and column, from 1.
    pub place: Option<(u64, u64)>,
    pub text: String,
    frame: String,
}

impl Problem {
    pub fn at(file: &str, place: Option<(u64, u64)>, text: impl Into<String>) -> Self {
        Self { file: file.to_owned(), place, text: text.into(), frame: String::new() }
    }

    /// With the line of the source and a mark below the column.
    #[must_use]
    pub fn with_frame(mut self, source: &str) -> Self {
        let Some((line, column)) = self.place else { return self };
        let index = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
        if let Some(text) = source.lines().nth(index) {
            let width = line.to_string().len();
            let indent = usize::try_from(column.saturating_sub(1)).unwrap_or(0).min(text.chars().count());
            self.frame =
                format!("\n {line} | {text}\n {:width$} | {:indent$}^", "", "", width = width, indent = indent);
        }
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}{}", self.file, self.text, self.frame),
            None => write!(f, "{}: {}", self.file, self.text),
        }
    }
}
