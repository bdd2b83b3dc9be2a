//! Files as a world: canonical events in, one a line; alerts out, one a line.
//!
//! Without any broker the whole detector runs on files: one partition, an
//! embedded store that is thrown away, and no changelog to come back to.

mod input;
mod output;

pub use self::{
    input::{FileSource, InputError, InputFile, Progress},
    output::{FileSink, NoChangelog},
};
