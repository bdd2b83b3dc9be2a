//! What the suites of this package share: running the binary, telling stories.

pub mod broker;
pub mod cli;
pub mod timeline;
