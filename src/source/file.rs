//! JSON lines from a file (.gz, .zst) or standard input.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::{mpsc::WeakSender, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Intake, Receipt, SourceState, Taken};
use crate::{clock::now_ms, finding::RawMessage};

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
        let mut count = 0;
        let mut batch = Vec::with_capacity(LINES);
        loop {
            let mut body = Vec::new();
            let more = reader.read_until(b'\n', &mut body)? > 0;
            if more && !body.trim_ascii().is_empty() {
                count += 1;
                let now = now_ms();
                let meta = vec![("line", count.to_string())];
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
            if !more || stop.is_cancelled() {
                return Ok(count);
            }
        }
    }
}
