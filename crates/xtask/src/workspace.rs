//! Where things are: the repository, the build output, the cache.

use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};

/// The root of the repository: the nearest folder upwards with a `Cargo.lock`.
///
/// Looked for at run time and not compiled in, because build output may be
/// shared between check-outs.
pub(crate) fn root() -> Result<PathBuf> {
    let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => std::env::current_dir()
            .map_err(|error| Failure::new(format!("the current folder cannot be read: {error}")))?,
    };
    start
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").is_file() && folder.join("crates").is_dir())
        .map(Path::to_path_buf)
        .ok_or_else(|| {
            Failure::new(format!(
                "{} is not inside the repository; run this as `cargo xtask`",
                start.display()
            ))
        })
}

/// Where downloads, tools and the broker's state are kept:
/// `CHURNWATCH_CACHE`, by default `~/.cache/churnwatch`.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(cache) = std::env::var_os("CHURNWATCH_CACHE").filter(|value| !value.is_empty()) {
        return std::path::absolute(&cache).map_err(|error| {
            Failure::new(format!("CHURNWATCH_CACHE is not a usable path: {error}"))
        });
    }
    std::env::home_dir()
        .map(|home| home.join(".cache/churnwatch"))
        .ok_or_else(|| {
            Failure::new(
                "the home folder is not known; set CHURNWATCH_CACHE to a folder for downloads",
            )
        })
}

/// Whether the `churnwatch` binary has been built before, into the same build
/// output that this program came from.
pub(crate) fn binary_was_built() -> bool {
    std::env::current_exe().is_ok_and(|this| this.with_file_name("churnwatch").is_file())
}
