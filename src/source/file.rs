//! JSON lines from a file (.gz, .zst) or standard input.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use super::{Intake, Receipt, SourceState, Taken};
use crate::{clock::now_ms, finding::RawMessage};

/// Lines handed over at a time.
const LINES: usize = 100;

pub struct FileSource {
    pub name: Arc<str>,
    /// `-` is standard input.
    pub path: String,
    pub state: Arc<SourceState>,
}

/// Opens a file of lines, unpacked by its ending.
pub fn open(path: &str) -> std::io::Result<Box<dyn BufRead + Send>> {
    let inner: Box<dyn Read + Send> = match path {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(File::open(path)?),
    };
    let ending = Path::new(path).extension().and_then(|ending| ending.to_str());
    Ok(match ending {
        Some("gz") => Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(inner))),
        Some("zst") => Box::new(BufReader::new(zstd::Decoder::new(inner)?)),
        _ => Box::new(BufReader::new(inner)),
    })
}

impl FileSource {
    /// Reads to the end, as fast as the engine takes it. Blocking.
    pub fn run(&self, intake: &Intake) -> std::io::Result<u64> {
        let mut reader = open(&self.path)?;
        let mut count = 0;
        let mut batch = Vec::with_capacity(LINES);
        loop {
            let mut body = Vec::new();
            let more = reader.read_until(b'\n', &mut body)? > 0;
            if more && !body.trim_ascii().is_empty() {
                count += 1;
                let now = now_ms();
                let meta = vec![("line".to_owned(), count.to_string())];
                let message = RawMessage { source: Arc::clone(&self.name), body, received_at: now, sent_at: now, meta };
                batch.push(Taken { message, receipt: Receipt::None });
            }
            let ready = batch.len() >= LINES || (!more && !batch.is_empty());
            if ready {
                super::received(&self.name, batch.len());
            }
            if ready && intake.blocking_send(std::mem::take(&mut batch)).is_err() {
                return Ok(count);
            }
            if !more {
                self.state.empty.store(true, Ordering::SeqCst);
                return Ok(count);
            }
        }
    }
}
