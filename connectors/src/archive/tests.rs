//! Rotation, and what is left after a process died at any byte.

use std::{io::Read, path::Path};

use super::*;

const NOW: i64 = 1_795_430_000_123;

fn archive(folder: &Path, max_bytes: u64) -> Archive {
    let rotate = Rotate { max_bytes, max_age: Duration::from_secs(60) };
    ArchiveConfig { path: folder.to_owned(), rotate, s3: None }.connect(&HttpOptions::default()).expect("a target")
}

/// Names in order, and everything in the finished files.
fn left(folder: &Path) -> (Vec<String>, String) {
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

#[tokio::test(start_paused = true)]
async fn a_file_is_finished_by_size_by_age_and_at_the_end_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = archive(folder.path(), 10);
    target.append("one\n", NOW).expect("written");
    assert_eq!(left(folder.path()).1, "", "it still grows");
    target.append("two\n", NOW + 1).expect("written");
    assert_eq!(left(folder.path()).1, "one\n", "full");
    drop(target);
    assert_eq!(left(folder.path()).1, "one\ntwo\n");
    let target = archive(folder.path(), 1_000_000);
    target.append("three\n", NOW + 2).expect("written");
    tokio::time::advance(Duration::from_secs(59)).await;
    target.append("four\n", NOW + 59_002).expect("written");
    tokio::time::advance(Duration::from_secs(1)).await;
    target.append("five\n", NOW + 60_002).expect("written");
    let (names, text) = left(folder.path());
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
    let (names, _) = left(folder.path());
    let bytes = std::fs::read(folder.path().join(&names[0])).expect("read");
    for cut in 0..=bytes.len() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("checks-1.jsonl.zst.open"), &bytes[..cut]).expect("written");
        archive(folder.path(), 1_000_000).append("", 0).expect("recovered");
        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        let expected: String = ["one\n", "two\n", "three\n"][..whole].concat();
        assert_eq!(left(folder.path()).1, expected, "cut at {cut}");
    }
}

#[test]
fn a_frame_whose_bytes_never_reached_the_disk_is_torn_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = archive(folder.path(), 1_000_000);
    target.append("one\n", NOW).expect("written");
    target.append(&"two\n".repeat(50), NOW).expect("written");
    drop(target);
    let (names, _) = left(folder.path());
    let mut bytes = std::fs::read(folder.path().join(&names[0])).expect("read");
    let last = bytes.len() - 1;
    bytes[last] ^= 0xff;
    std::fs::remove_file(folder.path().join(&names[0])).expect("removed");
    std::fs::write(folder.path().join("checks-1.jsonl.zst.open"), &bytes).expect("written");
    archive(folder.path(), 1_000_000).append("", 0).expect("recovered");
    assert_eq!(left(folder.path()).1, "one\n");
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
    assert_eq!(left(folder.path()).1, "one\nthree\ntwo\n");
}

mod shipping {
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

    use super::*;
    use crate::{QuotaClosed, Scope, archive::s3::Bucket};

    /// A target that is never closed.
    struct Open;

    #[async_trait]
    impl Quota for Open {
        async fn acquire(&self, _scopes: &[Scope]) -> Result<(), QuotaClosed> {
            Ok(())
        }

        async fn wait(&self, _duration: Duration) {}
    }

    fn delivery(check: &str, now_ms: i64) -> Delivery {
        let record = crate::Record { check: check.to_owned(), router: "{}".to_owned(), time_ms: now_ms };
        Delivery {
            key: check.to_owned(),
            fingerprint: String::new(),
            event_id: String::new(),
            wanted: crate::Wanted::Open,
            priority: 0,
            options: crate::SendOptions::default(),
            content: Content::Record(record),
            ledger: None,
            now_ms,
            attempt: 0,
            in_doubt: false,
            sending_since_ms: None,
        }
    }

