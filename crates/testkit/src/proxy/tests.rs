//! Against a listener that answers every message with its number.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use super::*;

/// Answers each request with its correlation id and an error code of 7, where
/// an `EndTxn` has one.
fn broker() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            thread::spawn(move || {
                while let Ok(Some(frame)) = protocol::read_frame(&mut client) {
                    let id = &frame[8..12];
                    let answer = [&[0, 0, 0, 10], id, &[0, 0, 0, 0, 0, 7]].concat();
                    if client.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn proxy() -> Proxy {
    let proxy = Proxy::new();
    proxy.lead_to(&broker());
    proxy
}

struct Client(TcpStream);

impl Client {
    fn of(proxy: &Proxy) -> Self {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self(stream)
    }

    fn ask(&mut self, api: Api, id: i32) {
        let body = [&api.0.to_be_bytes()[..], &[0, 1], &id.to_be_bytes()].concat();
        let length = i32::try_from(body.len()).unwrap().to_be_bytes();
        self.0.write_all(&[&length[..], &body].concat()).unwrap();
    }

    /// The number of the next answer; `None` where the connection is gone.
    fn answer(&mut self) -> Option<i32> {
        protocol::reply(&protocol::read_frame(&mut self.0).ok()??)
    }

    fn expect_silence(&mut self) {
        let brief = Duration::from_millis(30);
        self.0.set_read_timeout(Some(brief)).unwrap();
        assert!(self.0.read(&mut [0]).is_err());
        self.0.set_read_timeout(Some(LIMIT)).unwrap();
    }
}

const OTHER: Api = Api(3);

#[test]
fn what_is_asked_is_answered_and_counted() {
    let proxy = proxy();
    let mut client = Client::of(&proxy);
    client.ask(Api::END_TXN, 1);
    client.ask(OTHER, 2);
    assert_eq!((client.answer(), client.answer()), (Some(1), Some(2)));
    assert_eq!(proxy.requests(Api::END_TXN), 1);
    assert_eq!(proxy.requests(Api::PRODUCE), 0);
}

#[test]
fn a_kind_of_request_or_reply_is_dropped_as_often_as_asked() {
    let proxy = proxy();
    let mut client = Client::of(&proxy);
    let requests = proxy.drop_requests(Api::END_TXN, 1);
    let replies = proxy.drop_replies(OTHER, 1);
    for (api, id) in [(Api::END_TXN, 1), (Api::END_TXN, 2), (OTHER, 3), (OTHER, 4)] {
        client.ask(api, id);
    }
    assert_eq!((client.answer(), client.answer()), (Some(2), Some(4)));
    assert_eq!((requests.caught(), replies.caught()), (1, 1));
}

#[test]
fn a_held_request_arrives_late_even_when_its_client_is_gone() {
    let proxy = proxy();
    let mut client = Client::of(&proxy);
    let held = proxy.hold_requests(Api::END_TXN, 1);
    client.ask(Api::END_TXN, 1);
    held.wait_until_caught().sever_client();
    assert_eq!(client.answer(), None);
    let mut next = Client::of(&proxy);
    next.ask(Api::END_TXN, 2);
    assert_eq!(next.answer(), Some(2));
    held.release();
    assert_eq!(held.end_txn_error(), 7);
}

#[test]
fn a_held_reply_arrives_when_it_is_released() {
    let proxy = proxy();
    let mut client = Client::of(&proxy);
    let held = proxy.hold_replies(Api::END_TXN, 1);
    client.ask(Api::END_TXN, 1);
    held.wait_until_caught();
    client.expect_silence();
    held.release();
    assert_eq!(client.answer(), Some(1));
}

#[test]
fn a_cut_line_has_no_connections_until_it_is_restored() {
    let proxy = proxy();
    let mut client = Client::of(&proxy);
    client.ask(OTHER, 1);
    assert_eq!(client.answer(), Some(1));
    proxy.cut();
    assert_eq!(client.answer(), None);
    assert_eq!(Client::of(&proxy).answer(), None);
    proxy.restore();
    let mut client = Client::of(&proxy);
    client.ask(OTHER, 1);
    assert_eq!(client.answer(), Some(1));
}

#[test]
fn a_reset_ends_what_is_there_and_nothing_later() {
    let proxy = proxy();
    let mut client = Client::of(&proxy);
    client.ask(OTHER, 1);
    assert_eq!(client.answer(), Some(1));
    proxy.reset();
    let error = client.0.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let mut client = Client::of(&proxy);
    client.ask(OTHER, 1);
    assert_eq!(client.answer(), Some(1));
}

#[test]
fn a_black_hole_swallows_and_its_connections_do_not_outlive_it() {
    let proxy = proxy();
    proxy.black_hole();
    let mut client = Client::of(&proxy);
    client.ask(OTHER, 1);
    let swallowed = proxy.shared.wait_for(|state| {
        let mut links = state.links.values();
        links.any(Link::has_swallowed).then_some(())
    });
    assert_eq!(swallowed, Some(()));
    client.expect_silence();
    proxy.restore();
    assert_eq!(client.answer(), None);
}

#[test]
fn one_direction_may_stop_and_goes_on_where_it_was() {
    let proxy = proxy();
    let mut client = Client::of(&proxy);
    for direction in [Direction::ToBroker, Direction::ToClient] {
        proxy.stop_direction(direction);
        client.ask(OTHER, 1);
        client.expect_silence();
        proxy.restore();
        assert_eq!(client.answer(), Some(1));
    }
}

#[test]
fn latency_delays_both_ways_and_overtakes_nothing() {
    let proxy = proxy();
    proxy.latency(Duration::from_millis(40));
    let mut client = Client::of(&proxy);
    let began = Instant::now();
    for id in 0..20 {
        client.ask(OTHER, id);
    }
    let answers: Vec<_> = (0..20).map_while(|_| client.answer()).collect();
    assert_eq!(answers, (0..20).collect::<Vec<_>>());
    assert!(began.elapsed() >= Duration::from_millis(80));
}
