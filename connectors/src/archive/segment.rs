//! One file of the archive: written frame by frame, finished by its name.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use tokio::time::Instant;
use zstd::zstd_safe::{self, CCtx, CParameter};

/// What a file is called while it grows, behind its own name.
pub const OPEN: &str = ".open";

/// A file that grows. The lock goes with the process, however it ends.
pub struct Segment {
    file: File,
    /// Its name once it is finished.
    path: PathBuf,
    pub bytes: u64,
    /// Of its first check; not of the wall clock, which may be set.
    pub began: Instant,
}

fn growing(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(OPEN);
    name.into()
}

impl Segment {
    pub fn create(path: PathBuf) -> std::io::Result<Self> {
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(growing(&path))?;
        file.try_lock().map_err(std::io::Error::from)?;
        Ok(Self { file, path, bytes: 0, began: Instant::now() })
    }

    /// Appends a frame of its own and waits until it is on disk: what is cut later never reaches back into it.
    pub fn append(&mut self, text: &[u8]) -> std::io::Result<()> {
        let frame = packed(text)?;
        let written = self.file.write_all(&frame).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // Half a frame would hide every later one.
            self.file.set_len(self.bytes)?;
            self.file.seek(SeekFrom::Start(self.bytes))?;
        }
        written?;
        self.bytes += frame.len() as u64;
        Ok(())
    }

    /// Gives it its name. From then on nobody writes to it.
    pub fn finish(self) -> std::io::Result<PathBuf> {
        self.file.sync_all()?;
        std::fs::rename(growing(&self.path), &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(self.path)
    }
}

fn packed(text: &[u8]) -> std::io::Result<Vec<u8>> {
    let failed = |code| std::io::Error::other(zstd_safe::get_error_name(code));
    let mut context = CCtx::create();
    context.set_parameter(CParameter::CompressionLevel(3)).map_err(failed)?;
    // Finds a frame whose bytes never reached the disk, though its length did.
    context.set_parameter(CParameter::ChecksumFlag(true)).map_err(failed)?;
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(text.len()));
    context.compress2(&mut frame, text).map_err(failed)?;
    Ok(frame)
}

/// Finishes what an earlier process left: whole frames stay, a torn one at the end goes (it was never acknowledged).
/// A file that another process writes to is left alone.
pub fn recover(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut finished = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.to_str().and_then(|name| name.strip_suffix(OPEN)).map(PathBuf::from) else { continue };
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        if file.try_lock().is_err() {
            continue;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = whole_frames(&bytes);
        if whole == 0 {
            std::fs::remove_file(&path)?;
            continue;
        }
        file.set_len(whole as u64)?;
        let segment = Segment { file, path: name, bytes: whole as u64, began: Instant::now() };
        finished.push(segment.finish()?);
    }
    Ok(finished)
}

/// Bytes up to the end of the last frame that can be read.
fn whole_frames(bytes: &[u8]) -> usize {
    let mut end = 0;
    while end < bytes.len() {
        let Ok(length) = zstd_safe::find_frame_compressed_size(&bytes[end..]) else { break };
        let frame = &bytes[end..end + length];
        if zstd::decode_all(frame).is_err() {
            break;
        }
        end += length;
    }
    end
}
