//! One connection through the proxy: two sockets and four threads.

use std::{
    collections::BTreeMap,
    io::Write,
    net::{Shutdown, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use socket2::SockRef;

use super::{
    Direction, Shared, State,
    fault::Then,
    protocol::{self, Api},
};

/// What the proxy keeps of a connection: enough to break it.
pub(super) struct Link {
    client: TcpStream,
    broker: TcpStream,
    fate: Arc<Fate>,
}

/// What becomes of a connection, known to its threads.
#[derive(Default)]
struct Fate {
    /// Nothing more is forwarded.
    reset: AtomicBool,
    /// Something was swallowed by a black hole.
    swallowed: AtomicBool,
    /// A request was held back.
    held: AtomicBool,
}

impl Link {
    pub(super) fn has_swallowed(&self) -> bool {
        self.fate.swallowed.load(Ordering::Relaxed)
    }

    /// Ends it on both sides, by a reset as soon as its threads let go of it.
    pub(super) fn reset(&self) {
        self.fate.reset.store(true, Ordering::Relaxed);
        for socket in [&self.client, &self.broker] {
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
            // Wakes the reader without a farewell to the other side.
            let _ = socket.shutdown(Shutdown::Read);
        }
    }

    pub(super) fn sever_client(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
    }
}

/// Takes a client's connection and opens one to the broker; refuses it where
/// the line is cut or the broker is not there.
pub(super) fn open(shared: &Arc<Shared>, client: TcpStream) {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let broker = shared.wait_for(|state| {
            if state.over || state.line.cut {
                return Some(None);
            }
            state.broker.clone().map(Some)
        });
        let broker = broker
            .flatten()
            .and_then(|broker| TcpStream::connect(broker).ok());
        let Some(broker) = broker else {
            let _ = SockRef::from(&client).set_linger(Some(Duration::ZERO));
            return;
        };
        // Latency is ours to add.
        let _ = client.set_nodelay(true).and(broker.set_nodelay(true));
        // Without file handles left there is no connection, as elsewhere.
        let _ = run(&shared, client, broker);
    });
}

fn run(shared: &Arc<Shared>, client: TcpStream, broker: TcpStream) -> std::io::Result<()> {
    let fate = Arc::new(Fate::default());
    let to_broker = (client.try_clone()?, broker.try_clone()?);
    let to_client = (broker.try_clone()?, client.try_clone()?);
    let link = Link {
        client,
        broker,
        fate: Arc::clone(&fate),
    };
    let id = {
        let mut state = shared.lock();
        let id = state.next_link;
        state.next_link += 1;
        if state.line.cut || state.over {
            link.reset();
            return Ok(());
        }
        state.links.insert(id, link);
        id
    };
    let way = |direction| Way {
        shared: Arc::clone(shared),
        link: id,
        fate: Arc::clone(&fate),
        direction,
    };
    let asked = Arc::new(Mutex::new(BTreeMap::new()));
    way(Direction::ToBroker).start(to_broker, Arc::clone(&asked));
    way(Direction::ToClient).start(to_client, asked);
    Ok(())
}

/// The requests under way on a connection, by their correlation ids.
type Asked = Arc<Mutex<BTreeMap<i32, Api>>>;

fn lock(asked: &Asked) -> MutexGuard<'_, BTreeMap<i32, Api>> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One direction of a connection.
struct Way {
    shared: Arc<Shared>,
    link: u64,
    fate: Arc<Fate>,
    direction: Direction,
}

impl Way {
    fn start(self, (mut from, mut to): (TcpStream, TcpStream), asked: Asked) {
        let (queue, queued) = mpsc::channel::<(Instant, Vec<u8>)>();
        let (shared, fate) = (Arc::clone(&self.shared), Arc::clone(&self.fate));
        thread::spawn(move || {
            while let Ok(Some(frame)) = protocol::read_frame(&mut from) {
                let due = Instant::now() + shared.lock().line.latency;
                if fate.reset.load(Ordering::Relaxed) || queue.send((due, frame)).is_err() {
                    return;
                }
            }
        });
        thread::spawn(move || {
            for (due, frame) in queued {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if !self.passes(&frame, &asked) {
                    continue;
                }
                if self.fate.reset.load(Ordering::Relaxed) {
                    return;
                }
                // A client that has gone does not read; what the broker says is heard all the same.
                let _ = to.write_all(&frame);
            }
            self.end(&to, &asked);
        });
    }

    /// Whether a message goes on; waits while it is held back.
    fn passes(&self, frame: &[u8], asked: &Asked) -> bool {
        let known = self.identify(frame, asked);
        let mut holder = None;
        let drops = {
            let mut state = self.shared.lock();
            match known {
                Some((api, id)) => {
                    if self.direction == Direction::ToBroker {
                        *state.requests.entry(api).or_default() += 1;
                    } else {
                        for catch in state.catches.values_mut() {
                            if catch.caught.first() == Some(&(self.link, id)) {
                                catch.answer.get_or_insert_with(|| frame.to_vec());
                            }
                        }
                        self.shared.changed.notify_all();
                    }
                    let caught = state.catches.iter_mut().find_map(|(number, catch)| {
                        let catches = catch.catches(self.direction, api, self.link, id);
                        catches.then_some((*number, catch.then))
                    });
                    if let Some((number, Then::Hold)) = caught {
                        holder = Some(number);
                        self.fate.held.store(true, Ordering::Relaxed);
                    }
                    let drops = caught.is_some_and(|(_, then)| then == Then::Drop);
                    if drops {
                        lock(asked).remove(&id);
                    }
                    drops
                }
                None => false,
            }
        };
        self.shared.changed.notify_all();
        if drops {
            return false;
        }
        let mut state = self.shared.lock();
        loop {
            let held = holder.is_some_and(|number| {
                let catch = state.catches.get(&number);
                catch.is_some_and(|catch| !catch.released)
            });
            if state.over || self.fate.reset.load(Ordering::Relaxed) {
                return false;
            }
            if state.line.black_hole {
                self.fate.swallowed.store(true, Ordering::Relaxed);
                self.shared.changed.notify_all();
                return false;
            }
            if !held && state.line.stopped != Some(self.direction) {
                return true;
            }
            let woken = self.shared.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Kind and number of a message.
    fn identify(&self, frame: &[u8], asked: &Asked) -> Option<(Api, i32)> {
        let mut asked = lock(asked);
        match self.direction {
            Direction::ToBroker => {
                let (api, id) = protocol::request(frame)?;
                asked.insert(id, api);
                Some((api, id))
            }
            Direction::ToClient => {
                let id = protocol::reply(frame)?;
                Some((asked.remove(&id)?, id))
            }
        }
    }

    /// The sender has closed its side, and all that it sent is passed on.
    fn end(&self, to: &TcpStream, asked: &Asked) {
        if self.fate.held.load(Ordering::Relaxed) {
            // A test asks for the answer to what it had held back, also where the client is gone.
            let answered = |_: &mut State| lock(asked).is_empty().then_some(());
            self.shared.wait_for(answered);
        }
        if self.fate.reset.load(Ordering::Relaxed) {
            return;
        }
        let how = match self.direction {
            Direction::ToBroker => Shutdown::Write,
            Direction::ToClient => {
                self.shared.lock().links.remove(&self.link);
                Shutdown::Both
            }
        };
        let _ = to.shutdown(how);
    }
}
