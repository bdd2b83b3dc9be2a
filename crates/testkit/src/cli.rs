//! Running the real `churnwatch` binary, as a user would.
//!
//! The binary is built by cargo before it is first run, which is a matter of a
//! moment when it is fresh: a stale one is never tested.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock},
    time::Duration,
};

/// The root of the repository that the running test stands in: the nearest
/// directory above with a `Cargo.lock`. Not what was compiled in, since clones
/// that share a target directory share what is compiled.
///
/// # Panics
/// It is run from elsewhere.
pub fn repository() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let here = std::env::current_dir().expect("a test stands somewhere");
        let root = here
            .ancestors()
            .find(|above| above.join("Cargo.lock").is_file());
        let root = root.unwrap_or_else(|| panic!("{} is in no clone", here.display()));
        root.to_owned()
    })
}

/// The binary as users have it, built if it is not fresh, with the profile of
/// the running test.
///
/// # Panics
/// It cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build_copy("churnwatch-under-test", &[]))
}

/// The same with the moments and defences of the crate `faults`.
///
/// # Panics
/// It cannot be built.
pub fn binary_with_faults() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let features = ["--features", "fault-injection"];
    BINARY.get_or_init(|| build_copy("churnwatch-with-faults", &features))
}

/// The program behind `cargo xtask`.
///
/// # Panics
/// It cannot be built.
pub(crate) fn xtask() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build("churnwatch-xtask", "churnwatch-xtask", &[]))
}

/// Builds the binary and gives a copy of it, since cargo has one place for both
/// kinds.
fn build_copy(copy: &str, features: &[&str]) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().expect("no build panicked before");
    let executable = build("churnwatch-cli", "churnwatch", features);
    let copy = executable.with_file_name(copy);
    // Beside its place and then there: an older copy may be running.
    let unfinished = copy.with_extension(std::process::id().to_string());
    std::fs::copy(&executable, &unfinished).expect("the binary can be copied");
    std::fs::rename(&unfinished, &copy).expect("the copy can be put in its place");
    copy
}

/// Builds a binary and gives where it is.
fn build(package: &str, binary: &str, features: &[&str]) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .current_dir(repository())
        .args([
            "build",
            "-p",
            package,
            "--bin",
            binary,
            "--profile",
            &profile(),
        ])
        .args(features)
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "{binary} does not build");
    let messages = String::from_utf8(built.stdout).expect("cargo speaks UTF-8");
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back();
    executable.expect("cargo names the binary it has built")
}

/// The profile of the running test, by the directory it lies in.
fn profile() -> String {
    let test = std::env::current_exe().expect("a test has a path");
    let is_release = test.components().any(|part| part.as_os_str() == "release");
    if is_release { "release" } else { "dev" }.to_owned()
}

/// The binary as a command that knows nothing of the environment's settings.
pub fn churnwatch() -> Command {
    command(binary())
}

/// A binary as a command that knows nothing of the environment's settings.
pub(crate) fn command(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command
        .env_remove("CHURNWATCH_CONFIG")
        .env_remove("CHURNWATCH_LOG")
        .env_remove("CHURNWATCH_FAULT")
        .env_remove("CHURNWATCH_WITHOUT")
        .env("NO_COLOR", "1");
    command
}

/// How a run of the binary ended.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; `None` when it was killed.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// The output of a run that has to succeed.
    ///
    /// # Panics
    /// It did not.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// What was said by a run that has to end with `code`, and to print nothing
    /// that could be taken for a result.
    ///
    /// # Panics
    /// It ended otherwise.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self.stderr
    }
}

/// Runs the binary to its end.
///
/// # Panics
/// It cannot be started, or writes something that is not UTF-8.
pub fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    let output = churnwatch()
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("output is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("logs are UTF-8"),
    }
}

/// A `churnwatch run` in the background, killed when it is dropped.
pub struct Service {
    process: Child,
    /// Where it serves `/metrics`, `/livez` and `/readyz`.
    pub http: SocketAddr,
}

impl Service {
    /// Starts `churnwatch run` on a configuration that listens on port 0, and
    /// waits until it says where it serves.
    ///
    /// # Panics
    /// It ends before that.
    pub fn start(config: &Path) -> Self {
        let mut process = churnwatch()
            .args(["run", "--log-format", "json", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut log = BufReader::new(process.stderr.take().expect("it was asked for"));
        let mut said = String::new();
        let http = loop {
            let mut line = String::new();
            if log.read_line(&mut line).expect("logs are UTF-8") == 0 {
                panic!("it ended before it served anything: {said}");
            }
            let record: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(address) = record["address"].as_str() {
                break address.parse().expect("an address");
            }
            said.push_str(&line);
        };
        // Nobody reads on, but the process must never wait for a full pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { process, http }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Asks for a page: status and body.
    ///
    /// # Panics
    /// Nobody answers.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.http).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a time-out");
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.expect("a status line"), body.to_owned())
    }

    /// Sends SIGTERM and waits for the end: the exit code.
    ///
    /// # Panics
    /// The signal cannot be sent.
    pub fn terminate(mut self) -> Option<i32> {
        let id = self.process.id().to_string();
        let sent = Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .expect("kill runs");
        assert!(sent.success(), "SIGTERM was not sent");
        self.process.wait().expect("it can be waited for").code()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Both fail where it has ended already, which is as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
