//! `cargo xtask doc-links`: no link in the documentation leads nowhere.
//!
//! Every Markdown file of the repository is read ([`markdown`]); each relative
//! link has to lead to a file or folder inside the repository, and each
//! `#anchor` to a heading of the Markdown file it points into. Links to other
//! sites are not followed: a check must not depend on somebody else's server.

mod markdown;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, Result, While};
use crate::{process, workspace};
use markdown::Document;

pub(crate) const HELP: &str = "\
Check that every relative link and every #anchor in the repository's Markdown
files leads somewhere. Links to other sites are not followed.

Usage: cargo xtask doc-links
";

pub(crate) fn run(arguments: Vec<OsString>) -> Result<()> {
    if let Some(argument) = arguments.first() {
        return Err(Failure::usage(format!(
            "`doc-links` takes no argument, but got {}",
            argument.display()
        )));
    }
    check()
}

/// Fails unless every link leads somewhere.
pub(crate) fn check() -> Result<()> {
    let root = workspace::root()?;
    let files = markdown_files(&root)?;
    if files.is_empty() {
        return Err(Failure::new(
            "no Markdown file was found, so nothing was checked",
        ));
    }
    let documents = read(&root, &files)?;
    let broken = broken_links(&root, &documents);
    if broken.is_empty() {
        let links: usize = documents
            .values()
            .map(|document| document.links.len())
            .sum();
        eprintln!(
            "doc-links: {links} links in {} files lead somewhere",
            documents.len()
        );
        return Ok(());
    }
    for line in &broken {
        eprintln!("  {line}");
    }
    Err(Failure::new(format!(
        "{} links in the documentation lead nowhere; they are listed above",
        broken.len()
    )))
}

/// By path relative to the root.
type Documents = BTreeMap<PathBuf, Document>;

fn read(root: &Path, files: &[PathBuf]) -> Result<Documents> {
    let mut documents = Documents::new();
    for file in files {
        let text = std::fs::read_to_string(root.join(file))
            .while_doing(|| format!("read {}", file.display()))?;
        documents.insert(file.clone(), markdown::parse(&text));
    }
    Ok(documents)
}

/// One line for each broken link: place, target, reason.
fn broken_links(root: &Path, documents: &Documents) -> Vec<String> {
    let mut broken = Vec::new();
    for (file, document) in documents {
        for link in &document.links {
            if let Err(reason) = follow(root, documents, file, &link.target) {
                broken.push(format!(
                    "{}:{}: `{}` {reason}",
                    file.display(),
                    link.line,
                    link.target
                ));
            }
        }
        for undefined in &document.undefined_references {
            broken.push(format!(
                "{}:{}: `[{}]` is not defined in this file",
                file.display(),
                undefined.line,
                undefined.target
            ));
        }
    }
    broken
}

/// Where `target`, written in `file`, leads; the error is why nowhere.
fn follow(
    root: &Path,
    documents: &Documents,
    file: &Path,
    target: &str,
) -> std::result::Result<(), String> {
    if is_elsewhere(target) {
        return Ok(());
    }
    let (path, anchor) = target
        .split_once('#')
        .map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let destination = if path.is_empty() {
        file.to_path_buf()
    } else {
        resolve(file, &decode(path))?
    };
    if !root.join(&destination).exists() {
        return Err(format!(
            "leads to {}, which does not exist",
            destination.display()
        ));
    }
    let (Some(anchor), Some(document)) = (anchor, documents.get(&destination)) else {
        return Ok(());
    };
    if anchor.is_empty() || document.anchors.contains(&decode(anchor)) {
        return Ok(());
    }
    Err(format!(
        "names a heading that {} does not have",
        destination.display()
    ))
}

/// Whether the target has a scheme (`https:`, `mailto:`) or another host.
fn is_elsewhere(target: &str) -> bool {
    let scheme = target.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_scheme = scheme.len() > 1
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    is_scheme || target.starts_with("//")
}

