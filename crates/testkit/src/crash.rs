//! Interruptions drawn from a seed, over and over, and the check of everything
//! that is left behind.
//!
//! ```text
//! Round ── settings, load and faults of one seed, on topics of its own
//!   ├ Slice    a few thousand events of accounts that have alerts, some records that cannot be used
//!   ├ Load     writes them at a steady pace while they are being read
//!   ├ Members  the processes: killed, stopped, sent away and brought back
//!   └ Owners   afterwards: one committing owner for each partition, and World::check
//! Soak ── the same for minutes on end, in one deployment, with memory over time
//! ```

mod load;
mod members;
mod owners;
mod round;
mod slice;
mod soak;

pub use load::{Load, Pace};
pub use members::{Faults, Members, Tally};
pub use owners::Owners;
pub use round::{Finding, Report, Round, verdict};
pub use slice::Slice;
pub use soak::{Soak, SoakReport};
