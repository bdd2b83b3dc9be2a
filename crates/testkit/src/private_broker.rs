//! A broker of one test's own: to be killed, stopped, paused and started again,
//! or with listeners and settings that the shared one has not.
//!
//! It is started by `cargo xtask kafka private`, which holds it for us. When we
//! let go, be it by the drop at the end of a test, by a panic or by our own
//! death, the broker is killed.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::JoinHandle,
};

use std::os::unix::process::CommandExt;

use tempfile::TempDir;

use crate::cli;

/// What a broker has beyond the usual.
#[derive(Debug, Clone, Default)]
pub struct BrokerOptions {
    /// Listeners beside the direct one, which is plain text.
    pub listeners: Vec<Listener>,
    /// Settings, instead of or beside the usual ones.
    pub settings: Vec<(String, String)>,
    /// Users with a password, each as in
    /// `SCRAM-SHA-256=[name=alice,password=secret]`.
    pub users: Vec<String>,
}

/// One more place where the broker accepts connections, on a free port.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Its name, for [`PrivateBroker::address`] and for settings such as
    /// `listener.name.NAME.ssl.keystore.location` (in lower case there).
    pub name: String,
    /// `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`.
    pub protocol: String,
    /// Where clients are told to find it, as `HOST:PORT`: at a proxy, say.
    /// `None`: where it is.
    pub advertised: Option<String>,
}

/// A running broker, or one that was killed and may be started again.
pub struct PrivateBroker {
    dir: TempDir,
    addresses: BTreeMap<String, String>,
    running: Option<Running>,
}

struct Running {
    /// The program that holds the broker.
    holder: Child,
    pid: String,
    log: PathBuf,
    /// What the holder says on its standard error.
    said: JoinHandle<String>,
}

impl PrivateBroker {
    /// Starts a broker without any data, and waits until it answers.
    ///
    /// # Panics
    /// It does not start: shows why.
    pub fn start(options: &BrokerOptions) -> Self {
        let mut arguments = Vec::new();
        for listener in &options.listeners {
            let Listener { name, protocol, .. } = listener;
            let advertised = listener.advertised.as_deref().unwrap_or_default();
            arguments.push("--listener".to_owned());
            arguments.push(format!("{name}={protocol},127.0.0.1:0,{advertised}"));
        }
        for (name, value) in &options.settings {
            arguments.push("--set".to_owned());
            arguments.push(format!("{name}={value}"));
        }
        for user in &options.users {
            arguments.push("--add-scram".to_owned());
            arguments.push(user.clone());
        }
        let mut broker = Self {
            dir: tempfile::tempdir().expect("a directory can be made"),
            addresses: BTreeMap::new(),
            running: None,
        };
        broker.run(&arguments);
        broker
    }

    /// Where clients reach it without any detour: `HOST:PORT`.
    pub fn bootstrap(&self) -> &str {
        self.address("PLAINTEXT")
    }

    /// Where a listener is: `HOST:PORT`.
    ///
    /// # Panics
    /// There is none of this name.
    #[track_caller]
    pub fn address(&self, listener: &str) -> &str {
        let address = self.addresses.get(listener);
        address.unwrap_or_else(|| panic!("no listener {listener} in {:?}", self.addresses))
    }

    /// SIGKILL: the process is gone at once, what it wrote stays.
    ///
    /// # Panics
    /// It does not run.
    pub fn kill(&mut self) {
        self.end_by("KILL");
    }

    /// SIGTERM: it ends in good order.
    ///
    /// # Panics
    /// It does not run.
    pub fn stop(&mut self) {
        self.end_by("TERM");
    }

    /// SIGSTOP: it keeps its connections and answers nothing.
    ///
    /// # Panics
    /// It does not run.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// SIGCONT: it goes on where it was paused.
    ///
    /// # Panics
    /// It does not run.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Starts it again with its data, on the same ports, and waits until it
    /// answers. One that still runs is killed before.
    ///
    /// # Panics
    /// It does not start: shows why.
    pub fn restart(&mut self) {
        if self.running.is_some() {
            self.kill();
        }
        self.run(&[]);
    }

    /// What it has logged since its last start: warnings and errors.
    ///
    /// # Panics
    /// It does not run, or its log cannot be read.
    pub fn log(&self) -> String {
        let log = &self.running().log;
        std::fs::read_to_string(log).expect("the broker's log can be read")
    }

    fn run(&mut self, arguments: &[String]) {
        let mut holder = Command::new(cli::xtask())
            .args(["kafka", "private", "--temporary", "--dir"])
            .arg(self.dir.path())
            .args(arguments)
            .current_dir(cli::repository())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // An interrupt typed at the terminal is for us; it then sees that we are gone.
            .process_group(0)
            .spawn()
            .expect("xtask starts");
        let mut errors = holder.stderr.take().expect("it was asked for");
        // Read on all the time, so that it never waits for a full pipe.
        let said = std::thread::spawn(move || {
            let mut said = String::new();
            // What is no UTF-8 ends it, which is as well.
            let _ = errors.read_to_string(&mut said);
            said
        });
        let output = BufReader::new(holder.stdout.take().expect("it was asked for"));
        let mut told = BTreeMap::new();
        for line in output.lines() {
            let line = line.expect("xtask speaks UTF-8");
            let (name, value) = line.split_once('=').expect("NAME=VALUE");
            told.insert(name.to_owned(), value.to_owned());
            if name == "PID" {
                break;
            }
        }
        let Some(pid) = told.remove("PID") else {
            let _ = holder.wait();
            let said = said.join().unwrap_or_default();
            panic!("the broker does not start:\n{said}");
        };
        let log = told.remove("LOG").expect("xtask names the log").into();
        self.addresses = told;
        self.running = Some(Running {
            holder,
            pid,
            log,
            said,
        });
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the broker runs")
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.running().pid])
            .status();
        assert!(sent.expect("kill runs").success(), "SIG{name} was not sent");
    }

    fn end_by(&mut self, signal: &str) {
        self.signal(signal);
        let running = self.running.take().expect("it was signalled");
        running.wait();
    }
}

impl Running {
    /// Waits until the broker has ended, and with it its holder.
    fn wait(mut self) {
        // The pipe stays open: closing it would kill a broker that is stopping.
        let _open = self.holder.stdin.take();
        let _ = self.holder.wait();
        let _ = self.said.join();
    }
}

impl Drop for PrivateBroker {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            drop(running.holder.stdin.take());
            running.wait();
        }
    }
}
