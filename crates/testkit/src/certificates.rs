//! Certificates for brokers under test, by Java's `keytool`, which is where a
//! broker is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The password of every key store: they hold nothing worth one, but a broker
/// wants it.
pub const STORE_PASSWORD: &str = "changeit";

/// A broker's key with its certificate, which vouches for itself.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Key and certificate, PKCS 12, for the broker.
    pub key_store: PathBuf,
    /// The certificate, PEM, for clients that trust it.
    pub certificate: PathBuf,
}

impl Certificate {
    /// Makes one in `dir` for a broker of these names, such as
    /// `dns:localhost,ip:127.0.0.1`.
    ///
    /// # Panics
    /// There is no `keytool`, or it fails.
    pub fn new(dir: &Path, file: &str, names: &str) -> Self {
        let made = Self {
            key_store: dir.join(format!("{file}.p12")),
            certificate: dir.join(format!("{file}.pem")),
        };
        let store = made.key_store.to_str().expect("a path of UTF-8");
        let names = format!("san={names}");
        let of_store = [
            "-alias",
            "broker",
            "-keystore",
            store,
            "-storepass",
            STORE_PASSWORD,
        ];
        let generated = ["-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1"];
        let subject = [
            "-storetype",
            "PKCS12",
            "-dname",
            "CN=broker",
            "-ext",
            &names,
            "-validity",
            "2",
        ];
        keytool(&[&generated[..], &of_store, &subject].concat());
        let file = made.certificate.to_str().expect("a path of UTF-8");
        keytool(&[&["-exportcert", "-rfc", "-file", file][..], &of_store].concat());
        made
    }
}

fn keytool(arguments: &[&str]) {
    let of_home = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/keytool"));
    let program = of_home
        .filter(|program| program.is_file())
        .unwrap_or("keytool".into());
    let output = Command::new(&program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{} (it comes with Java): {error}", program.display()));
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
