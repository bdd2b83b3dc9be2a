//! The broker as a Java process: a formatted data folder, a settings file, and
//! one process that is broker and controller in one.
//!
//! ```text
//! <cache>/kafka/jars-<version>/   what Maven fetched
//! <cache>/kafka/broker/           server.properties, log4j2.properties,
//!                                 broker.log, data/
//! ```
//!
//! A [`private`](super::private) broker is the same in a folder of its own.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::properties::{self, Listener};
use super::state::Running;
use super::{START_LIMIT, jars, java, probe};
use crate::failure::{Failure, Result, While};
use crate::process;

/// Any 16 bytes in URL-safe base64; these read "churnwatch-tests".
const CLUSTER_ID: &str = "Y2h1cm53YXRjaC10ZXN0cw";

/// A free port may be taken by another program before the broker binds it.
pub(super) const ATTEMPTS: u32 = 3;

/// Starts a broker and waits until it answers. Returns its bootstrap address.
pub(super) fn start(home: &Path, keep_data: bool) -> Result<(String, Running)> {
    let runtime = Runtime::find(home)?;
    let folder = home.join("broker");
    if !keep_data {
        jars::remove_folder(&folder)?;
    }
    let mut attempt = 1;
    loop {
        let [client_port, controller_port] = free_ports()?;
        let bootstrap = format!("127.0.0.1:{client_port}");
        let settings = properties::single_node(
            &[Listener::plain(&bootstrap, &bootstrap)],
            &format!("127.0.0.1:{controller_port}"),
        );
        let settings = settings
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        let installation =
            Installation::prepare(runtime.clone(), &folder, settings.collect(), &[])?;
        match installation.launch(&bootstrap, &[]) {
            Err(failure) if attempt < ATTEMPTS && installation.port_was_taken() => {
                eprintln!("kafka: {}; trying other ports", failure.message());
                attempt += 1;
            }
            result => {
                let running = Running::Process {
                    pid: result?.id(),
                    mark: installation.settings_file().display().to_string(),
                    log: installation.log(),
                };
                return Ok((bootstrap, running));
            }
        }
    }
}

/// What runs brokers: a Java and Kafka's jars.
#[derive(Clone)]
pub(super) struct Runtime {
    java: PathBuf,
    class_path: String,
}

impl Runtime {
    /// The Java of this machine, and the jars under `home`, fetched if they
    /// are not there yet.
    pub(super) fn find(home: &Path) -> Result<Self> {
        let java = java::find().map_err(|reason| {
            Failure::new(format!(
                "there is no broker to test against: {reason} to run Apache Kafka on; install one by \
                 `cargo xtask setup --for-tests` (Debian package: default-jre-headless)"
            ))
        })?;
        let jars = jars::fetch(home)?;
        Ok(Self {
            java,
            class_path: format!("{}/*", jars.display()),
        })
    }
}

/// A broker ready to be launched.
pub(super) struct Installation {
    runtime: Runtime,
    folder: PathBuf,
}

impl Installation {
    /// Writes the settings, and formats the data folder if it is new. Each of
    /// `users` is a user with a password, as `--add-scram` of Kafka's storage
    /// tool takes it.
    pub(super) fn prepare(
        runtime: Runtime,
        folder: &Path,
        mut settings: Vec<(String, String)>,
        users: &[String],
    ) -> Result<Self> {
        std::fs::create_dir_all(folder).while_doing(|| format!("create {}", folder.display()))?;
        let installation = Self::existing(runtime, folder);
        let data = installation.data().display().to_string();
        settings.push(("log.dirs".to_owned(), data));
        let settings: String = settings
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        write(&installation.settings_file(), &settings)?;
        write(&installation.log_settings_file(), LOG_SETTINGS)?;
        installation.format(users)?;
        Ok(installation)
    }

    /// One that was prepared before.
    pub(super) fn existing(runtime: Runtime, folder: &Path) -> Self {
        Self {
            runtime,
            folder: folder.to_path_buf(),
        }
    }

