//! The jars of Apache Kafka, fetched once by Maven and kept in the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::KAFKA_VERSION;
use crate::failure::{Failure, Result, While};
use crate::process;

/// The binding that brings what Kafka logs through slf4j 1.7 to log4j. The
/// broker's own artifact leaves the choice open; without one, nothing is logged.
const LOG4J_BINDING_VERSION: &str = "2.25.5";

/// The plug-in of Maven that copies an artifact with all it depends on.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// Whether the jars of this version are under `home`, whole.
pub(super) fn are_cached(home: &Path) -> bool {
    folder(home).is_dir()
}

/// The folder with the jars, filled by Maven the first time.
pub(super) fn fetch(home: &Path) -> Result<PathBuf> {
    let folder = folder(home);
    if folder.is_dir() {
        return Ok(folder);
    }
    if !process::is_on_path("mvn") {
        return Err(Failure::new(
            "there is no broker to test against: Maven is missing, which would fetch Apache Kafka; install it by \
             `cargo xtask setup --for-tests` (Debian package: maven)",
        ));
    }
    eprintln!("kafka: fetching Apache Kafka {KAFKA_VERSION} by Maven, once (some 45 MB)");
    // Fetched beside its place and then moved there, so that a fetch cut short
    // is never taken for a whole one.
    let unfinished = home.join("jars.unfinished");
    let work = home.join("maven");
    remove_folder(&unfinished)?;
    std::fs::create_dir_all(&work).while_doing(|| format!("create {}", work.display()))?;
    let project = work.join("pom.xml");
    std::fs::write(&project, project_file())
        .while_doing(|| format!("write {}", project.display()))?;
    let mut maven = Command::new("mvn");
    maven
        .args(["--quiet", "--batch-mode", "-Dstyle.color=never", "--file"])
        .arg(&project)
        .arg(COPY);
    maven
        .arg("-DincludeScope=runtime")
        .arg(format!("-DoutputDirectory={}", unfinished.display()));
    // Heard only when it fails: its quiet mode still sends escape sequences.
    process::capture(&mut maven)?;
    std::fs::rename(&unfinished, &folder).while_doing(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

fn folder(home: &Path) -> PathBuf {
    home.join(format!("jars-{KAFKA_VERSION}"))
}

pub(super) fn remove_folder(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).while_doing(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn project_file() -> String {
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">
  <modelVersion>4.0.0</modelVersion>
  <groupId>churnwatch</groupId>
  <artifactId>broker-for-tests</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>{LOG4J_BINDING_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"
    )
}
