//! One `churnwatch run` as a child process.

use std::{
    fs::File,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{LIMIT, wait_for};
use crate::cli;

/// How much of a log is shown when something went wrong.
const SHOWN_LINES: usize = 40;

/// A running detector; killed when it is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
    http: SocketAddr,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; `None` when it was killed.
    pub code: Option<i32>,
    /// From the signal to the end.
    pub took: Duration,
    /// What it logged.
    pub log: String,
}

impl Process {
    /// Starts it and waits until it says where it serves.
    ///
    /// # Panics
    /// It ends before that.
    pub fn start(config: &Path, log: &Path) -> Self {
        Self::started(cli::churnwatch(), config, log)
    }

    /// As [`Process::start`], the binary with faults, with `env` in its
    /// environment.
    ///
    /// # Panics
    /// As [`Process::start`].
    pub fn start_with_faults(config: &Path, log: &Path, env: &[(&str, &str)]) -> Self {
        let mut command = cli::command(cli::binary_with_faults());
        command.envs(env.iter().copied());
        Self::started(command, config, log)
    }

    /// The same, saying everything that it can say.
    ///
    /// # Panics
    /// It ends before that.
    pub fn start_saying_everything(config: &Path, log: &Path) -> Self {
        let mut command = cli::churnwatch();
        command.arg("-vv");
        Self::started(command, config, log)
    }

    fn started(command: Command, config: &Path, log: &Path) -> Self {
        let mut child = Self::spawn(command, config, log);
        let http = wait_for("the address of the endpoints", || {
            // Asked first: it may have served and ended since the log was read.
            let ended = child.try_wait().expect("a child can be asked");
            let said = read(log);
            let address = said.lines().find_map(|line| {
                let record: Value = serde_json::from_str(line).ok()?;
                record["address"].as_str()?.parse().ok()
            });
            if let (Some(status), None) = (ended, address) {
                panic!("it ended with {status} before it served anything: {said}");
            }
            address
        });
        Self {
            child,
            log: log.to_owned(),
            http,
        }
    }

    /// Starts it where it has to end by itself, and gives how it did.
    ///
    /// # Panics
    /// It does not end.
    pub fn run_to_its_end(config: &Path, log: &Path) -> Ended {
        let began = Instant::now();
        let mut child = Self::spawn(cli::churnwatch(), config, log);
        let status = wait_for("the end of a process that must not start", || {
            child.try_wait().expect("a child can be asked")
        });
        Ended {
            code: status.code(),
            took: began.elapsed(),
            log: read(log),
        }
    }

    fn spawn(mut command: Command, config: &Path, log: &Path) -> Child {
        let out = File::create(log).expect("a log file can be made");
        command
            .args(["run", "--dev", "--log-format", "json", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(out)
            .spawn()
            .expect("the binary starts")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks for a page: status and body.
    ///
    /// # Panics
    /// Nobody answers: shows the log.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.get_with(path, "Accept: */*")
    }

    /// The same, with a header.
    ///
    /// # Panics
    /// Nobody answers: shows the log.
    pub fn get_with(&self, path: &str, header: &str) -> (u16, String) {
        self.try_get(path, header)
            .unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.last_said()))
    }

    fn try_get(&self, path: &str, header: &str) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.http, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        write!(
            stream,
            "GET {path} HTTP/1.0\r\nHost: localhost\r\n{header}\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((status, body.to_owned()))
    }

    /// Waits until it is ready: joined, assigned, restored.
    ///
    /// # Panics
    /// It does not become ready.
    pub fn wait_until_ready(&self) -> &Self {
        let began = Instant::now();
        loop {
            let (status, body) = self.get("/readyz");
            if status == 200 {
                return self;
            }
            assert!(
                began.elapsed() < LIMIT,
                "not ready: {body}\n{}",
                self.last_said()
            );
            std::thread::sleep(super::LOOK);
        }
    }