    /// Gives the data folder the cluster's id; one that has it is left alone.
    fn format(&self, users: &[String]) -> Result<()> {
        let mut tool = self.java_command("-Xmx128m", QUICK_START, "kafka.tools.StorageTool");
        tool.args([
            "format",
            "--ignore-formatted",
            "--cluster-id",
            CLUSTER_ID,
            "--config",
        ])
        .arg(self.settings_file());
        for user in users {
            tool.args(["--add-scram", user]);
        }
        process::capture(&mut tool).map(|_| ())
    }

    /// Starts the broker, with these options for Java, and waits until it
    /// answers at `bootstrap`.
    pub(super) fn launch(&self, bootstrap: &str, options: &[&str]) -> Result<Child> {
        let log = self.log();
        let output =
            std::fs::File::create(&log).while_doing(|| format!("create {}", log.display()))?;
        let errors = output
            .try_clone()
            .while_doing(|| format!("write {}", log.display()))?;
        let mut command = self.java_command("-Xmx512m", options, "kafka.Kafka");
        command
            .arg(self.settings_file())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        // A group of its own: an interrupt typed at the terminal is for the
        // tests, not for the broker.
        let mut child = command
            .process_group(0)
            .spawn()
            .while_doing(|| "start Java".to_owned())?;
        self.wait_until_it_answers(&mut child, bootstrap)?;
        eprintln!(
            "kafka: broker at {bootstrap} (process {}, log {})",
            child.id(),
            log.display()
        );
        Ok(child)
    }

    fn wait_until_it_answers(&self, child: &mut Child, bootstrap: &str) -> Result<()> {
        let mut ended = None;
        let mut reason = String::new();
        process::wait_until(START_LIMIT, || {
            ended = child.try_wait().ok().flatten();
            match probe::answers(bootstrap) {
                Ok(()) => reason.clear(),
                Err(why) => reason = why,
            }
            ended.is_some() || reason.is_empty()
        });
        let what = match ended {
            Some(status) => format!("the broker ended at its start ({status})"),
            None if reason.is_empty() => return Ok(()),
            None => {
                // Nothing is known of it yet, so nothing is to be left of it.
                let _ = child.kill().and_then(|()| child.wait());
                format!(
                    "the broker did not answer within {} s ({reason})",
                    START_LIMIT.as_secs()
                )
            }
        };
        Err(Failure::new(format!(
            "{what}; the end of {}:\n{}",
            self.log().display(),
            self.end_of_log()
        )))
    }

    fn java_command(&self, heap: &str, options: &[&str], class: &str) -> Command {
        let mut command = Command::new(&self.runtime.java);
        command.arg(heap).args(options);
        command.arg("-Djava.awt.headless=true");
        command.arg(format!(
            "-Dlog4j2.configurationFile={}",
            self.log_settings_file().display()
        ));
        command.args(["-cp", &self.runtime.class_path, class]);
        command
    }

    pub(super) fn port_was_taken(&self) -> bool {
        self.end_of_log().contains("Address already in use")
    }

    fn end_of_log(&self) -> String {
        let bytes = std::fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("broker.log")
    }

    pub(super) fn settings_file(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    fn log_settings_file(&self) -> PathBuf {
        self.folder.join("log4j2.properties")
    }
}

/// Options of Java for what lives for seconds: half of the work at the start,
/// at the price of a slower program afterwards.
pub(super) const QUICK_START: &[&str] = &["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];

/// What goes wrong, and nothing else.
const LOG_SETTINGS: &str = "\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
";

/// Two ports that nobody listens on, found at the same time so that they differ.
pub(super) fn free_ports() -> Result<[u16; 2]> {
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    let found = TcpListener::bind("127.0.0.1:0").and_then(|one| {
        TcpListener::bind("127.0.0.1:0").and_then(|other| Ok([port(&one)?, port(&other)?]))
    });
    found.while_doing(|| "find a free port on 127.0.0.1".to_owned())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).while_doing(|| format!("write {}", path.display()))
}
