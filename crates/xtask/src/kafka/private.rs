//! `cargo xtask kafka private`: a broker of one test's own, from the jars. The
//! test may kill it, stop it, pause it and start it again, and may give it
//! listeners and settings that the shared one has not.
//!
//! Nothing of it is written down: it ends with whoever started it. That one
//! holds our standard input, and when it lets go of it, even by dying, the
//! broker is killed and, with `--temporary`, its data are removed. The other
//! way round we end when the broker has ended.
//!
//! ```text
//! DIR/addresses           NAME=HOST:PORT of each listener; says that DIR is set up
//! DIR/server.properties   and the other files of server.rs
//! ```

use std::ffi::OsString;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::properties::{self, Listener, PLAINTEXT};
use super::server::{ATTEMPTS, Installation, QUICK_START, Runtime, free_ports};
use super::{Home, jars};
use crate::failure::{Failure, Result, While};
use crate::process;

pub(super) fn run(arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let Order {
        folder,
        temporary,
        wishes,
    } = parse(arguments)?;
    let folder = std::path::absolute(&folder)
        .while_doing(|| format!("use {} as a folder", folder.display()))?;
    // Two that start at once must not fetch the jars at once.
    let runtime = Runtime::find(&Home::locked()?.folder)?;
    let (mut child, installation, addresses) = match read_addresses(&folder)? {
        Some(addresses) => start_again(runtime, &folder, &wishes, addresses)?,
        None => start_first(&runtime, &folder, &wishes)?,
    };
    for (name, address) in addresses {
        println!("{name}={address}");
    }
    println!("LOG={}", installation.log().display());
    println!("PID={}", child.id());
    let let_go = kill_when_let_go(child.id());
    let ended = child
        .wait()
        .while_doing(|| "wait for the broker".to_owned())?;
    eprintln!("kafka: the broker ended ({ended})");
    if temporary && let_go.load(Ordering::Acquire) {
        jars::remove_folder(&folder)?;
    }
    Ok(())
}

/// What the command line says.
#[derive(Debug, Default)]
struct Order {
    folder: PathBuf,
    temporary: bool,
    wishes: Wishes,
}

/// What a test wants of its broker beyond the usual.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wishes {
    listeners: Vec<Listener>,
    settings: Vec<(String, String)>,
    users: Vec<String>,
}

fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Order> {
    let mut order = Order::default();
    let wishes = &mut order.wishes;
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            lexopt::Arg::Long("dir") => order.folder = parser.value()?.into(),
            lexopt::Arg::Long("temporary") => order.temporary = true,
            lexopt::Arg::Long("listener") => {
                let text = text(parser.value()?)?;
                wishes.listeners.push(listener(&text)?);
            }
            lexopt::Arg::Long("set") => {
                let text = text(parser.value()?)?;
                let (name, value) = text
                    .split_once('=')
                    .ok_or_else(|| Failure::usage(format!("--set {text}: say it as KEY=VALUE")))?;
                wishes.settings.push((name.to_owned(), value.to_owned()));
            }
            lexopt::Arg::Long("add-scram") => wishes.users.push(text(parser.value()?)?),
            other => return Err(other.unexpected().into()),
        }
    }
    if order.folder.as_os_str().is_empty() {
        return Err(Failure::usage("say where its data are to be: --dir DIR"));
    }
    Ok(order)
}

fn text(value: OsString) -> Result<String> {
    value
        .into_string()
        .map_err(|value| Failure::usage(format!("{} is no UTF-8", value.to_string_lossy())))
}

/// Reads `NAME=PROTOCOL,BIND` or `NAME=PROTOCOL,BIND,ADVERTISED`.
fn listener(text: &str) -> Result<Listener> {
    let parsed = text.split_once('=').and_then(|(name, rest)| {
        let mut parts = rest.split(',').map(str::to_owned);
        let (protocol, bind) = (parts.next()?, parts.next()?);
        let advertised = parts.next().unwrap_or_default();
        (parts.next().is_none() && !name.is_empty()).then(|| Listener {
            name: name.to_owned(),
            protocol,
            bind,
            advertised,
        })
    });
    let parsed = parsed.ok_or_else(|| {
        Failure::usage(format!(
            "--listener {text}: say it as NAME=PROTOCOL,BIND,ADVERTISED"
        ))
    })?;
    if [PLAINTEXT, "CONTROLLER", "LOG", "PID"].contains(&parsed.name.as_str()) {
        return Err(Failure::usage(format!(
            "--listener {text}: {} has another meaning; choose another name",
            parsed.name
        )));
    }
    Ok(parsed)
}

/// Name and `HOST:PORT` of each listener, the direct one first.
type Addresses = Vec<(String, String)>;

fn start_first(
    runtime: &Runtime,
    folder: &Path,
    wishes: &Wishes,
) -> Result<(Child, Installation, Addresses)> {
    let mut attempt = 1;
    loop {
        let (settings, addresses) = settings(wishes)?;
        let installation = Installation::prepare(runtime.clone(), folder, settings, &wishes.users)?;
        match installation.launch(direct(&addresses), QUICK_START) {
            Err(failure) if attempt < ATTEMPTS && installation.port_was_taken() => {
                eprintln!("kafka: {}; trying other ports", failure.message());
                attempt += 1;
            }
            result => {
                let child = result?;
                write_addresses(folder, &addresses)?;
                return Ok((child, installation, addresses));
            }
        }
    }
}

