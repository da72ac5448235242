//! Where the server is, and how to speak to it in private.

use std::{future::Future, path::Path, pin::Pin, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::ConfigVerifierExt;
use tokio_postgres::{
    Client, Config, NoTls,
    config::{Host, SslMode, TargetSessionAttrs},
};
use tokio_postgres_rustls::MakeRustlsConnect;
use url::Url;

use super::{Error, Result, iam};

/// A database, as `store: postgres://user:password@host/database` names it.
#[derive(Clone)]
pub struct Endpoint {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    /// AWS decides who may come in, in this region.
    iam: Option<String>,
    /// Without the password.
    shown: String,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.shown)
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.shown)
    }
}

type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Endpoint {
    /// Reads the address; the error says what is wrong with it, without the password.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut url = Url::parse(text)
            .map_err(|error| format!("is no address: {error}; write postgres://user:password@host/database"))?;
        let mut others: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        // Ours to read, not the crate's.
        let mut take = |wanted: &str| {
            let at = others.iter().position(|(name, _)| name == wanted)?;
            Some(others.remove(at).1)
        };
        let (authority, iam) = (take("sslrootcert"), take("iam"));
        let chosen = others.iter().any(|(name, _)| name == "sslmode");
        url.set_query(None);
        if !others.is_empty() {
            url.query_pairs_mut().extend_pairs(&others);
        }
        let mut config: Config = url.as_str().parse().map_err(|error: tokio_postgres::Error| {
            let detail = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            format!("is no address of a database: {detail}")
        })?;
        if config.get_dbname().is_none() {
            return Err("names no database; write postgres://user:password@host/database".to_owned());
        }
        if config.get_hosts().is_empty() {
            return Err("names no host; write postgres://user:password@host/database".to_owned());
        }
        if !chosen && !config.get_hosts().iter().all(nearby) {
            // What is not said is safe: a password does not go over a network in clear.
            config.ssl_mode(SslMode::Require);
        }
        if let Some(region) = &iam {
            let region_like = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if region.is_empty() || !region.chars().all(region_like) {
                return Err(format!("iam={region} is no region; write e.g. iam=eu-west-1"));
            }
            if url.password().is_some() || url.username().is_empty() {
                return Err("with iam the address names a user and no password".to_owned());
            }
            // RDS takes such a password over TLS only, and rightly.
            config.ssl_mode(SslMode::Require);
        }
        let tls = match config.get_ssl_mode() {
            SslMode::Disable => None,
            _ => Some(MakeRustlsConnect::new(tls(authority.as_deref())?)),
        };
        config
            .application_name("findings-router")
            // After a fail-over the address may lead to the old primary for a while: what is read there is old, too.
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(Duration::from_secs(5))
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(20));
        let _ = url.set_password(None);
        Ok(Self { config, tls, iam, shown: url.to_string() })
    }

    /// As it is written, with the password that counts now.
    async fn config(&self) -> Result<Config> {
        let mut config = self.config.clone();
        if let Some(region) = &self.iam
            && let Some(Host::Tcp(host)) = config.get_hosts().first()
        {
            let port = config.get_ports().first().copied().unwrap_or(5432);
            let password = iam::password(host, port, config.get_user().unwrap_or_default(), region).await?;
            config.password(password);
        }
        Ok(config)
    }

    /// A connection, and what must run for it.
    pub(super) async fn connect(&self) -> Result<(Client, Driver)> {
        let config = self.config().await?;
        Ok(match &self.tls {
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                (client, Box::pin(async move { tell(connection.await) }) as Driver)
            }
            Some(tls) => {
                let (client, connection) = config.connect(tls.clone()).await?;
                (client, Box::pin(async move { tell(connection.await) }) as Driver)
            }
        })
    }
}

fn tell(ended: std::result::Result<(), tokio_postgres::Error>) {
    if let Err(error) = ended {
        tracing::warn!(error = %Error::from(error), "a connection to the database is gone");
    }
}

/// On this machine: nobody listens on the way.
fn nearby(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        Host::Unix(_) => true,
    }
}

fn tls(authority: Option<&str>) -> std::result::Result<ClientConfig, String> {
    let Some(file) = authority else {
        return ClientConfig::with_platform_verifier().map_err(|error| format!("TLS: {error}"));
    };
    let failed = |detail: String| format!("sslrootcert {file}: {detail}");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(Path::new(file)).map_err(|error| failed(error.to_string()))? {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(failed("it holds no certificate".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