/// The path relative to the root that `path` means in `file`. A leading slash
/// means the root, as it does on code-hosting sites.
fn resolve(file: &Path, path: &str) -> std::result::Result<PathBuf, String> {
    let joined = match path.strip_prefix('/') {
        Some(from_root) => PathBuf::from(from_root),
        None => file.parent().unwrap_or(Path::new("")).join(path),
    };
    let mut resolved = PathBuf::new();
    for component in joined.components() {
        match component {
            Component::ParentDir if !resolved.pop() => {
                return Err("leaves the repository".to_owned());
            }
            Component::ParentDir | Component::CurDir => {}
            other => resolved.push(other),
        }
    }
    Ok(resolved)
}

/// Undoes percent-escapes; a malformed one stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = text
            .get(at + 1..at + 3)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) if bytes[at] == b'%' => {
                decoded.push(byte);
                at += 3;
            }
            _ => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The Markdown files of the repository: those that git knows or would add;
/// without git, all but those in build output.
fn markdown_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.current_dir(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        "*.md",
    ]);
    if let Ok(listed) = process::capture(&mut git) {
        let paths = listed
            .split('\0')
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        // A file deleted and not yet committed is listed still.
        return Ok(paths.filter(|path| root.join(path).is_file()).collect());
    }
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let doing = || format!("read {}", root.join(&folder).display());
        for entry in std::fs::read_dir(root.join(&folder)).while_doing(doing)? {
            let entry = entry.while_doing(doing)?;
            let path = folder.join(entry.file_name());
            if entry.path().is_dir() {
                if !matches!(
                    entry.file_name().to_str(),
                    Some(".git" | "target" | "node_modules")
                ) {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "md") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is broken in a repository of these files.
    fn broken(files: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            std::fs::write(path, text).expect("writable");
        }
        let mut found = markdown_files(root.path()).expect("readable");
        found.sort();
        let documents = read(root.path(), &found).expect("readable");
        broken_links(root.path(), &documents)
    }

    #[test]
    fn links_to_files_folders_and_headings_that_exist_are_fine() {
        let guide = "# Set up\n## Kafka & files\n[up](../README.md) [here](#kafka--files) [folder](.) [root](/docs/guide.md#set-up)";
        let readme = "# Churnwatch\n[guide](docs/guide.md#set-up) [code](src/my%20file.rs#L10) [site](https://example.com/nowhere.md)\n\
                      <a href=\"docs/guide.md\">g</a> [named][one]\n\n[one]: docs/guide.md";
        assert_eq!(
            broken(&[
                ("README.md", readme),
                ("docs/guide.md", guide),
                ("src/my file.rs", "")
            ]),
            [""; 0]
        );
    }

    #[test]
    fn a_missing_file_is_named_with_its_place() {
        let said = broken(&[("docs/a.md", "words\n[b](b.md)")]);
        assert_eq!(
            said,
            ["docs/a.md:2: `b.md` leads to docs/b.md, which does not exist"]
        );
    }

    #[test]
    fn a_missing_heading_is_named_in_the_same_and_in_another_file() {
        let said = broken(&[
            ("a.md", "# One\n[x](#two) [y](b.md#two)"),
            ("b.md", "# One"),
        ]);
        assert_eq!(
            said,
            [
                "a.md:2: `#two` names a heading that a.md does not have",
                "a.md:2: `b.md#two` names a heading that b.md does not have"
            ]
        );
    }

    #[test]
    fn a_link_out_of_the_repository_is_broken_even_if_something_is_there() {
        assert_eq!(
            broken(&[("a.md", "[x](../)")]),
            ["a.md:1: `../` leaves the repository"]
        );
    }

    #[test]
    fn a_reference_without_a_definition_is_broken() {
        assert_eq!(
            broken(&[("a.md", "[x][nowhere]")]),
            ["a.md:1: `[nowhere]` is not defined in this file"]
        );
    }

    #[test]
    fn build_output_is_left_out() {
        assert_eq!(
            broken(&[("target/doc/a.md", "[x](nowhere)"), ("a.md", "")]),
            [""; 0]
        );
    }
}
