//! The Java that runs the broker.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest Java that Kafka's broker runs on.
const OLDEST: u32 = 17;

/// A Java that is new enough: that of `JAVA_HOME`, else the one in `PATH`. The
/// error says what was found instead.
pub(crate) fn find() -> Result<PathBuf, String> {
    let mut candidates: Vec<PathBuf> = Vec::new();
    if let Some(home) = std::env::var_os("JAVA_HOME").filter(|home| !home.is_empty()) {
        candidates.push(Path::new(&home).join("bin/java"));
    }
    candidates.push("java".into());
    let mut found = Vec::new();
    for java in candidates {
        match version(&java) {
            Some(version) if version >= OLDEST => return Ok(java),
            Some(version) => found.push(format!("{} is Java {version}", java.display())),
            None => found.push(format!("{} does not run", java.display())),
        }
    }
    Err(format!("no Java {OLDEST} or newer ({})", found.join(", ")))
}

fn version(java: &Path) -> Option<u32> {
    let output = Command::new(java)
        .arg("-version")
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    feature_version(&String::from_utf8_lossy(&output.stderr))
}

/// The number that counts in what `java -version` says: 8 of `"1.8.0_392"`,
/// 17 of `"17.0.15"`, 26 of `"26-ea"`.
fn feature_version(said: &str) -> Option<u32> {
    let (_, from_version) = said.split_once("version \"")?;
    let (version, _) = from_version.split_once('"')?;
    let mut numbers = version
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().ok());
    match numbers.next()?? {
        1 => numbers.next()?,
        number => Some(number),
    }
}

#[cfg(test)]
mod tests {
    use super::feature_version;

    #[test]
    fn the_feature_version_is_read_from_old_and_new_ways_of_counting() {
        assert_eq!(
            feature_version("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK ..."),
            Some(17)
        );
        assert_eq!(
            feature_version("Picked up X\njava version \"1.8.0_392\""),
            Some(8)
        );
        assert_eq!(
            feature_version("openjdk version \"26-ea\" 2026-03-17"),
            Some(26)
        );
        assert_eq!(feature_version("bash: java: command not found"), None);
    }
}
