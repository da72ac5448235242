//! What an answer of S3 means.

use std::time::Duration;

use crate::{Scope, Verdict, http::Answer};

/// What is waited after S3 asked to slow down: it names no time.
const PAUSE: Duration = Duration::from_secs(5);

/// `None` where the request was done; what its answer means where it was not.
pub fn refusal(answer: &Answer) -> Option<Verdict> {
    let code = element(&answer.body, "Code").unwrap_or_default();
    let message = element(&answer.body, "Message").unwrap_or_default();
    let said = format!("S3 answered {} {code}: {message}", answer.status);
    let detail = said.trim_end_matches([':', ' ']).to_owned();
    let permanent = |hint: &str| Verdict::PermanentTarget { detail: format!("{detail}{hint}") };
    let verdict = match (answer.status, code.as_str()) {
        (200..=299, _) => return None,
        (301, _) | (307, "PermanentRedirect") | (400, "AuthorizationHeaderMalformed") => {
            let header = answer.headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
            let region = header.map(str::to_owned).or_else(|| element(&answer.body, "Region"));
            permanent(&region.map_or_else(
                || "; the bucket is in another region: set s3.region".to_owned(),
                |region| format!("; the bucket is in another region: set s3.region to {region}"),
            ))
        }
        (404, "NoSuchBucket") => permanent("; create the bucket, or mend s3.bucket"),
        (403, "RequestTimeTooSkewed") => permanent("; set this machine's clock"),
        (403, "AccessDenied") => permanent("; allow s3:PutObject on the prefix"),
        (429, _) | (503, "SlowDown") => Verdict::Throttled { after: PAUSE, scope: Scope::target() },
        (307, _) | (400, "RequestTimeout" | "IncompleteBody" | "XAmzContentSHA256Mismatch" | "BadDigest") => {
            Verdict::Transient { detail, after: None }
        }
        (408 | 409 | 425 | 500..=599, _) => Verdict::Transient { detail, after: None },
        _ => permanent(""),
    };
    Some(verdict)
}

/// The text of an element of S3's error document, at most 200 characters on one line.
fn element(body: &str, name: &str) -> Option<String> {
    let start = body.find(&format!("<{name}>"))? + name.len() + 2;
    let text = &body[start..start + body[start..].find("</")?];
    Some(text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect())
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::*;

    #[test]
    fn every_answer_has_its_class_and_says_what_to_do() {
        let table = [
            (200, "", "delivered", ""),
            (204, "", "delivered", ""),
            (301, "PermanentRedirect", "permanent_target", "set s3.region to eu-west-1"),
            (307, "TemporaryRedirect", "transient", ""),
            (400, "AuthorizationHeaderMalformed", "permanent_target", "set s3.region"),
            (400, "RequestTimeout", "transient", ""),
            (400, "ExpiredToken", "permanent_target", "ExpiredToken"),
            (400, "EntityTooLarge", "permanent_target", ""),
            (403, "AccessDenied", "permanent_target", "s3:PutObject"),
            (403, "InvalidAccessKeyId", "permanent_target", "InvalidAccessKeyId"),
            (403, "SignatureDoesNotMatch", "permanent_target", ""),
            (403, "RequestTimeTooSkewed", "permanent_target", "clock"),
            (404, "NoSuchBucket", "permanent_target", "s3.bucket"),
            (405, "MethodNotAllowed", "permanent_target", ""),
            (409, "OperationAborted", "transient", ""),
            (412, "PreconditionFailed", "permanent_target", ""),
            (429, "", "throttled", ""),
            (500, "InternalError", "transient", ""),
            (503, "SlowDown", "throttled", ""),
            (503, "ServiceUnavailable", "transient", ""),
        ];
        for (status, code, class, said) in table {
            let mut headers = HeaderMap::new();
            if status == 301 {
                headers.insert("x-amz-bucket-region", "eu-west-1".parse().expect("a header"));
            }
            let body = format!(
                "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>it\nis so</Message>\
                 <AWSAccessKeyId>AKIA-SECRET</AWSAccessKeyId></Error>"
            );
            match refusal(&Answer { status, headers, body }) {
                None => assert_eq!(class, "delivered", "{status} {code}"),
                Some(verdict) => {
                    let text = format!("{verdict:?}");
                    assert_eq!(verdict.class(), class, "{status} {code}");
                    assert!(text.contains(said) && !text.contains("AKIA"), "{text}");
                }
            }
        }
    }
}
