//! The needs themselves, each with its reason and its probe.
//!
//! A probe looks for the thing, not for the package: it may have come another
//! way, and probes work where there is no dpkg.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kafka;
use crate::process::{capture, is_on_path, succeeds};

/// A tool or library that has to be on the machine.
pub(crate) struct Need {
    pub(crate) name: &'static str,
    /// Why it is needed, shown to whoever watches it being installed.
    pub(crate) reason: &'static str,
    /// Debian packages that bring it: the first one known to apt is taken.
    pub(crate) packages: &'static [&'static str],
    pub(crate) is_met: fn() -> bool,
}

/// Needed to compile the program.
pub(crate) const FOR_BUILD: &[Need] = &[
    Need {
        name: "C and C++ compilers, and make",
        reason: "RocksDB, librdkafka, jemalloc and zstd are compiled from source",
        packages: &["build-essential"],
        is_met: || ["cc", "c++", "make"].into_iter().all(is_on_path),
    },
    Need {
        name: "python3",
        reason: "librdkafka's build runs it, and so do the linters of the deployment files",
        packages: &["python3"],
        is_met: || succeeds("python3", ["--version"]),
    },
    Need {
        name: "pkg-config",
        reason: "finds OpenSSL and zlib",
        packages: &["pkg-config", "pkgconf"],
        is_met: || succeeds("pkg-config", ["--version"]),
    },
    Need {
        name: "libclang with its headers",
        reason: "reads RocksDB's C header to generate the Rust bindings",
        packages: &["libclang-dev"],
        is_met: libclang_is_present,
    },
    Need {
        name: "OpenSSL with its headers",
        reason: "TLS and SASL towards Kafka",
        packages: &["libssl-dev"],
        is_met: || {
            std::env::var_os("OPENSSL_DIR").is_some()
                || succeeds("pkg-config", ["--exists", "openssl"])
        },
    },
    Need {
        name: "zlib with its headers",
        reason: "gzip-compressed records",
        packages: &["zlib1g-dev"],
        is_met: || succeeds("pkg-config", ["--exists", "zlib"]),
    },
];

/// Needed by the offline linters of the deployment files.
pub(crate) const FOR_LINTERS: &[Need] = &[Need {
    name: "Python's venv and pip",
    reason: "the linters of the compose file and the Dockerfile are installed into a folder of their own",
    packages: &["python3-venv"],
    is_met: || succeeds("python3", ["-c", "import venv, ensurepip"]),
}];

/// Needed to run Apache Kafka from its jars.
pub(crate) const FOR_BROKER: &[Need] = &[
    Need {
        name: "Java 17 or newer",
        reason: "runs the Kafka broker of the tests",
        packages: &[
            "openjdk-21-jre-headless",
            "openjdk-17-jre-headless",
            "openjdk-25-jre-headless",
            "default-jre-headless",
        ],
        is_met: || kafka::java::find().is_ok(),
    },
    Need {
        name: "Maven",
        reason: "fetches the jars of Apache Kafka, once",
        packages: &["maven"],
        is_met: || kafka::jars_are_cached() || succeeds("mvn", ["--version"]),
    },
];

/// bindgen loads libclang at run time and then wants the compiler's own headers
/// (`stddef.h`), which a machine with only the library lacks.
fn libclang_is_present() -> bool {
    let library = match std::env::var_os("LIBCLANG_PATH") {
        Some(given) => Path::new(&given).exists(),
        None => library_folders()
            .iter()
            .any(|folder| holds_libclang(folder)),
    };
    library && clang_headers_are_present()
}

fn holds_libclang(folder: &Path) -> bool {
    names_in(folder).iter().any(|name| {
        let is_library = name.contains(".so") || name.ends_with(".dylib");
        is_library
            && (name.starts_with("libclang.") || name.starts_with("libclang-"))
            && !name.starts_with("libclang-cpp")
    })
}

fn clang_headers_are_present() -> bool {
    if let Ok(resources) = capture(Command::new("clang").arg("-print-resource-dir")) {
        return Path::new(resources.trim())
            .join("include/stddef.h")
            .is_file();
    }
    library_folders().iter().any(|folder| {
        let versions = folder.join("clang");
        names_in(&versions)
            .iter()
            .any(|version| versions.join(version).join("include/stddef.h").is_file())
    })
}

/// Where distributions keep LLVM's libraries: `/usr/lib`, `/usr/lib64`, their
/// multi-arch folders, and one folder per version of LLVM.
fn library_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for top in ["/usr/lib", "/usr/lib64", "/usr/local/lib"] {
        let top = PathBuf::from(top);
        for name in names_in(&top) {
            if name.starts_with("llvm") {
                folders.push(top.join(&name).join("lib"));
                folders.push(top.join(&name).join("lib64"));
            } else if name.contains("-linux-") {
                folders.push(top.join(&name));
            }
        }
        folders.push(top);
    }
    folders
}

fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_image_is_built_with_the_same_packages() {
        let dockerfile = include_str!("../../../../deploy/docker/Dockerfile");
        for need in FOR_BUILD {
            assert!(
                dockerfile.contains(need.packages[0]),
                "the Dockerfile lacks {}",
                need.packages[0]
            );
        }
    }

    #[test]
    fn only_the_c_interface_of_clang_counts_as_libclang() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("libclang-cpp.so.14"), "").expect("writable");
        assert!(!holds_libclang(folder.path()));
        std::fs::write(folder.path().join("libclang-14.so.1"), "").expect("writable");
        assert!(holds_libclang(folder.path()));
    }
}