    fn shipped(folder: &Path, server: &MockServer) -> Archive {
        let mut target = archive(folder, 1);
        target.ship = Some(Ship::new(Bucket::at(&server.uri())));
        target
    }

    async fn answer(server: &MockServer, status: u16, code: &str) {
        server.reset().await;
        let body = format!("<Error><Code>{code}</Code><Message>so it is</Message></Error>");
        Mock::given(matchers::method("PUT"))
            .and(matchers::path_regex("^/acme/checks/checks-"))
            .respond_with(ResponseTemplate::new(status).set_body_string(body))
            .mount(server)
            .await;
    }

    async fn puts(server: &MockServer) -> usize {
        server.received_requests().await.unwrap_or_default().len()
    }

    #[tokio::test]
    async fn files_stay_until_the_bucket_has_them_and_one_that_refuses_stops_the_lane_before_the_disk_is_full() {
        let (folder, server) = (tempfile::tempdir().expect("a folder"), MockServer::start().await);
        let target = shipped(folder.path(), &server);
        answer(&server, 403, "AccessDenied").await;
        let mut taken = 0;
        let mut refused = None;
        // Each batch fills a file; a minute lies between two of them.
        for minute in 0..12 {
            let verdict = target.deliver(&[delivery("{}", NOW + minute * 60_000)], &Open).await.remove(0);
            match verdict {
                Verdict::Delivered { warning, .. } => {
                    taken += 1;
                    let said = warning.unwrap_or_default();
                    assert_eq!(
                        minute > 0,
                        said.contains("s3://acme/checks/") && said.contains("s3:PutObject"),
                        "{said}"
                    );
                }
                other => refused = Some(other),
            }
        }
        let Some(Verdict::PermanentTarget { detail }) = refused else { panic!("it takes everything: {refused:?}") };
        assert!(detail.contains("AccessDenied") && taken == 9, "{taken}: {detail}");
        let (names, text) = left(folder.path());
        assert_eq!((names.len(), text.lines().count()), (9, 9), "all that was taken is here: {names:?}");
        // In the same quarter of a minute it is not tried again.
        let before = puts(&server).await;
        target.deliver(&[delivery("{}", NOW + 11 * 60_000 + 1)], &Open).await;
        assert_eq!(puts(&server).await, before);

        answer(&server, 200, "").await;
        let verdict = target.deliver(&[delivery("{}", NOW + 12 * 60_000)], &Open).await.remove(0);
        assert!(matches!(verdict, Verdict::Delivered { warning: None, .. }), "{verdict:?}");
        target.close(&Open).await;
        assert_eq!(left(folder.path()).0, Vec::<String>::new(), "the bucket has all of them");
        assert_eq!(puts(&server).await, 10);
    }

    #[tokio::test]
    async fn what_an_earlier_process_left_is_put_and_what_the_bucket_did_not_take_stays() {
        let (folder, server) = (tempfile::tempdir().expect("a folder"), MockServer::start().await);
        for number in 0..3 {
            archive(folder.path(), 1).append(&format!("{number}\n"), NOW + number).expect("written");
        }
        answer(&server, 500, "InternalError").await;
        let target = shipped(folder.path(), &server);
        target.append("", NOW).expect("recovered");
        target.close(&Open).await;
        assert_eq!((left(folder.path()).0.len(), puts(&server).await), (3, 1), "one try, nothing is lost");
        drop(target);
        answer(&server, 200, "").await;
        let target = shipped(folder.path(), &server);
        target.append("", NOW).expect("recovered");
        target.close(&Open).await;
        let sent: Vec<Vec<u8>> =
            server.received_requests().await.unwrap_or_default().into_iter().map(|put| put.body).collect();
        let text: Vec<String> = sent
            .iter()
            .map(|body| String::from_utf8(zstd::decode_all(body.as_slice()).expect("zstd")).expect("text"))
            .collect();
        assert_eq!((text.concat().as_str(), left(folder.path()).0.len()), ("0\n1\n2\n", 0), "the oldest first");
    }
}
