//! Any text is a configuration that says of itself what it says, or is refused
//! with words that can be shown.

/// The configuration of the binary, which has no library: taken by its path, as
/// it has no ties to the rest of the binary.
#[path = "../../crates/cli/src"]
#[allow(dead_code, unused_imports, reason = "the binary uses the rest")]
mod cli {
    pub(crate) mod config;
    pub(crate) mod memory;
}

use cli::config::Config;

/// Panics where it does not hold.
pub(crate) fn holds(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match Config::parse("fuzzed.yaml", text) {
        Ok(config) => {
            assert!(config.problems().is_empty(), "checked");
            let shown = serde_saphyr::to_string(&config).expect("it can be shown");
            let again = Config::parse("shown.yaml", &shown).expect("what is shown is valid");
            assert_eq!(again, config, "what is shown is what is in force");
        }
        Err(error) => {
            assert!(!error.to_string().is_empty(), "a reason in words");
            // With the line at fault, as the user sees it.
            let shown = format!("{:?}", miette::Report::new(*error));
            assert!(!shown.is_empty());
        }
    }
}
