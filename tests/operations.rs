//! What operators do to a running fleet, on a real broker: they let a stopped
//! partition go on, erase an account, and bring a new release in. Whatever they
//! do, what is left behind is what the log alone gives.

#[path = "operations/breaker.rs"]
mod breaker;
#[path = "operations/erase.rs"]
mod erase;
#[path = "operations/in_memory.rs"]
mod in_memory;
#[path = "operations/tickets.rs"]
mod tickets;
#[path = "operations/upgrade.rs"]
mod upgrade;
