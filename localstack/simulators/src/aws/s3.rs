//! Amazon S3, path style, on the port of SQS and SNS: buckets that take objects whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::front::{Answer, Call, lock};

#[derive(Default)]
pub(crate) struct Buckets(Mutex<HashMap<String, BTreeMap<String, Bytes>>>);

impl Buckets {
    /// Whether a call is for S3: nothing else here is signed for it.
    pub(crate) fn is_for(call: &Call) -> bool {
        call.header("authorization").contains("/s3/aws4_request")
    }

    pub(crate) fn create(&self, bucket: &str) {
        lock(&self.0).entry(bucket.to_owned()).or_default();
    }

    pub(crate) fn objects(&self, bucket: &str) -> Vec<(String, Vec<u8>)> {
        let buckets = lock(&self.0);
        let objects = buckets.get(bucket).into_iter().flatten();
        objects.map(|(key, body)| (key.clone(), body.to_vec())).collect()
    }

    pub(crate) fn answer(&self, call: &Call) -> Answer {
        let (bucket, key) =
            call.path.trim_start_matches('/').split_once('/').unwrap_or((call.path.trim_matches('/'), ""));
        let mut buckets = lock(&self.0);
        let Some(objects) = buckets.get_mut(bucket) else {
            return refused(404, "NoSuchBucket", "The specified bucket does not exist");
        };
        match (call.method.as_str(), key) {
            ("PUT", key) if !key.is_empty() => {
                if call.header("x-amz-content-sha256") != hex(&Sha256::digest(&call.body)) {
                    let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
                    return refused(400, "XAmzContentSHA256Mismatch", message);
                }
                objects.insert(key.to_owned(), call.body.clone());
                Answer::empty(200)
            }
            ("GET", "") => {
                let list = format!(
                    "<ListBucketResult><Name>{bucket}</Name><KeyCount>{}</KeyCount></ListBucketResult>",
                    objects.len()
                );
                Answer::typed(200, "application/xml", list)
            }
            _ => refused(405, "MethodNotAllowed", "The specified method is not allowed against this resource."),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refused(status: u16, code: &str, message: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    Answer::typed(status, "application/xml", body)
}