fn start_again(
    runtime: Runtime,
    folder: &Path,
    wishes: &Wishes,
    addresses: Addresses,
) -> Result<(Child, Installation, Addresses)> {
    if *wishes != Wishes::default() {
        return Err(Failure::usage(format!(
            "the broker in {} is set up already; say only --dir to start it again",
            folder.display()
        )));
    }
    let installation = Installation::existing(runtime, folder);
    let child = installation.launch(direct(&addresses), QUICK_START)?;
    Ok((child, installation, addresses))
}

fn direct(addresses: &Addresses) -> &str {
    addresses.first().map_or("", |(_, address)| address)
}

/// The settings for ports that are free now, and where the listeners are.
fn settings(wishes: &Wishes) -> Result<(Vec<(String, String)>, Addresses)> {
    let [direct_port, controller_port] = free_ports()?;
    let direct = format!("127.0.0.1:{direct_port}");
    let mut listeners = vec![Listener::plain(&direct, &direct)];
    // Held until all are chosen, so that they differ.
    let mut held = Vec::new();
    for wished in &wishes.listeners {
        let mut listener = wished.clone();
        if let Some(host) = wished.bind.strip_suffix(":0") {
            let free = TcpListener::bind(&wished.bind)
                .while_doing(|| format!("find a free port on {host}"))?;
            let port = free
                .local_addr()
                .while_doing(|| format!("find a free port on {host}"))?
                .port();
            listener.bind = format!("{host}:{port}");
            held.push(free);
        }
        if listener.advertised.is_empty() {
            listener.advertised = listener.bind.clone();
        }
        listeners.push(listener);
    }
    let usual = properties::single_node(&listeners, &format!("127.0.0.1:{controller_port}"));
    let mut settings: Vec<(String, String)> = usual
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    for (name, value) in &wishes.settings {
        settings.retain(|(given, _)| given != name);
        settings.push((name.clone(), value.clone()));
    }
    let addresses = listeners
        .into_iter()
        .map(|listener| (listener.name, listener.bind));
    Ok((settings, addresses.collect()))
}

fn read_addresses(folder: &Path) -> Result<Option<Addresses>> {
    let path = addresses_file(folder);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).while_doing(|| format!("read {}", path.display())),
    };
    let addresses = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, address)| (name.to_owned(), address.to_owned()));
    Ok(Some(addresses.collect()))
}

fn write_addresses(folder: &Path, addresses: &Addresses) -> Result<()> {
    let path = addresses_file(folder);
    let text: String = addresses
        .iter()
        .map(|(name, address)| format!("{name}={address}\n"))
        .collect();
    std::fs::write(&path, text).while_doing(|| format!("write {}", path.display()))
}

fn addresses_file(folder: &Path) -> PathBuf {
    folder.join("addresses")
}

/// Gives what says whether it came to that.
fn kill_when_let_go(pid: u32) -> Arc<AtomicBool> {
    let let_go = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&let_go);
    std::thread::spawn(move || {
        let mut unread = [0; 256];
        while std::io::stdin()
            .read(&mut unread)
            .is_ok_and(|count| count > 0)
        {}
        says.store(true, Ordering::Release);
        process::send_signal(pid, "KILL");
    });
    let_go
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Order> {
        parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn a_wish_replaces_the_usual_setting_and_ports_are_chosen_once() {
        let order = parsed(&[
            "--dir",
            "/x",
            "--temporary",
            "--listener",
            "PROXIED=PLAINTEXT,127.0.0.1:0,127.0.0.1:7",
            "--listener",
            "TLS=SSL,127.0.0.1:0",
            "--set",
            "num.io.threads=9",
            "--add-scram",
            "SCRAM-SHA-256=[name=a,password=b]",
        ])
        .expect("a command line");
        assert_eq!(
            (order.folder.as_path(), order.temporary),
            (Path::new("/x"), true)
        );
        assert_eq!(order.wishes.users, ["SCRAM-SHA-256=[name=a,password=b]"]);
        let (settings, addresses) = settings(&order.wishes).expect("free ports");
        let names: Vec<_> = addresses.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["PLAINTEXT", "PROXIED", "TLS"]);
        let value = |wanted: &str| {
            let mut found = settings.iter().filter(|(name, _)| name == wanted);
            let (_, value) = found.next().expect("it is set");
            assert!(found.next().is_none(), "{wanted} is set twice");
            value.as_str()
        };
        assert_eq!(value("num.io.threads"), "9");
        let tls = &addresses[2].1;
        assert!(!tls.ends_with(":0"));
        let advertised = value("advertised.listeners");
        assert!(advertised.contains("PROXIED://127.0.0.1:7"), "{advertised}");
        assert!(advertised.contains(&format!("TLS://{tls}")), "{advertised}");
    }

    #[test]
    fn a_wrong_command_line_is_refused() {
        for (arguments, said) in [
            (vec![], "--dir DIR"),
            (vec!["--dir", "/x", "--listener", "A=SSL"], "NAME=PROTOCOL"),
            (
                vec!["--dir", "/x", "--listener", "PID=SSL,h:1"],
                "another name",
            ),
            (vec!["--dir", "/x", "--set", "a"], "KEY=VALUE"),
        ] {
            let failure = parsed(&arguments).expect_err("must fail");
            assert!(failure.message().contains(said), "{}", failure.message());
        }
    }

    #[test]
    fn addresses_written_are_the_addresses_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(read_addresses(folder.path()).expect("readable"), None);
        let addresses = vec![("PLAINTEXT".to_owned(), "127.0.0.1:1".to_owned())];
        write_addresses(folder.path(), &addresses).expect("writable");
        assert_eq!(
            read_addresses(folder.path()).expect("readable"),
            Some(addresses)
        );
    }
}
