//! A PostgreSQL server of its own for tests: the real one, in a folder that goes with the process.
//!
//! Debian's packages or anything with `initdb` on the PATH will do. `FINDINGS_ROUTER_POSTGRES_URL` names another server, whose
//! databases may be made and left behind.

use std::{
    fs,
    io::{self, Error},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Why there is none, and how to get it.
pub const MISSING: &str =
    "skipped: no PostgreSQL here (apt-get install postgresql, or set FINDINGS_ROUTER_POSTGRES_URL)";

/// A running server.
pub struct Postgres {
    tools: Option<PathBuf>,
    /// `postgres://user@host:port`, without a database.
    url: String,
    keeper: Option<Keeper>,
}

/// A shell that ends the server, and removes its folder, once its input ends: also when a test is killed.
struct Keeper {
    shell: Child,
    data: PathBuf,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// The server that the tests of this process share; `None`, after a line that says so, where there is none.
pub fn shared() -> Option<&'static Postgres> {
    static SERVER: OnceLock<Option<Postgres>> = OnceLock::new();
    SERVER.get_or_init(|| told(Postgres::start())).as_ref()
}

/// A server for one test, which may stop it.
pub fn own() -> Option<Postgres> {
    told(Postgres::start_here(false))
}

/// The same, and what it says is done is on its disk: for measurements.
pub fn durable() -> Option<Postgres> {
    told(Postgres::start_here(true))
}

fn told(started: io::Result<Option<Postgres>>) -> Option<Postgres> {
    let required = std::env::var("FINDINGS_ROUTER_REQUIRE_POSTGRES").is_ok_and(|set| set == "1");
    match started {
        Ok(Some(server)) => Some(server),
        Ok(None) if !required => {
            println!("{MISSING}");
            None
        }
        // A test that was meant to run fails at its first use of what is not there.
        Ok(None) => Some(Postgres { tools: None, url: format!("postgres://{MISSING}"), keeper: None }),
        Err(error) => {
            println!("PostgreSQL does not start: {error}");
            required.then(|| Postgres { tools: None, url: format!("postgres://{error}"), keeper: None })
        }
    }
}

impl Postgres {
    fn start() -> io::Result<Option<Self>> {
        match std::env::var("FINDINGS_ROUTER_POSTGRES_URL") {
            Ok(url) => Ok(Some(Self { tools: tools(), url: url.trim_end_matches('/').to_owned(), keeper: None })),
            Err(_) => Self::start_here(false),
        }
    }

    /// A copy of this server that takes over every commit before it is answered, until it is [promoted](Self::promote).
    pub fn standby(&self) -> io::Result<Self> {
        let tools = self.tools.clone().ok_or_else(|| Error::other("no PostgreSQL here"))?;
        let (data, port, user) = folder()?;
        run(&mut user_command(user.as_deref(), &tools.join("pg_basebackup"), |command| {
            // -R: a standby of that server.
            command
                .args(["-R", "--checkpoint=fast", "--no-sync", "-d"])
                .arg(self.url_of("postgres"))
                .arg("-D")
                .arg(&data);
        }))?;
        let standby = Self::serving(tools, &data, port, user.as_deref(), false)?;
        self.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'")?;
        self.sql("postgres", "SELECT pg_reload_conf()")?;
        let streams = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        until(|| self.sql("postgres", streams).is_ok_and(|count| count == "1"))?;
        Ok(standby)
    }

    /// The copy becomes a server of its own. End the other one first: [`stop`](Self::stop).
    pub fn promote(&self) -> io::Result<()> {
        self.sql("postgres", "ALTER SYSTEM RESET synchronous_standby_names")?;
        self.sql("postgres", "SELECT pg_reload_conf()")?;
        self.sql("postgres", "SELECT pg_promote()").map(drop)
    }

    /// Ends the server for good and at once, like a machine that dies.
    pub fn stop(&self) -> io::Result<()> {
        let keeper = self.keeper.as_ref().ok_or_else(|| Error::other("this server is not ours"))?;
        fs::write(keeper.data.join("end"), "")?;
        self.signal("-QUIT")
    }

    fn start_here(durable: bool) -> io::Result<Option<Self>> {
        let Some(tools) = tools() else { return Ok(None) };
        let (data, port, user) = folder()?;
        run(&mut user_command(user.as_deref(), &tools.join("initdb"), |command| {
            command
                .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
                .arg(&data);
        }))?;
        // Everybody is trusted but the role that tests make to be refused.
        let access = data.join("pg_hba.conf");
        let trusting = fs::read_to_string(&access)?;
        fs::write(&access, format!("host all guarded all scram-sha-256\n{trusting}"))?;
        Self::serving(tools, &data, port, user.as_deref(), durable).map(Some)
    }

    fn serving(tools: PathBuf, data: &Path, port: u16, user: Option<&str>, durable: bool) -> io::Result<Self> {
        let mut server =
            Self { tools: Some(tools), url: format!("postgres://postgres@127.0.0.1:{port}"), keeper: None };
        server.keeper = Some(server.serve(data, port, user, durable)?);
        server.until_ready()?;
        Ok(server)
    }

    fn serve(&self, data: &Path, port: u16, user: Option<&str>, durable: bool) -> io::Result<Keeper> {
        let postgres = self.tools.as_deref().unwrap_or(Path::new("")).join("postgres");
        let shell = user_command(user, Path::new("sh"), |command| {
            // -INT: end now and leave the data in order. The server is started again until the input ends.
            let script = "exec 3<&0; (cat <&3 >/dev/null; : >\"$1/end\"; kill -INT \"$(head -n 1 \"$1/postmaster.pid\")\" 2>/dev/null) &
                until [ -e \"$1/end\" ]; do \"$2\" -D \"$1\" -k \"$1\" -p \"$3\" -c listen_addresses=127.0.0.1 -c fsync=\"$4\" \\
                  -c max_connections=200 -c logging_collector=off >>\"$1/log\" 2>&1 3<&-; done; rm -rf \"$1\"";
            command.args(["-c", script, "sh"]).arg(data).arg(&postgres).arg(port.to_string());
            command.arg(if durable { "on" } else { "off" });
        })
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
        Ok(Keeper { shell, data: data.to_owned() })
    }

    fn until_ready(&self) -> io::Result<()> {
        until(|| self.sql("postgres", "SELECT 1").is_ok())
    }

    /// Makes a database that nobody else uses; its address.
    pub fn database(&self) -> io::Result<String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        self.sql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(self.url_of(&name))
    }

    /// The same, with its tables in a folder of its own, which is empty and the server's.
    pub fn database_in(&self, folder: &Path) -> io::Result<String> {
        self.sql("postgres", &format!("CREATE TABLESPACE elsewhere LOCATION '{}'", folder.display()))?;
        self.sql("postgres", "CREATE DATABASE elsewhere TABLESPACE elsewhere")?;
        Ok(self.url_of("elsewhere"))
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        self.url.rsplit('@').next().unwrap_or_default()
    }

    /// The address of a database of this server.
    pub fn url_of(&self, database: &str) -> String {
        format!("{}/{database}", self.url)
    }

    /// Runs a statement; what it answers, as text.
    pub fn sql(&self, database: &str, statement: &str) -> io::Result<String> {
        let psql = self.tools.as_deref().unwrap_or(Path::new("")).join("psql");
        let url = self.url_of(database.rsplit('/').next().unwrap_or(database));
        run(Command::new(psql).args(["-X", "-q", "-A", "-t", "-d", &url, "-c", statement]))
    }

    /// Ends the server as its operator does; it comes up again by itself. Every connection is gone.
    pub fn restart(&self) -> io::Result<()> {
        self.signal("-INT")?;
        self.until_ready()
    }

    /// Speaks TLS from now on, with a certificate for 127.0.0.1; the file of its authority. `None`, after a line that says so, where there
    /// is no `openssl`.
    pub fn speak_tls(&self) -> io::Result<Option<PathBuf>> {
        let keeper = self.keeper.as_ref().ok_or_else(|| Error::other("this server is not ours"))?;
        if Command::new("openssl").arg("version").output().is_err() {
            println!("skipped: no openssl here (apt-get install openssl)");
            return Ok(None);
        }
        let folder = keeper.data.join("tls");
        fs::create_dir(&folder)?;
        fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n")?;
        for line in [
            "req -x509 -newkey rsa:2048 -nodes -subj /CN=authority -days 2 -keyout ca.key -out ca.pem",
            "req -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr",
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
        ] {
            run(Command::new("openssl").args(line.split(' ')).current_dir(&folder))?;
        }
        // The server wants its key to be its own.
        run(Command::new("chown").arg("-R").arg("--reference").arg(&keeper.data).arg(&folder))?;
        for (setting, value) in [("ssl_cert_file", "tls/server.pem"), ("ssl_key_file", "tls/server.key"), ("ssl", "on")]
        {
            self.sql("postgres", &format!("ALTER SYSTEM SET {setting} = '{value}'"))?;
        }
        self.sql("postgres", "SELECT pg_reload_conf()")?;
        until(|| self.sql("postgres", "SHOW ssl").is_ok_and(|on| on == "on"))?;
        Ok(Some(folder.join("ca.pem")))
    }

    fn signal(&self, name: &str) -> io::Result<()> {
        let keeper = self.keeper.as_ref().ok_or_else(|| Error::other("this server is not ours"))?;
        let pid = fs::read_to_string(keeper.data.join("postmaster.pid"))?;
        run(Command::new("kill").args([name, pid.lines().next().unwrap_or_default()])).map(drop)
    }
}

fn until(mut holds: impl FnMut() -> bool) -> io::Result<()> {
    let started = Instant::now();
    while !holds() {
        if started.elapsed() > Duration::from_secs(30) {
            return Err(Error::other("it does not answer"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// An empty folder for a server, its port, and the user that it has to run as.
fn folder() -> io::Result<(PathBuf, u16, Option<String>)> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let data = std::env::temp_dir().join(format!("findings-router-postgres-{}-{port}", std::process::id()));
    fs::create_dir(&data)?;
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
    let user = owner(&data)?;
    Ok((data, port, user))
}

/// The folder of the newest installed version.
fn tools() -> Option<PathBuf> {
    let debian = fs::read_dir("/usr/lib/postgresql").ok().into_iter().flatten().filter_map(Result::ok);
    let mut folders: Vec<PathBuf> = debian.map(|entry| entry.path().join("bin")).collect();
    folders.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.reverse();
    folders.extend(std::env::split_paths(&path));
    folders.into_iter().find(|folder| folder.join("initdb").is_file() && folder.join("postgres").exists())
}

/// PostgreSQL refuses to run as root: then the folder goes to its own user.
fn owner(data: &Path) -> io::Result<Option<String>> {
    use std::os::unix::fs::{MetadataExt, chown};
    if fs::metadata(data)?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let Some(user) = fields.into_iter().find(|user| user.first() == Some(&"postgres")) else {
        return Err(Error::other("it does not run as root, and there is no user postgres"));
    };
    let number = |at: usize| user.get(at).and_then(|id| id.parse::<u32>().ok());
    chown(data, number(2), number(3))?;
    Ok(Some("postgres".to_owned()))
}

fn user_command(user: Option<&str>, program: &Path, arguments: impl FnOnce(&mut Command)) -> Command {
    let mut command = match user {
        Some(user) => {
            let mut command = Command::new("runuser");
            command.args(["-u", user, "--"]).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.current_dir("/");
    arguments(&mut command);
    command
}

fn run(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
