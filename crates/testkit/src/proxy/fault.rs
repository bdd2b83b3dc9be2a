//! Faults of the protocol: what is caught, and what becomes of it.

use std::sync::Arc;

use super::{
    Shared,
    protocol::{self, Api},
};
use crate::proxy::Direction;

/// What becomes of a message that is caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Drop,
    Hold,
}

/// A fault as the proxy knows it.
#[derive(Debug)]
pub(super) struct Catch {
    pub(super) direction: Direction,
    pub(super) api: Api,
    pub(super) then: Then,
    /// How many more are to be caught.
    left: usize,
    /// Link and correlation id of those that were.
    pub(super) caught: Vec<(u64, i32)>,
    /// The broker's answer to the first that was caught.
    pub(super) answer: Option<Vec<u8>>,
    pub(super) released: bool,
}

impl Catch {
    pub(super) fn new(direction: Direction, api: Api, then: Then, times: usize) -> Self {
        Self {
            direction,
            api,
            then,
            left: times,
            caught: Vec::new(),
            answer: None,
            released: false,
        }
    }

    /// Whether it catches this message; takes note of it then.
    pub(super) fn catches(&mut self, direction: Direction, api: Api, link: u64, id: i32) -> bool {
        let catches = direction == self.direction && api == self.api && self.left > 0;
        if catches {
            self.left -= 1;
            self.caught.push((link, id));
        }
        catches
    }
}

/// A fault that a test has set up. When it is dropped the proxy catches no
/// more by it, and what it held goes on its way.
pub struct Fault {
    shared: Arc<Shared>,
    id: u64,
}

impl Fault {
    pub(super) fn new(shared: Arc<Shared>, id: u64) -> Self {
        Self { shared, id }
    }

    /// How many messages it has caught.
    pub fn caught(&self) -> usize {
        self.shared.lock().catches[&self.id].caught.len()
    }

    /// Waits until it has caught something.
    ///
    /// # Panics
    /// It does not.
    #[track_caller]
    pub fn wait_until_caught(&self) -> &Self {
        let caught = self.shared.wait_for(|state| {
            let catch = &state.catches[&self.id];
            (!catch.caught.is_empty()).then_some(())
        });
        assert!(caught.is_some(), "nothing was caught");
        self
    }

    /// Lets what is held go on its way, and catches no more.
    pub fn release(&self) {
        if let Some(catch) = self.shared.lock().catches.get_mut(&self.id) {
            catch.released = true;
            catch.left = 0;
        }
        self.shared.changed.notify_all();
    }

    /// The client loses the connection on which the first message was caught;
    /// the broker keeps it, and what is held there.
    ///
    /// # Panics
    /// Nothing was caught, or the connection is gone.
    #[track_caller]
    pub fn sever_client(&self) {
        let state = self.shared.lock();
        let (link, _) = state.catches[&self.id].caught.first().expect("a catch");
        let link = state.links.get(link).expect("the connection is there");
        link.sever_client();
    }

    /// The error code with which the broker answers the `EndTxn` that was
    /// caught first: 0 where it does what it is asked.
    ///
    /// # Panics
    /// It does not answer.
    #[track_caller]
    pub fn end_txn_error(&self) -> i16 {
        let answer = self
            .shared
            .wait_for(|state| state.catches[&self.id].answer.clone());
        let answer = answer.expect("the broker answers");
        protocol::end_txn_error(&answer).expect("an answer to an EndTxn")
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        self.shared.lock().catches.remove(&self.id);
        self.shared.changed.notify_all();
    }
}
