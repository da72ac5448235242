//! JSON lines from a file (.gz, .zst) or standard input.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::{mpsc::WeakSender, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Intake, Receipt, SourceState, Taken};
use crate::{
    clock::now_ms,
    finding::RawMessage,
    lines::{Line, next_line},
};

/// Lines handed over at a time.
const LINES: usize = 100;
/// Read at a time. What is not there yet is not waited for with lines in hand.
const BUFFER: usize = 1 << 18;
/// While a lane is full nothing is read.
const PAUSE: Duration = Duration::from_millis(200);

pub struct FileSource {
    pub name: Arc<str>,
    /// `-` is standard input.
    pub path: String,
    pub state: Arc<SourceState>,
}

/// Opens a file of lines, unpacked by its ending.
pub fn open(path: &str) -> std::io::Result<BufReader<Box<dyn Read + Send>>> {
    let inner: Box<dyn Read + Send> = match path {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(File::open(path)?),
    };
    let ending = Path::new(path).extension().and_then(|ending| ending.to_str());
    let inner: Box<dyn Read + Send> = match ending {
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(inner))),
        Some("zst") => Box::new(zstd::Decoder::new(inner)?),
        _ => inner,
    };
    Ok(BufReader::with_capacity(BUFFER, inner))
}

impl FileSource {
    /// Reads to the end, as fast as the engine takes it, or until `stop`.
    ///
    /// In a thread of its own: a read of standard input can't be interrupted, and must not keep the process.
    pub async fn run(self, intake: Intake, stop: CancellationToken) {
        let (ended, end) = oneshot::channel();
        let weak = intake.downgrade();
        let stopped = stop.clone();
        std::thread::spawn(move || {
            match self.read(&weak, &stopped) {
                Ok(lines) => tracing::info!(source = %self.name, lines, "the file is read to its end"),
                Err(error) => {
                    tracing::error!(source = %self.name, path = self.path, error = %error, "the file can't be read");
                    let _ = self.state.failed.set(format!("{}: {error}", self.path));
                }
            }
            self.state.empty.store(true, Ordering::SeqCst);
            let _ = ended.send(());
        });
        tokio::select! {
            _ = end => {}
            () = stop.cancelled() => {}
        }
        // Only here, so that the thread can't keep the engine waiting.
        drop(intake);
    }

    fn read(&self, intake: &WeakSender<Vec<Taken>>, stop: &CancellationToken) -> std::io::Result<u64> {
        let mut reader = open(&self.path)?;
        let (mut number, mut count) = (0, 0);
        let mut batch = Vec::with_capacity(LINES);
        loop {
            let mut body = Vec::new();
            number += 1;
            let line = next_line(&mut reader, &mut body);
            // Where the file breaks off, what came before counts.
            let whole = line.as_ref().ok().copied().filter(|line| *line != Line::End);
            let more = whole.is_some();
            if let Some(line) = whole.filter(|_| !body.trim_ascii().is_empty()) {
                count += 1;
                let now = now_ms();
                let meta = line.meta(number);
                let message = RawMessage {
                    source: Arc::clone(&self.name),
                    body,
                    received_at: now,
                    sent_at: now,
                    meta,
                    again: None,
                };
                batch.push(Taken { message, receipt: Receipt::None });
            }
            // The next read may wait for a person at a terminal.
            let ready = batch.len() >= LINES || ((!more || reader.buffer().is_empty()) && !batch.is_empty());
            if ready {
                super::received(&self.name, batch.len());
                while self.state.closed.load(Ordering::Relaxed) && !stop.is_cancelled() {
                    std::thread::sleep(PAUSE);
                }
                let sent = intake.upgrade().map(|intake| intake.blocking_send(std::mem::take(&mut batch)));
                if !matches!(sent, Some(Ok(()))) {
                    return Ok(count);
                }
            }
            if let Err(error) = line {
                return Err(std::io::Error::new(error.kind(), format!("line {number}: {error}")));
            }
            if !more || stop.is_cancelled() {
                return Ok(count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::sync::mpsc;

    use super::*;

    /// The bodies that arrive, and how the file ends.
    fn read(path: &Path) -> (Vec<RawMessage>, std::io::Result<u64>) {
        let path = path.to_str().expect("a path").to_owned();
        let source = FileSource { name: "events".into(), path, state: Arc::new(SourceState::default()) };
        let (intake, mut arrivals) = mpsc::channel(1_000);
        let end = source.read(&intake.downgrade(), &CancellationToken::new());
        drop(intake);
        let mut messages = Vec::new();
        while let Ok(taken) = arrivals.try_recv() {
            messages.extend(taken.into_iter().map(|taken| taken.message));
        }
        (messages, end)
    }

    #[test]
    fn a_file_that_breaks_off_gives_every_line_that_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl.gz");
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for number in 0..150 {
            writeln!(packed, "{{\"number\": {number}}}").expect("packed");
        }
        let packed = packed.finish().expect("packed");
        // The check sum at the end is missing: every line can be unpacked.
        std::fs::write(&path, &packed[..packed.len() - 8]).expect("a file");
        let (messages, end) = read(&path);
        assert_eq!(messages.last().map(|message| &*message.body), Some(&b"{\"number\": 149}\n"[..]));
        assert_eq!(messages.len(), 150);
        let error = end.expect_err("it breaks off").to_string();
        assert!(error.starts_with("line 151: "), "{error}");
    }

    #[test]
    fn a_line_without_an_end_is_cut_and_the_next_one_is_read() {
        let long = vec![b'x'; 20 << 20];
        let text = [b"{}\n".as_slice(), &long, b"\n\n[]"].concat();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        std::fs::write(&path, &text).expect("a file");
        let (messages, end) = read(&path);
        assert_eq!((messages.len(), end.expect("read to its end")), (3, 3));
        assert!(messages[1].body.len() < 5 << 20, "{}", messages[1].body.len());
        assert_eq!(&*messages[1].meta[1].0, "cut");
        assert_eq!(messages[2].meta, [("line".into(), "4".to_owned())]);
    }
}
