//! A network between a client and a broker that can be as bad as real ones.
//!
//! The broker advertises the proxy's address on a listener of its own, so that
//! whoever begins there stays there: see
//! [`Listener::advertised`](crate::private_broker::Listener::advertised).
//!
//! ```text
//! client ──> reader ─ queue, latency ─> writer ─ line up? fault? ──> broker
//! client <── writer <─ queue, latency ─ reader <──────────────────── broker
//! ```
//!
//! Faults of the line hit everybody: [`Proxy::cut`], [`Proxy::reset`],
//! [`Proxy::black_hole`], [`Proxy::stop_direction`], [`Proxy::latency`]. Faults
//! of the protocol hit one kind of request or its answer: it is dropped, or held
//! back until it is released ([`Fault`]). Everything is forwarded message by
//! message, and counted by its kind.

mod fault;
mod link;
mod protocol;

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

pub use self::{fault::Fault, protocol::Api};
use self::{
    fault::{Catch, Then},
    link::Link,
};
use crate::broker::LIMIT;

/// A way through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From clients to the broker: requests.
    ToBroker,
    /// From the broker to clients: replies.
    ToClient,
}

/// A proxy; it lets go of all connections when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    broker: Option<String>,
    line: Line,
    links: BTreeMap<u64, Link>,
    next_link: u64,
    catches: BTreeMap<u64, Catch>,
    next_catch: u64,
    requests: BTreeMap<Api, u64>,
    over: bool,
}

/// How the line is; by default as it should be.
#[derive(Default)]
struct Line {
    cut: bool,
    black_hole: bool,
    stopped: Option<Direction>,
    latency: Duration,
}

impl Proxy {
    /// Listens on a free port of the loopback address. Connections wait until
    /// [`Proxy::lead_to`] says where they lead.
    ///
    /// # Panics
    /// There is no free port.
    #[expect(
        clippy::new_without_default,
        reason = "binding a port is no default of anything"
    )]
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.lock().over {
                    return;
                }
                // One that is gone already is no concern of ours.
                if let Ok(client) = client {
                    link::open(&accepting, client);
                }
            }
        });
        Self { address, shared }
    }

    /// Where clients connect: `HOST:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Where connections lead from now on: `HOST:PORT`.
    pub fn lead_to(&self, broker: &str) {
        self.change(|state| state.broker = Some(broker.to_owned()));
    }

    /// Ends all connections, and accepts no more of them.
    pub fn cut(&self) {
        self.change(|state| {
            state.line.cut = true;
            state.reset(|_| true);
        });
    }

    /// Resets all connections; new ones are welcome.
    pub fn reset(&self) {
        self.change(|state| state.reset(|_| true));
    }

    /// Accepts everything and passes nothing on, in either direction. What is
    /// swallowed does not come back: those connections are reset afterwards.
    pub fn black_hole(&self) {
        self.change(|state| state.line.black_hole = true);
    }

    /// Passes nothing on in one direction, as when only one side has noticed
    /// that a connection is gone.
    pub fn stop_direction(&self, direction: Direction) {
        self.change(|state| state.line.stopped = Some(direction));
    }

    /// Everything takes this much longer from now on, in each direction.
    pub fn latency(&self, latency: Duration) {
        self.change(|state| state.line.latency = latency);
    }

    /// Makes the line good again.
    pub fn restore(&self) {
        self.change(|state| {
            state.line = Line::default();
            state.reset(Link::has_swallowed);
        });
    }

    /// How many requests of a kind have arrived.
    pub fn requests(&self, api: Api) -> u64 {
        let state = self.shared.lock();
        state.requests.get(&api).copied().unwrap_or(0)
    }

    /// The next `times` requests of a kind do not reach the broker.
    pub fn drop_requests(&self, api: Api, times: usize) -> Fault {
        self.catch(Catch::new(Direction::ToBroker, api, Then::Drop, times))
    }

    /// The next `times` replies to a kind of request do not reach the client.
    pub fn drop_replies(&self, api: Api, times: usize) -> Fault {
        self.catch(Catch::new(Direction::ToClient, api, Then::Drop, times))
    }

    /// The next `times` requests of a kind are held back, and everything
    /// behind them on their connections.
    pub fn hold_requests(&self, api: Api, times: usize) -> Fault {
        self.catch(Catch::new(Direction::ToBroker, api, Then::Hold, times))
    }

    /// The next `times` replies to a kind of request are held back, and
    /// everything behind them on their connections.
    pub fn hold_replies(&self, api: Api, times: usize) -> Fault {
        self.catch(Catch::new(Direction::ToClient, api, Then::Hold, times))
    }

    fn catch(&self, catch: Catch) -> Fault {
        let mut state = self.shared.lock();
        let id = state.next_catch;
        state.next_catch += 1;
        state.catches.insert(id, catch);
        Fault::new(Arc::clone(&self.shared), id)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.lock());
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.change(|state| {
            state.over = true;
            state.catches.clear();
            state.reset(|_| true);
        });
        // Wakes the thread that accepts.
        let _ = std::net::TcpStream::connect(self.address);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panics drops its proxy, and needs no more of it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `look` gives something; no longer than [`LIMIT`].
    fn wait_for<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let until = Instant::now() + LIMIT;
        let mut state = self.lock();
        loop {
            if let Some(found) = look(&mut state) {
                return Some(found);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    fn reset(&mut self, which: impl Fn(&Link) -> bool) {
        self.links.retain(|_, link| {
            let reset = which(link);
            if reset {
                link.reset();
            }
            !reset
        });
    }
}

#[cfg(test)]
mod tests;
