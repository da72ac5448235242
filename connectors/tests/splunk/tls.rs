//! A collector with its own certificate, as Splunk installs it.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use connectors::{Connector, Health, HttpOptions, Verdict, connect};
use serde_json::json;

use crate::{
    quota::Recorder,
    support::{batch, classes, detail},
};

/// A TLS server with a certificate of an authority that nobody else knows; answers one request.
struct OwnTls {
    server: Child,
    folder: PathBuf,
    port: u16,
}

impl OwnTls {
    fn start(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).expect("folder");
        openssl(&folder, "/CN=Own authority", &["-keyout", "ca.key", "-out", "ca.pem"]);
        let leaf = ["-keyout", "key.pem", "-out", "cert.pem", "-CA", "ca.pem", "-CAkey", "ca.key"];
        let names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"];
        openssl(&folder, "/CN=localhost", &[&leaf[..], &names[..]].concat());
        let mut server = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-cert", "cert.pem", "-key", "key.pem", "-naccept", "1"])
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("server");
        let mut output = BufReader::new(server.stdout.take().expect("output"));
        let port = port(&mut output);
        let mut input = server.stdin.take().expect("input");
        // What it reads from us goes to whoever is connected, so the answer follows the request.
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if line.starts_with("POST ") {
                    let body = "{\"text\":\"Success\",\"code\":0}";
                    let head =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                    let _ = input.write_all(format!("{head}{body}").as_bytes());
                    let _ = input.flush();
                }
            }
        });
        Self { server, folder, port }
    }

    fn connector(&self, ca_file: Option<PathBuf>) -> Box<dyn Connector> {
        let options = HttpOptions { timeout: Duration::from_secs(10), ca_file, ..HttpOptions::default() };
        let settings = json!({ "url": format!("https://127.0.0.1:{}", self.port), "token": "hec-secret" });
        connect("splunk_hec", "siem", settings, &options).expect("settings")
    }
}

impl Drop for OwnTls {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Makes a certificate of two days.
fn openssl(folder: &Path, subject: &str, more: &[&str]) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", subject])
        .args(more)
        .current_dir(folder)
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// `ACCEPT 127.0.0.1:40000`, once it listens.
fn port(output: &mut BufReader<ChildStdout>) -> u16 {
    for line in output.lines().map_while(Result::ok) {
        if let Some(address) = line.strip_prefix("ACCEPT ") {
            return address.rsplit(':').next().and_then(|text| text.trim().parse().ok()).expect("port");
        }
    }
    panic!("the server never listened");
}

#[tokio::test]
async fn s20_a_self_signed_certificate_is_refused_before_anything_is_sent() {
    let server = OwnTls::start("s20-refused");
    let connector = server.connector(None);
    let verdicts = connector.deliver(&batch(2), &Recorder::default()).await;
    assert_eq!(classes(&verdicts), ["permanent_target"; 2], "{verdicts:?}");
    assert!(detail(&verdicts[0]).contains("certificate"), "{verdicts:?}");
}

#[tokio::test]
async fn s20_the_probe_calls_a_self_signed_certificate_a_problem_of_the_settings() {
    let server = OwnTls::start("s20-probe");
    let health = server.connector(None).probe(&Recorder::default()).await;
    assert!(matches!(&health, Health::Misconfigured { detail } if detail.contains("certificate")), "{health:?}");
}

#[tokio::test]
async fn s20_a_self_signed_certificate_is_taken_once_its_authority_is_configured() {
    let server = OwnTls::start("s20-taken");
    let connector = server.connector(Some(server.folder.join("ca.pem")));
    let verdicts = connector.deliver(&batch(2), &Recorder::default()).await;
    assert_eq!(verdicts, vec![Verdict::delivered(); 2]);
}
