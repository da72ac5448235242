//! The bucket that finished files go to. Two calls are all that it takes, so they are made and signed here: the SDK's client
//! of S3 would cost a minute of every build. Credentials, region and endpoint are those of the standard AWS chain.

use std::{
    io::Read,
    path::Path,
    time::{Duration, SystemTime},
};

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider},
};
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use reqwest::{Method, RequestBuilder, header::CONTENT_LENGTH};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use super::answer;
use crate::{HttpOptions, Verdict, config::ConfigError, http::Http, text::causes};

/// Of no bytes.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// S3 takes no more in one put.
pub const LARGEST: u64 = 5 << 30;
/// A slow line gets so much through in a second.
const SLOW: u64 = 256 << 10;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    pub bucket: String,
    /// Before the name of each file, e.g. `checks/`.
    #[serde(default)]
    pub prefix: String,
    /// Else that of the AWS chain.
    pub region: Option<String>,
}

/// A bucket. It is looked up at the first call.
pub struct Bucket {
    config: S3Config,
    options: HttpOptions,
    ready: OnceCell<Ready>,
}

struct Ready {
    http: Http,
    region: String,
    credentials: SharedCredentialsProvider,
}

impl S3Config {
    pub fn connect(self, options: &HttpOptions) -> Result<Bucket, ConfigError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let ends = self.bucket.starts_with(plain) && self.bucket.ends_with(plain);
        if !((3..=63).contains(&self.bucket.len()) && ends && self.bucket.chars().all(|c| plain(c) || ".-".contains(c)))
        {
            let problem = format!("`{}` is no bucket's name: 3 to 63 of a-z, 0-9, `-` and `.`", self.bucket);
            return Err(ConfigError::at("s3.bucket", problem));
        }
        let known = |c: char| c.is_ascii_alphanumeric() || "/-_.=".contains(c);
        if self.prefix.starts_with('/') || self.prefix.contains("..") || !self.prefix.chars().all(known) {
            let problem = "a prefix such as checks/ is of letters, digits, `/`, `-`, `_`, `.` and `=`";
            return Err(ConfigError::at("s3.prefix", problem));
        }
        Ok(Bucket { config: self, options: options.clone(), ready: OnceCell::new() })
    }
}

impl Bucket {
    /// The bucket `acme` behind an address, without a look at the AWS chain.
    #[cfg(test)]
    pub fn at(endpoint: &str) -> Self {
        let config = S3Config { bucket: "acme".into(), prefix: "checks/".into(), region: None };
        let options = HttpOptions::default();
        let http = Http::new(&address("acme", "us-east-1", Some(endpoint)), &options).expect("a client");
        let credentials = SharedCredentialsProvider::new(Credentials::new("AKIA", "secret", None, None, "test"));
        let ready = Ready { http, region: "us-east-1".into(), credentials };
        Self { config, options, ready: OnceCell::new_with(Some(ready)) }
    }

    /// `s3://bucket/prefix`.
    pub fn name(&self) -> String {
        format!("s3://{}/{}", self.config.bucket, self.config.prefix)
    }

    /// Puts a finished file; `Ok` once S3 has all of it. A second put of the same file changes nothing.
    pub async fn put(&self, file: &Path) -> Result<(), Verdict> {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let broken = |error: &dyn std::fmt::Display| Verdict::PermanentTarget {
            detail: format!("read {}: {error}", file.display()),
        };
        let path = file.to_owned();
        let (hash, bytes) = tokio::task::spawn_blocking(move || digest(&path))
            .await
            .map_err(|error| broken(&error))?
            .map_err(|error| broken(&error))?;
        let body = tokio::fs::File::open(file).await.map_err(|error| broken(&error))?;
        let ready = self.ready().await?;
        let timeout = self.options.timeout + Duration::from_secs(bytes / SLOW);
        let path = format!("/{}{name}", self.config.prefix);
        let request = ready.request(Method::PUT, &path, &hash).await?;
        ready.send(request.timeout(timeout).header(CONTENT_LENGTH, bytes).body(body)).await
    }

    /// Whether the bucket is there and may be looked at; changes nothing.
    pub async fn look(&self) -> Result<(), Verdict> {
        let ready = self.ready().await?;
        ready.send(ready.request(Method::GET, "?list-type=2&max-keys=0", EMPTY).await?).await
    }

    /// What the AWS chain says is asked for once it is needed; an error is asked for again.
    async fn ready(&self) -> Result<&Ready, Verdict> {
        self.ready.get_or_try_init(|| self.load()).await
    }

    async fn load(&self) -> Result<Ready, Verdict> {
        let permanent = |detail: &str| Verdict::PermanentTarget { detail: detail.to_owned() };
        let chain = aws_config::from_env().load().await;
        let region = self.config.region.clone().or_else(|| chain.region().map(ToString::to_string));
        let region =
            region.ok_or_else(|| permanent("the bucket's region is not known: set s3.region or AWS_REGION"))?;
        let endpoint = std::env::var("AWS_ENDPOINT_URL_S3").ok().or_else(|| chain.endpoint_url().map(str::to_owned));
        let url = address(&self.config.bucket, &region, endpoint.as_deref());
        let http = Http::new(&url, &self.options).map_err(|error| permanent(&error.to_string()))?;
        let credentials = chain.credentials_provider().ok_or_else(|| permanent("there are no AWS credentials"))?;
        Ok(Ready { http, region, credentials })
    }
}

