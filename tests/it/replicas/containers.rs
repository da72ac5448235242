//! Replicas in containers, each on a network of its own from which it reaches the database, the queue and the targets on lines
//! of its own. What is done to them is done by Docker: killed, frozen, taken off the network.

use std::process::{Command, Stdio};

use simulators::{line::Line, postgres::Postgres};

use super::{COUNT, Site};
use crate::{
    localstack::endpoint::{image, skipped_without_docker},
    support::{assert_exact, feed, until},
};

/// Runs a `docker` command; what it prints.
fn docker(args: &[&str]) -> Result<String, String> {
    let output = Command::new("docker").args(args).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// An image with a C library to run the binary in; nothing else of it is used.
fn usable_image() -> Option<String> {
    let image = image();
    match docker(&["image", "inspect", "--format", "{{.Id}}", &image]) {
        Ok(_) => Some(image),
        Err(error) => skipped_without_docker(&format!("no container of {image} ({error})")),
    }
}

/// A replica in its container, with its network and its lines; all of it goes with the value.
struct Boxed {
    name: String,
    network: String,
    /// To the queue, JIRA, Splunk, Slack and the database.
    lines: Vec<Line>,
}

impl Boxed {
    async fn start(site: &mut Site, image: &str) -> Self {
        site.started += 1;
        let name = format!("findings-router-{}-{}", std::process::id(), site.started);
        let network = name.clone();
        docker(&["network", "create", &network]).expect("a network");
        let gateway = docker(&["network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", &network]);
        let mut boxed = Self { name, network, lines: Vec::new() };
        let yaml = boxed.lead_out(site, &gateway.expect("its gateway")).await;
        let config = site.bench.folder().join(format!("router-{}.yaml", site.started));
        std::fs::write(&config, yaml).expect("router.yaml");
        let folder = site.bench.folder().display().to_string();
        let mount = |path: &str, at: &str| format!("--volume={path}:{at}:ro");
        let arguments = [
            "run",
            "--detach",
            &format!("--name={}", boxed.name),
            &format!("--hostname={}", boxed.name),
            &format!("--network={}", boxed.network),
            "--read-only",
            "--cap-drop=ALL",
            &mount(env!("CARGO_BIN_EXE_findings-router"), "/findings-router"),
            &mount(&folder, &folder),
            &mount(concat!(env!("CARGO_MANIFEST_DIR"), "/routes"), concat!(env!("CARGO_MANIFEST_DIR"), "/routes")),
            &format!("--workdir={folder}"),
            &format!("--env=AWS_ENDPOINT_URL=http://{}", boxed.lines[0].address()),
            "--env=AWS_ACCESS_KEY_ID=test",
            "--env=AWS_SECRET_ACCESS_KEY=test",
            "--env=AWS_REGION=us-east-1",
            "--entrypoint=/findings-router",
            image,
            "run",
            "--config",
            &config.display().to_string(),
        ];
        docker(&arguments).expect("a container");
        until("it knows whose turn it is", || {
            assert!(boxed.is_running(), "{}", boxed.log());
            boxed.log().contains("on duty") || boxed.log().contains("standing by")
        })
        .await;
        boxed
    }

    /// What router.yaml is from in there: every address leads through a line of this replica alone.
    async fn lead_out(&mut self, site: &Site, gateway: &str) -> String {
        let sims = &site.bench.sims;
        let urls = [sims.aws.url(), sims.jira.url(), sims.splunk.url(), sims.slack.url(), site.url.as_str()];
        let yaml = std::fs::read_to_string(site.bench.folder().join("router.yaml")).expect("router.yaml");
        // Not this machine's loopback any more, so the router would insist on TLS.
        let mut yaml = yaml
            .replace(&site.url, &format!("{}?sslmode=disable", site.url))
            .replace("timeout: 3s", "timeout: 3s, allow_http: true");
        for url in urls {
            let far = url.split("://").last().unwrap_or_default();
            let far = far.rsplit('@').next().unwrap_or_default().split('/').next().unwrap_or_default();
            let line = Line::between(gateway, far.to_owned()).await.expect("a line");
            yaml = yaml.replace(far, &line.address().to_string());
            self.lines.push(line);
        }
        yaml
    }

    fn log(&self) -> String {
        let logs = Command::new("docker").args(["logs", &self.name]).stdout(Stdio::null()).output().expect("docker");
        String::from_utf8_lossy(&logs.stderr).into_owned()
    }

    fn is_running(&self) -> bool {
        docker(&["inspect", "-f", "{{.State.Running}}", &self.name]).is_ok_and(|running| running == "true")
    }

    /// Once it has ended, with what.
    async fn exit_code(&self) -> String {
        until("it ends", || !self.is_running()).await;
        docker(&["inspect", "-f", "{{.State.ExitCode}}", &self.name]).expect("a code")
    }
}

impl Drop for Boxed {
    fn drop(&mut self) {
        let _ = docker(&["rm", "--force", &self.name]);
        let _ = docker(&["network", "rm", &self.network]);
    }
}

/// Takes the one on duty out of those that are there.
async fn on_duty(site: &Site, server: &Postgres, replicas: &mut Vec<Boxed>) -> Boxed {
    let mut found = None;
    until("one is on duty", || {
        let holder = site.owners(server).remove(&0).unwrap_or_default();
        found = replicas.iter().position(|replica| holder.starts_with(&format!("{}:", replica.name)));
        found.is_some()
    })
    .await;
    replicas.remove(found.expect("found"))
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_in_containers_on_networks_of_their_own_lose_nothing_and_tell_nobody_twice() {
    let Some(image) = usable_image() else { return };
    let Some(server) = simulators::postgres::shared() else { return };
    let mut site = Site::on(server).await;
    // Its queue has another address for each of them.
    site.bench.settings("installation: containers");
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Boxed::start(&mut site, &image).await);
    }

    // Killed.
    feed(&site.bench, 0, COUNT);
    until("it is at work", || site.told() > 0).await;
    let killed = on_duty(&site, server, &mut replicas).await;
    docker(&["kill", &killed.name]).expect("killed");
    assert_eq!(killed.exit_code().await, "137");
    site.expire(server, &killed.name);

    // Frozen for longer than its lease.
    feed(&site.bench, 1, COUNT);
    site.all_of(2, COUNT).await;
    let frozen = on_duty(&site, server, &mut replicas).await;
    docker(&["pause", &frozen.name]).expect("frozen");
    feed(&site.bench, 2, COUNT);
    site.all_of(3, COUNT).await;
    docker(&["unpause", &frozen.name]).expect("thawed");
    assert_eq!(frozen.exit_code().await, "1");

    // Off its network, while another one comes up; then back on it.
    replicas.push(Boxed::start(&mut site, &image).await);
    let alone = on_duty(&site, server, &mut replicas).await;
    docker(&["network", "disconnect", "--force", &alone.network, &alone.name]).expect("taken off");
    feed(&site.bench, 3, COUNT);
    site.all_of(4, COUNT).await;
    docker(&["network", "connect", &alone.network, &alone.name]).expect("put back");
    assert_eq!(alone.exit_code().await, "1");

    // Without a way to one of the targets.
    let cut = on_duty(&site, server, &mut replicas).await;
    cut.lines[1].cut();
    feed(&site.bench, 4, COUNT);
    let events = (5 * COUNT) as u64;
    until("the other targets have it", || site.bench.sims.splunk.distinct() == events).await;
    cut.lines[1].mend();
    site.all_of(5, COUNT).await;
    assert_exact(&site.bench, 5, COUNT);
    drop((killed, frozen, alone, cut));
}
