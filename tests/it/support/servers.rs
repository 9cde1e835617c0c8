//! Redis and Valkey servers for tests. Each listens on a free port, and is stopped by its process id.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A running server. Dropping it kills the process and removes its folder.
#[derive(Debug)]
pub(crate) struct Server {
    program: PathBuf,
    options: Vec<String>,
    process: Child,
    port: u16,
    folder: PathBuf,
}

static FOLDERS: AtomicUsize = AtomicUsize::new(0);

/// Returns the servers to test with: `redis-server` and `valkey-server`, if they are installed.
///
/// The environment variables `REDIS_SERVER` and `VALKEY_SERVER` name other programs. If
/// `REQUIRE_SERVERS` is set, as `tests/run.sh` does, a missing program fails the test.
pub(crate) fn programs() -> Vec<PathBuf> {
    let named = |name: &str, variable: &str| {
        std::env::var_os(variable).map(PathBuf::from).or_else(|| in_path(name)).filter(|path| path.exists())
    };
    let programs = [("redis-server", "REDIS_SERVER"), ("valkey-server", "VALKEY_SERVER")];
    let found: Vec<_> = programs.into_iter().filter_map(|(name, variable)| named(name, variable)).collect();
    let is_complete = found.len() == programs.len() || std::env::var_os("REQUIRE_SERVERS").is_none();
    assert!(is_complete, "redis-server or valkey-server is missing (tests/run.sh installs both): {found:?}");
    if found.is_empty() {
        eprintln!("skipped: redis-server and valkey-server are missing (tests/run.sh installs both)");
    }
    found
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn start(program: &Path, options: &[String], port: u16, folder: &Path) -> Child {
    let mut command = Command::new(program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    let options = options.iter().map(|option| option.replace("{port}", &port.to_string()));
    command.args(["--daemonize", "no", "--dir"]).arg(folder).args(options);
    command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
    command.spawn().expect("the server starts")
}

impl Server {
    /// Starts a server and waits until it answers. In the options, `{port}` stands for its port.
    pub(crate) fn start(program: &Path, options: &[&str]) -> Self {
        let options: Vec<_> = options.iter().map(|option| (*option).to_owned()).collect();
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("trc-server-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        // Another process may take the port before the server does.
        for _ in 0..5 {
            let port = free_port();
            let process = start(program, &options, port, &folder);
            let mut server = Self {
                program: program.to_owned(),
                options: options.clone(),
                process,
                port,
                folder: folder.clone(),
            };
            if server.is_up() {
                return server;
            }
            server.kill();
        }
        panic!("{program:?} does not answer");
    }

    /// Starts a sentinel that alone decides about a fail-over of a primary named `cache`.
    pub(crate) fn sentinel(program: &Path, primary: u16) -> Self {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("trc-sentinel-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (port, file) = (free_port(), folder.join("sentinel.conf"));
        let watch = format!("sentinel monitor cache 127.0.0.1 {primary} 1");
        let limits = "sentinel down-after-milliseconds cache 1000\nsentinel failover-timeout cache 2000";
        std::fs::write(&file, format!("port {port}\nbind 127.0.0.1\n{watch}\n{limits}\n")).expect("written");
        let mut command = Command::new(program);
        command.arg(&file).arg("--sentinel").current_dir(&folder);
        command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
        let process = command.spawn().expect("the sentinel starts");
        let mut server = Self { program: program.to_owned(), options: Vec::new(), process, port, folder };
        assert!(server.is_up());
        server
    }

    /// Starts a replica of a server, and waits until it has all keys.
    pub(crate) fn replica(program: &Path, primary: &Self) -> Self {
        let replica = Self::start(program, &["--replicaof", &format!("127.0.0.1 {}", primary.port)]);
        assert!(replica.waits_for_info("master_link_status:up"), "the replica does not connect");
        replica
    }

    /// Ends the connection to the primary. The server stays a replica with the keys that it has.
    pub(crate) fn cut_off(&self) {
        let reply = self.direct().send(&[b"REPLICAOF", b"127.0.0.1", b"1"]);
        assert_eq!(reply, Reply::Text("OK".into()));
    }

    /// Waits until `INFO replication` contains this line. Returns `false` if the line is still
    /// missing after about a minute.
    pub(crate) fn waits_for_info(&self, line: &str) -> bool {
        (0..1200).any(|_| {
            // A sentinel closes the connections of a server that it reconfigures.
            let info = match self.direct().send(&[b"INFO", b"replication"]) {
                Reply::Bulk(info) => String::from_utf8_lossy(&info).into_owned(),
                _ => String::new(),
            };
            let is_found = info.lines().any(|found| found == line);
            if !is_found {
                std::thread::sleep(Duration::from_millis(50));
            }
            is_found
        })
    }

    fn is_up(&mut self) -> bool {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end && matches!(self.process.try_wait(), Ok(None)) {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills the process.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts the server again on the same port, without its keys. A server of a cluster still
    /// knows the other servers.
    pub(crate) fn restart_empty(&mut self) {
        self.kill();
        self.process = start(&self.program, &self.options, self.port, &self.folder);
        assert!(self.is_up());
    }

    /// Starts the server again with other options, on the same port. All keys are gone.
    pub(crate) fn restart_with(&mut self, options: &[&str]) {
        self.options = options.iter().map(|option| (*option).to_owned()).collect();
        self.restart_empty();
    }

    /// Sends a signal to the process: `STOP` pauses it, `CONT` resumes it.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        let status = Command::new("kill").args([&format!("-{signal}"), &id]).status();
        assert!(status.expect("kill").success());
    }

    /// Connects the test itself, without the store under test.
    pub(crate) fn direct(&self) -> Direct {
        Direct::connect(self.port)
    }

    /// Returns how often the server has run a command.
    pub(crate) fn calls(&self, command: &str) -> u64 {
        let Reply::Bulk(stats) = self.direct().send(&[b"INFO", b"commandstats"]) else { panic!("no stats") };
        let stats = String::from_utf8_lossy(&stats).into_owned();
        let start = format!("cmdstat_{command}:calls=");
        let line = stats.lines().find_map(|line| line.strip_prefix(&start));
        line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A reply of a server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    Nil,
    Text(String),
    Error(String),
    Number(i64),
    Bulk(Vec<u8>),
    List(Vec<Reply>),
}

/// A blocking connection that does not use the client of the crate.
#[derive(Debug)]
pub(crate) struct Direct(BufReader<TcpStream>);

impl Direct {
    pub(crate) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, parts: &[&[u8]]) -> Reply {
        let mut command = format!("*{}\r\n", parts.len()).into_bytes();
        for part in parts {
            command.extend(format!("${}\r\n", part.len()).bytes());
            command.extend(*part);
            command.extend(b"\r\n");
        }
        self.0.get_mut().write_all(&command).expect("sent");
        self.reply()
    }

    fn reply(&mut self) -> Reply {
        let mut line = String::new();
        if self.0.read_line(&mut line).unwrap_or(0) == 0 {
            return Reply::Error("the connection is closed".into());
        }
        let line = line.trim_end();
        let (kind, rest) = line.split_at(1);
        let number = || rest.parse::<i64>().expect("a number");
        match kind {
            "+" => Reply::Text(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Number(number()),
            "$" | "*" if number() < 0 => Reply::Nil,
            "$" => {
                let mut bytes = vec![0; number() as usize + 2];
                self.0.read_exact(&mut bytes).expect("the bytes");
                bytes.truncate(bytes.len() - 2);
                Reply::Bulk(bytes)
            }
            "*" => Reply::List((0..number()).map(|_| self.reply()).collect()),
            _ => panic!("unknown reply {line}"),
        }
    }

    /// Returns all keys.
    pub(crate) fn keys(&mut self) -> Vec<Vec<u8>> {
        let Reply::List(keys) = self.send(&[b"KEYS", b"*"]) else { panic!("no keys") };
        keys.into_iter().map(Reply::bytes).collect()
    }

    /// Reduces the remaining lifetime of all keys.
    pub(crate) fn advance(&mut self, by: Duration) {
        let by = by.as_millis() as i64;
        for key in self.keys() {
            let Reply::Number(rest) = self.send(&[b"PTTL", &key]) else { panic!("no TTL") };
            match rest - by {
                left if left <= 0 => self.send(&[b"DEL", &key]),
                left => self.send(&[b"PEXPIRE", &key, left.to_string().as_bytes()]),
            };
        }
    }

    /// Saves all keys.
    pub(crate) fn dump(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let keys = self.keys().into_iter();
        keys.map(|key| (key.clone(), self.send(&[b"DUMP", &key]).bytes())).collect()
    }

    /// Restores what [`dump`](Self::dump) has saved, and removes everything else.
    pub(crate) fn restore(&mut self, all: &[(Vec<u8>, Vec<u8>)]) {
        self.send(&[b"FLUSHALL"]);
        for (key, dump) in all {
            let restored = self.send(&[b"RESTORE", key, b"3600000", dump]);
            assert_eq!(restored, Reply::Text("OK".into()));
        }
    }
}

impl Reply {
    pub(crate) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Bulk(bytes) => bytes,
            other => panic!("not bytes: {other:?}"),
        }
    }
}
