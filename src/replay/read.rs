//! Lines of an archive, in order, a chunk at a time.

use std::io::BufRead;

use serde::Serialize;

use crate::lines::{self, next_line};

/// Lines in a chunk: enough that handing it from thread to thread costs nothing.
const LINES: usize = 256;
/// A chunk of long lines is handed over earlier.
const BYTES: usize = 1 << 20;

/// An opened file of JSON lines, already unpacked.
pub struct Input {
    pub name: String,
    pub reader: Box<dyn BufRead + Send>,
}

/// One message, and where it stands.
pub(super) struct Line {
    pub file: usize,
    /// From 1; empty lines count.
    pub number: u64,
    pub body: Vec<u8>,
}

/// A file that could not be read to its end; what came before counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Damage {
    /// `events.jsonl.gz:1042`: the line that is cut.
    pub at: String,
    pub problem: String,
}

/// Reads every input to its end, or to where it is damaged; stops early once `send` refuses a chunk.
pub(super) fn read(inputs: Vec<Input>, mut send: impl FnMut(Vec<Line>) -> bool) -> Vec<Damage> {
    let mut damage = Vec::new();
    let mut chunk = Vec::with_capacity(LINES);
    let mut bytes = 0;
    for (file, mut input) in inputs.into_iter().enumerate() {
        let mut number = 0;
        loop {
            let mut body = Vec::new();
            number += 1;
            match next_line(&mut input.reader, &mut body) {
                Ok(lines::Line::End) => break,
                Ok(_) if body.trim_ascii().is_empty() => continue,
                Ok(_) => bytes += body.len(),
                // The rest of a compressed file means nothing without what is missing.
                Err(error) => {
                    damage.push(Damage { at: format!("{}:{number}", input.name), problem: error.to_string() });
                    break;
                }
            }
            chunk.push(Line { file, number, body });
            if chunk.len() >= LINES || bytes >= BYTES {
                bytes = 0;
                if !send(std::mem::replace(&mut chunk, Vec::with_capacity(LINES))) {
                    return damage;
                }
            }
        }
    }
    if !chunk.is_empty() {
        send(chunk);
    }
    damage
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(inputs: Vec<Input>) -> (Vec<(usize, u64)>, Vec<Damage>) {
        let mut found = Vec::new();
        let damage = read(inputs, |chunk| {
            found.extend(chunk.iter().map(|line| (line.file, line.number)));
            true
        });
        (found, damage)
    }

    fn input(name: &str, bytes: Vec<u8>) -> Input {
        Input { name: name.to_owned(), reader: Box::new(std::io::Cursor::new(bytes)) }
    }

    #[test]
    fn lines_are_numbered_as_an_editor_does_and_empty_ones_are_left_out() {
        let (found, damage) = lines(vec![input("a", b"{}\n\n  \n{}".to_vec()), input("b", b"{}\n".to_vec())]);
        assert_eq!(found, [(0, 1), (0, 4), (1, 1)]);
        assert!(damage.is_empty());
    }

    #[test]
    fn a_cut_file_gives_what_came_before_the_cut_and_the_next_file_is_read() {
        let text = "{\"a\": 1}\n".repeat(10_000);
        let packed = zstd::encode_all(text.as_bytes(), 1).expect("packed");
        let cut = packed[..packed.len() - 4].to_vec();
        let reader = zstd::Decoder::new(std::io::Cursor::new(cut)).expect("a decoder");
        let cut = Input { name: "cut.zst".to_owned(), reader: Box::new(std::io::BufReader::new(reader)) };
        let (found, damage) = lines(vec![cut, input("b", b"{}\n".to_vec())]);
        assert_eq!(found.last(), Some(&(1, 1)));
        assert!(damage.len() == 1 && damage[0].at.starts_with("cut.zst:"), "{damage:?}");
    }
}
