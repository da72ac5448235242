//! Files of lines, read one by one, however long a line is.

use std::{
    borrow::Cow,
    io::{BufRead, Read},
};

/// A message is a megabyte at most; a longer line would fill the memory.
const LONGEST: usize = 4 << 20;

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    Whole,
    /// Its start; the rest is skipped.
    Cut,
    End,
}

impl Line {
    /// What is noted beside the start of a line.
    pub fn meta(self, number: u64) -> Vec<(Cow<'static, str>, String)> {
        let mut meta = vec![("line".into(), number.to_string())];
        if self == Self::Cut {
            meta.push(("cut".into(), format!("the line has {LONGEST} bytes or more, this is its start")));
        }
        meta
    }
}

/// Reads the next line into `line`, and no more of it than a message may be long.
///
/// # Errors
/// The file can't be read any further; what is in `line` then is no line.
pub fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<Line> {
    line.clear();
    let most = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    if reader.by_ref().take(most).read_until(b'\n', line)? == 0 {
        return Ok(Line::End);
    }
    if line.len() < LONGEST || line.ends_with(b"\n") {
        return Ok(Line::Whole);
    }
    loop {
        let rest = reader.fill_buf()?;
        let (skipped, ends) = match memchr::memchr(b'\n', rest) {
            Some(at) => (at + 1, true),
            None => (rest.len(), rest.is_empty()),
        };
        reader.consume(skipped);
        if ends {
            return Ok(Line::Cut);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Cursor};

    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_cut_and_the_next_one_is_read() {
        let mut long = vec![b'x'; 3 * LONGEST];
        long.push(b'\n');
        let text = [b"{}\n".as_slice(), &long, b"\n[]"].concat();
        let mut reader = BufReader::new(Cursor::new(&text));
        let mut line = Vec::new();
        let mut next = || {
            let what = next_line(&mut reader, &mut line).expect("read");
            (what, line.len())
        };
        assert_eq!(next(), (Line::Whole, 3));
        assert_eq!(next(), (Line::Cut, LONGEST));
        assert_eq!((next(), next(), next()), ((Line::Whole, 1), (Line::Whole, 2), (Line::End, 0)));
    }
}
