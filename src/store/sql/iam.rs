//! A password of a quarter of an hour, for databases of RDS and Aurora that let AWS decide who may come in.

use std::time::{Duration, SystemTime};

use aws_credential_types::{Credentials, provider::ProvideCredentials};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use connectors::text::causes;
use url::Url;

use super::{Error, Result};

/// RDS looks at the password when a connection begins, and takes none that is older.
const VALID: Duration = Duration::from_secs(900);

/// Asks the AWS chain who this is and signs that; anew for each connection.
pub async fn password(host: &str, port: u16, user: &str, region: &str) -> Result<String> {
    let failed = |detail: String| Error::Unreachable(format!("no password of IAM: {detail}"));
    let chain = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    let provider = chain.credentials_provider().ok_or_else(|| failed("there are no AWS credentials".to_owned()))?;
    let credentials = provider.provide_credentials().await.map_err(|error| failed(causes(&error)))?;
    token(host, port, user, region, credentials, SystemTime::now()).map_err(|error| failed(error.to_string()))
}

/// A signed address of a request that is never made: RDS takes its text for the password.
fn token(
    host: &str,
    port: u16,
    user: &str,
    region: &str,
    credentials: Credentials,
    at: SystemTime,
) -> std::result::Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let mut settings = SigningSettings::default();
    settings.expires_in = Some(VALID);
    settings.signature_location = SignatureLocation::QueryParams;
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("rds-db")
        .time(at)
        .settings(settings)
        .build()?
        .into();
    let mut url = Url::parse(&format!("https://{host}:{port}/"))?;
    url.query_pairs_mut().append_pair("Action", "connect").append_pair("DBUser", user);
    // A space is `%20` in what is signed; the form's `+` would be another text.
    let address = url.as_str().replace('+', "%20");
    let request = SignableRequest::new("GET", &address, std::iter::empty(), SignableBody::Bytes(&[]))?;
    let (instructions, _) = sign(request, &parameters)?.into_parts();
    let mut signed = Url::parse(&address)?;
    for (name, value) in instructions.params() {
        signed.query_pairs_mut().append_pair(name, value);
    }
    Ok(signed.as_str().trim_start_matches("https://").replace('+', "%20"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `generate_db_auth_token` of botocore 1.43 makes of the same; the order of the parameters is nobody's business.
    #[test]
    fn the_password_is_the_one_that_the_aws_tools_make() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_669_200);
        let sorted = |text: &str| {
            let mut parts: Vec<String> = text.split(['?', '&']).map(str::to_owned).collect();
            parts.sort();
            parts
        };
        for (session, signature) in [
            (None, "6b6d7c3d4a77795609b58eb05902262e406704b63e46bb71c62f8b5c44aad656"),
            (Some("tok/en+="), "0a2080380175b363b62fe4096727f84f405895145431f3403178bb8815066808"),
        ] {
            let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
            let credentials = Credentials::new("AKIDEXAMPLE", secret, session.map(str::to_owned), None, "test");
            let host = "db.example.eu-west-1.rds.amazonaws.com";
            let made = token(host, 5432, "router user", "eu-west-1", credentials, at).expect("signed");
            let session = session.map_or("", |_| "&X-Amz-Security-Token=tok%2Fen%2B%3D");
            let expected = format!(
                "{host}:5432/?Action=connect&DBUser=router%20user&X-Amz-Algorithm=AWS4-HMAC-SHA256\
                 &X-Amz-Credential=AKIDEXAMPLE%2F20261126%2Feu-west-1%2Frds-db%2Faws4_request&X-Amz-Date=20261126T050000Z\
                 &X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Signature={signature}{session}"
            );
            assert_eq!(sorted(&made), sorted(&expected));
        }
    }
}
