//! Rotation, and what is left after a process died at any byte.

use std::{io::Read, path::Path};

use super::*;

const NOW: i64 = 1_795_430_000_123;

fn archive(folder: &Path, max_bytes: u64) -> Archive {
    let rotate = Rotate { max_bytes, max_age: Duration::from_secs(60) };
    ArchiveConfig { path: folder.to_owned(), rotate }.connect().expect("a target")
}

/// Names in order, and everything in the finished files.
fn finished(folder: &Path) -> (Vec<String>, String) {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    let mut text = String::new();
    for name in names.iter().filter(|name| name.ends_with(".zst")) {
        let file = std::fs::File::open(folder.join(name)).expect("open");
        zstd::Decoder::new(file).expect("zstd").read_to_string(&mut text).expect("whole");
    }
    (names, text)
}

#[test]
fn a_file_is_finished_by_size_by_age_and_at_the_end_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = archive(folder.path(), 10);
    target.append("one\n", NOW).expect("written");
    assert_eq!(finished(folder.path()).1, "", "it still grows");
    target.append("two\n", NOW + 1).expect("written");
    assert_eq!(finished(folder.path()).1, "one\n", "full");
    drop(target);
    assert_eq!(finished(folder.path()).1, "one\ntwo\n");
    let target = archive(folder.path(), 1_000_000);
    target.append("three\n", NOW + 2).expect("written");
    target.append("four\n", NOW + 59_000).expect("written");
    target.append("five\n", NOW + 60_002).expect("written");
    let (names, text) = finished(folder.path());
    assert_eq!(text, "one\ntwo\nthree\nfour\n", "old");
    assert_eq!(names.len(), 4);
    assert!(names[0].starts_with("checks-20261123T") && names[3].ends_with(".jsonl.zst.open"), "{names:?}");
}

#[test]
fn a_file_cut_at_any_byte_keeps_every_whole_frame_and_nothing_of_a_torn_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = archive(folder.path(), 1_000_000);
    let mut ends = vec![0];
    for text in ["one\n", "two\n", "three\n"] {
        target.append(text, NOW).expect("written");
        let bytes = target.state.lock().expect("lock").segment.as_ref().map_or(0, |segment| segment.bytes);
        ends.push(usize::try_from(bytes).expect("small"));
    }
    drop(target);
    let (names, _) = finished(folder.path());
    let bytes = std::fs::read(folder.path().join(&names[0])).expect("read");
    for cut in 0..=bytes.len() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("checks-1.jsonl.zst.open"), &bytes[..cut]).expect("written");
        archive(folder.path(), 1_000_000).append("", 0).expect("recovered");
        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        let expected: String = ["one\n", "two\n", "three\n"][..whole].concat();
        assert_eq!(finished(folder.path()).1, expected, "cut at {cut}");
    }
}

#[test]
fn a_frame_whose_bytes_never_reached_the_disk_is_torn_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = archive(folder.path(), 1_000_000);
    target.append("one\n", NOW).expect("written");
    target.append(&"two\n".repeat(50), NOW).expect("written");
    drop(target);
    let (names, _) = finished(folder.path());
    let mut bytes = std::fs::read(folder.path().join(&names[0])).expect("read");
    let last = bytes.len() - 1;
    bytes[last] ^= 0xff;
    std::fs::remove_file(folder.path().join(&names[0])).expect("removed");
    std::fs::write(folder.path().join("checks-1.jsonl.zst.open"), &bytes).expect("written");
    archive(folder.path(), 1_000_000).append("", 0).expect("recovered");
    assert_eq!(finished(folder.path()).1, "one\n");
}

#[test]
fn a_file_that_another_process_writes_to_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = archive(folder.path(), 1_000_000);
    first.append("one\n", NOW).expect("written");
    let second = archive(folder.path(), 1_000_000);
    second.append("two\n", NOW + 1).expect("written");
    first.append("three\n", NOW + 2).expect("written");
    drop((first, second));
    assert_eq!(finished(folder.path()).1, "one\nthree\ntwo\n");
}
