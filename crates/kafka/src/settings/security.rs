//! Encryption and authentication. Passwords stand in files of their own, never
//! in the configuration, in the environment or on a command line.

use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How connections are secured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Security {
    /// The protocol of every connection. Default `plaintext`.
    pub protocol: Protocol,
    /// Certificates, for `ssl` and `sasl_ssl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Who we are, for `sasl_plaintext` and `sasl_ssl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,
}

/// Protocol of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Neither encrypted nor authenticated.
    #[default]
    Plaintext,
    /// Encrypted; authenticated by certificate, if one is given.
    Ssl,
    /// Authenticated by password, not encrypted: for trusted networks only.
    SaslPlaintext,
    /// Encrypted, and authenticated by password.
    SaslSsl,
}

impl Protocol {
    /// The value of `security.protocol`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    /// Whether connections are encrypted.
    pub const fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Whether a user and a password are given.
    pub const fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// Certificates. All files are PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Who may vouch for the brokers. Default: the system's certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our certificate, where the brokers ask for one. Needs `key_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// The key of our certificate. Needs `certificate_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// File with the password of `key_file`, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_password_file: Option<PathBuf>,
    /// Whether a broker's certificate must bear its host name. Default true; without it anybody
    /// with a certificate of the same authority can pose as a broker.
    pub verify_hostname: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            ca_file: None,
            certificate_file: None,
            key_file: None,
            key_password_file: None,
            verify_hostname: true,
        }
    }
}

/// User and password.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// How the password is shown to the broker.
    pub mechanism: SaslMechanism,
    /// The user.
    pub username: String,
    /// File with the password; one line end at its end does not count.
    pub password_file: PathBuf,
}

/// How a password is shown to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum SaslMechanism {
    /// As it is: over an encrypted connection only.
    #[serde(rename = "PLAIN")]
    Plain,
    /// By challenge and response with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// By challenge and response with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// The value of `sasl.mechanism`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// A password on its way from its file to a client. Its text is not shown by
/// `Debug`, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Reads a secret file. `key` is the configuration key that names it.
    ///
    /// # Errors
    /// When the file is missing, empty, unreadable or not UTF-8; the message
    /// names the key and the path and nothing of the content.
    pub fn read(key: &'static str, path: &Path) -> Result<Self, SecretError> {
        let failed = |reason: String| SecretError {
            key,
            path: path.to_owned(),
            reason,
        };
        let bytes = std::fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => failed("the file does not exist".into()),
            _ => failed(format!("the file cannot be read: {error}")),
        })?;
        let mut text =
            String::from_utf8(bytes).map_err(|_| failed("the file is not UTF-8 text".into()))?;
        // Editors and `echo` leave a line end that is no part of the password.
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        if text.is_empty() {
            return Err(failed("the file is empty".into()));
        }
        Ok(Self(text))
    }

    /// The password itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A secret file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}: {}", .path.display())]
pub struct SecretError {
    /// The configuration key that names the file.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "kafka.security.sasl.password_file";

    fn read(content: &[u8]) -> Result<Secret, SecretError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, content).unwrap();
        Secret::read(KEY, &path)
    }

    #[test]
    fn one_line_end_is_no_part_of_a_password() {
        assert_eq!(read(b"hunter2\n").unwrap().expose(), "hunter2");
        assert_eq!(read(b"hunter2\r\n").unwrap().expose(), "hunter2");
        assert_eq!(read(b" hunter2 \n\n").unwrap().expose(), " hunter2 \n");
    }

    #[test]
    fn a_missing_empty_or_binary_file_is_named_with_its_key() {
        let missing = Secret::read(KEY, Path::new("/nonexistent/password")).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "kafka.security.sasl.password_file: the file does not exist: /nonexistent/password"
        );
        assert_eq!(read(b"\n").unwrap_err().reason, "the file is empty");
        assert_eq!(read(b"").unwrap_err().reason, "the file is empty");
        assert_eq!(
            read(b"\xff\xfe").unwrap_err().reason,
            "the file is not UTF-8 text"
        );
        let directory = tempfile::tempdir().unwrap();
        let unreadable = Secret::read(KEY, directory.path()).unwrap_err();
        assert!(
            unreadable.reason.starts_with("the file cannot be read"),
            "{unreadable}"
        );
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = read(b"hunter2").unwrap();
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert!(!format!("{:#?}", Some(secret)).contains("hunter2"));
    }

    #[test]
    fn mechanisms_are_written_as_kafka_writes_them() {
        for mechanism in [
            SaslMechanism::Plain,
            SaslMechanism::ScramSha256,
            SaslMechanism::ScramSha512,
        ] {
            let text = serde_json::to_string(&mechanism).unwrap();
            assert_eq!(text, format!("\"{}\"", mechanism.as_str()));
        }
        for protocol in [
            Protocol::Plaintext,
            Protocol::Ssl,
            Protocol::SaslPlaintext,
            Protocol::SaslSsl,
        ] {
            assert_eq!(
                serde_json::to_string(&protocol).unwrap(),
                format!("\"{}\"", protocol.as_str())
            );
        }
    }
}