    /// A metric, added up over its labels.
    ///
    /// # Panics
    /// Nobody answers.
    pub fn metric(&self, name: &str) -> f64 {
        self.metric_where(name, "")
    }

    /// A metric, added up over the label sets that contain `label`.
    ///
    /// # Panics
    /// Nobody answers.
    pub fn metric_where(&self, name: &str, label: &str) -> f64 {
        let (_, page) = self.get("/metrics");
        page.lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with([' ', '{']))
            })
            .filter(|line| line.contains(label))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Sends a signal, by its name without `SIG`.
    ///
    /// # Panics
    /// It cannot be sent.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &id])
            .status();
        assert!(sent.expect("kill runs").success(), "SIG{name} was not sent");
    }

    /// SIGKILL: no chance to tidy up.
    ///
    /// # Panics
    /// It had ended already.
    pub fn kill(mut self) {
        self.expect_alive();
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// SIGTERM, and the end.
    ///
    /// # Panics
    /// It had ended already, or does not end.
    pub fn terminate(mut self) -> Ended {
        self.expect_alive();
        let began = Instant::now();
        self.signal("TERM");
        let child = &mut self.child;
        let status = wait_for("the end after SIGTERM", || {
            child.try_wait().expect("a child can be asked")
        });
        Ended {
            code: status.code(),
            took: began.elapsed(),
            log: read(&self.log),
        }
    }

    /// SIGTERM, and the end, of a process with a fault of its own: it may be
    /// killed before it hears of it, and then has no exit code; where it stops
    /// itself, it is continued.
    ///
    /// # Panics
    /// It does not end.
    pub fn terminate_faulty(mut self) -> Ended {
        let began = Instant::now();
        self.signal("TERM");
        let status = wait_for("the end after SIGTERM", || {
            if self.is_stopped() {
                self.signal("CONT");
            }
            self.try_end()
        });
        Ended {
            code: status.code(),
            took: began.elapsed(),
            log: read(&self.log),
        }
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// It does not.
    pub fn wait_for_end(mut self) -> Ended {
        let began = Instant::now();
        let status = loop {
            match self.child.try_wait().expect("a child can be asked") {
                Some(status) => break status,
                None if began.elapsed() > LIMIT => {
                    panic!("it does not end:\n{}", read(&self.log))
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        Ended {
            code: status.code(),
            took: began.elapsed(),
            log: read(&self.log),
        }
    }

    /// SIGTERM, and an end in good order.
    ///
    /// # Panics
    /// The exit code is not 0: shows the log.
    #[track_caller]
    pub fn stop(self) -> Ended {
        let ended = self.terminate();
        assert_eq!(ended.code, Some(0), "{}", tail(&ended.log));
        ended
    }

    /// # Panics
    /// It has ended: shows the log.
    #[track_caller]
    pub fn expect_alive(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a child can be asked") {
            panic!("the process ended with {status}:\n{}", self.last_said());
        }
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// It cannot be asked.
    pub fn try_end(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// Whether it was stopped by SIGSTOP and not continued.
    pub fn is_stopped(&self) -> bool {
        self.of_proc("status", "State:")
            .is_some_and(|state| state.starts_with('T'))
    }

    /// Memory that is resident, in bytes; `None` where the system has no
    /// `/proc`, or the process has ended.
    pub fn resident_bytes(&self) -> Option<u64> {
        let text = self.of_proc("status", "VmRSS:")?;
        let kib: u64 = text.strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }

    fn of_proc(&self, file: &str, field: &str) -> Option<String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        let text = std::fs::read_to_string(path).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(field))?;
        Some(value.trim().to_owned())
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        read(&self.log)
    }

    /// The end of its log.
    pub fn last_said(&self) -> String {
        tail(&read(&self.log))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail where it has ended already, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(log: &Path) -> String {
    std::fs::read_to_string(log).expect("the log can be read")
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}
