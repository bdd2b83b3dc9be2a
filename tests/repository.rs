//! What the repository promises about itself: which crate may use which, that
//! published contracts only grow, and that its files stay readable.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use churnwatch_testkit::cli::repository;
use serde_json::Value;

/// Longest file of code, in lines: one subject a file.
const MOST_LINES: usize = 700;

type Edges = BTreeMap<String, BTreeSet<String>>;

#[test]
fn crates_use_each_other_as_the_architecture_says_and_not_otherwise() {
    let (table, real) = (edges_of_the_table(), edges_of_cargo());
    let names = |edges: &Edges| edges.keys().cloned().collect::<BTreeSet<String>>();
    assert_eq!(
        names(&table),
        names(&real),
        "the table of docs/architecture.md names every crate"
    );
    for (name, uses) in &real {
        let unlisted: Vec<_> = uses.difference(&table[name]).collect();
        assert!(
            unlisted.is_empty(),
            "{name} depends on {unlisted:?}: docs/architecture.md does not list that"
        );
    }
}

/// A cargo workspace has no cycles; a table could.
#[test]
fn the_arrows_of_the_architecture_point_down_only() {
    let mut left = edges_of_the_table();
    while !left.is_empty() {
        let named = left.keys().cloned().collect::<BTreeSet<_>>();
        let before = left.len();
        left.retain(|_, uses| !uses.is_disjoint(&named));
        assert!(left.len() < before, "a circle: {:?}", left.keys());
    }
}

/// The rows of the table: crate, and what it may depend on.
fn edges_of_the_table() -> Edges {
    let text =
        fs::read_to_string(repository().join("docs/architecture.md")).expect("the architecture");
    let mut rows = text
        .lines()
        .skip_while(|line| !line.contains("may depend on (ours)"));
    rows.next()
        .expect("docs/architecture.md has a table with a column `may depend on (ours)`");
    rows.next();
    let edges: Edges = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
            let (name, uses) = (
                cells.first().expect("a crate"),
                cells.last().expect("its edges"),
            );
            (
                quoted(name).next().expect("a crate in backticks"),
                quoted(uses).collect(),
            )
        })
        .collect();
    assert!(edges.len() > 5, "the table has rows: {edges:?}");
    edges
}

/// The words in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// Our packages by their folders, each with ours that it needs to be built.
fn edges_of_cargo() -> Edges {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(repository())
        .args([
            "metadata",
            "--offline",
            "--no-deps",
            "--format-version",
            "1",
        ])
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo speaks JSON");
    let folder = |manifest: &str| -> String {
        let folder = Path::new(manifest).parent().and_then(Path::file_name);
        folder
            .and_then(|name| name.to_str())
            .expect("a package lies in a folder")
            .to_owned()
    };
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let name = folder(package["manifest_path"].as_str().expect("a path"));
            let package_name = package["name"].as_str().expect("a name");
            assert_eq!(
                package_name,
                format!("churnwatch-{name}"),
                "packages are named by their folders"
            );
            let needs = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter();
            let uses = needs
                .filter(|needed| needed["kind"] != "dev")
                .filter_map(|needed| needed["name"].as_str()?.strip_prefix("churnwatch-"))
                .map(str::to_owned)
                .collect();
            (name, uses)
        })
        .collect()
}

/// Against the working tree, and against what was committed last: a change that
/// regenerates the files is caught as well.
#[test]
fn published_schemas_only_grow() {
    let generated: BTreeMap<String, Value> = churnwatch_wire::schemas()
        .into_iter()
        .map(|(file, schema)| (file.to_owned(), schema))
        .collect();
    let mut compared = 0;
    for file in files_below(&repository().join("docs/schemas"), &["json"]) {
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a plain name");
        let Some(new) = generated.get(name) else {
            assert!(
                !name.ends_with(".schema.json"),
                "{name} is published and not generated any more"
            );
            continue;
        };
        let in_tree = fs::read_to_string(&file).expect("a schema");
        for old in [Some(in_tree), last_committed(name)].into_iter().flatten() {
            let old: Value = serde_json::from_str(&old).expect("a schema is JSON");
            if let Err(change) = churnwatch_wire::is_additive(&old, new) {
                panic!("{name}: {change}: that would break a producer or a subscriber");
            }
            compared += 1;
        }
    }
    assert!(
        compared >= generated.len(),
        "docs/schemas lacks some of {:?}",
        generated.keys()
    );
}

/// A schema as git has it; `None` outside of a checkout, or for a new one.
fn last_committed(name: &str) -> Option<String> {
    let object = format!("HEAD:docs/schemas/{name}");
    let output = Command::new("git")
        .current_dir(repository())
        .args(["show", &object])
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout).expect("a schema is UTF-8"))
}

#[test]
fn no_file_of_code_is_too_long_to_be_read() {
    let long: Vec<String> = code()
        .into_iter()
        .map(|path| (lines(&path).len(), path))
        .filter(|(count, _)| *count > MOST_LINES)
        .map(|(count, path)| format!("{}: {count} lines", path.display()))
        .collect();
    assert!(
        long.is_empty(),
        "split these by subject (at most {MOST_LINES} lines): {long:#?}"
    );
}

#[test]
fn no_test_is_left_out_by_attribute() {
    // Written so that this file does not contain it.
    let attribute = concat!("#[", "ignore");
    let ignored: Vec<PathBuf> = code()
        .into_iter()
        .filter(|path| {
            lines(path)
                .iter()
                .any(|line| line.trim_start().starts_with(attribute))
        })
        .collect();
    assert!(
        ignored.is_empty(),
        "a test that does not run tests nothing: {ignored:?}"
    );
}

fn lines(path: &Path) -> Vec<String> {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(str::to_owned).collect()
}

/// Every file of code of ours.
fn code() -> Vec<PathBuf> {
    let kinds = ["rs", "py", "sh", "toml"];
    let found: Vec<PathBuf> = ["crates", "tests"]
        .iter()
        .flat_map(|top| files_below(&repository().join(top), &kinds))
        .collect();
    assert!(found.len() > 100, "only {} files", found.len());
    found
}

fn files_below(folder: &Path, kinds: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
    {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_below(&path, kinds));
        } else if path
            .extension()
            .and_then(|kind| kind.to_str())
            .is_some_and(|kind| kinds.contains(&kind))
        {
            found.push(path);
        }
    }
    found.sort();
    found
}