impl Ready {
    /// A signed request; `hash` is that of its body.
    async fn request(&self, method: Method, path: &str, hash: &str) -> Result<RequestBuilder, Verdict> {
        let permanent = |detail: String| Verdict::PermanentTarget { detail };
        let credentials = self
            .credentials
            .provide_credentials()
            .await
            .map_err(|error| permanent(format!("AWS credentials: {}", causes(&error))))?;
        let url = self.http.address(path);
        let headers = signature(&method, url.as_str(), hash, SystemTime::now(), credentials, &self.region)
            .map_err(|error| permanent(format!("sign the request: {error}")))?;
        let request = self.http.request(method, path);
        Ok(headers.into_iter().fold(request, |request, (name, value)| request.header(name, value)))
    }

    async fn send(&self, request: RequestBuilder) -> Result<(), Verdict> {
        match self.http.send(request).await {
            Ok(answer) => answer::refusal(&answer).map_or(Ok(()), Err),
            // The same put again writes the same object, so nothing needs to be looked up.
            Err(Verdict::Ambiguous { detail }) => Err(Verdict::Transient { detail, after: None }),
            Err(verdict) => Err(verdict),
        }
    }
}

/// Virtual hosts where AWS has them; a name with a dot is no host that its certificate covers.
fn address(bucket: &str, region: &str, endpoint: Option<&str>) -> String {
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    match endpoint {
        Some(endpoint) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
        None if bucket.contains('.') => format!("https://s3.{region}.{suffix}/{bucket}"),
        None => format!("https://{bucket}.s3.{region}.{suffix}"),
    }
}

/// The headers that sign a request, as S3 wants it: no path is normalised, and the hash of the body is one of them.
fn signature(
    method: &Method,
    url: &str,
    hash: &str,
    at: SystemTime,
    credentials: Credentials,
    region: &str,
) -> Result<Vec<(String, String)>, Box<dyn std::error::Error + Send + Sync>> {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("s3")
        .time(at)
        .settings(settings)
        .build()?
        .into();
    let body = SignableBody::Precomputed(hash.to_owned());
    let request = SignableRequest::new(method.as_str(), url, std::iter::empty(), body)?;
    let (instructions, _) = sign(request, &parameters)?.into_parts();
    Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// The hash of a file's bytes, and how many they are.
fn digest(path: &Path) -> std::io::Result<(String, u64)> {
    let mut file = std::fs::File::open(path)?;
    let (mut hash, mut bytes, mut part) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        let read = file.read(&mut part)?;
        if read == 0 {
            return Ok((hex::encode(hash.finalize()), bytes));
        }
        hash.update(&part[..read]);
        bytes += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_signed_as_amazon_s_own_example_is() {
        // "Example: GET Bucket Lifecycle" of the S3 API reference, Signature Version 4.
        let credentials =
            Credentials::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None, None, "test");
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600);
        let url = "https://examplebucket.s3.amazonaws.com/?lifecycle";
        let headers = signature(&Method::GET, url, EMPTY, at, credentials, "us-east-1").expect("signed");
        let of = |name: &str| headers.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value.as_str());
        assert_eq!((of("x-amz-date"), of("x-amz-content-sha256")), ("20130524T000000Z", EMPTY));
        let expected = "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543";
        assert!(of("authorization").ends_with(expected), "{headers:?}");
    }

    #[test]
    fn the_address_is_that_of_the_region_or_the_endpoint() {
        for (bucket, region, endpoint, expected) in [
            ("acme", "eu-west-1", None, "https://acme.s3.eu-west-1.amazonaws.com"),
            ("acme.checks", "eu-west-1", None, "https://s3.eu-west-1.amazonaws.com/acme.checks"),
            ("acme", "cn-north-1", None, "https://acme.s3.cn-north-1.amazonaws.com.cn"),
            ("acme", "us-east-1", Some("http://127.0.0.1:4566/"), "http://127.0.0.1:4566/acme"),
        ] {
            assert_eq!(address(bucket, region, endpoint), expected);
        }
    }

    #[test]
    fn names_that_s3_can_not_have_are_refused() {
        let connect = |bucket: &str, prefix: &str| {
            let config = S3Config { bucket: bucket.into(), prefix: prefix.into(), region: None };
            config.connect(&HttpOptions::default()).map(drop).map_err(|error| error.path)
        };
        assert_eq!(connect("acme-checks", "checks/year=2026/"), Ok(()));
        for bucket in ["", "ab", "Acme", "acme_checks", "-acme", "acme/checks", &"a".repeat(64)] {
            assert_eq!(connect(bucket, ""), Err("s3.bucket".to_owned()), "{bucket}");
        }
        for prefix in ["/checks", "a/../b", "a b", "a%2fb"] {
            assert_eq!(connect("acme", prefix), Err("s3.prefix".to_owned()), "{prefix}");
        }
    }
}
