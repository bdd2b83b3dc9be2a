//! Whether a broker answers: one `ApiVersions` request, written by hand, since
//! a port that accepts connections is not yet a broker that serves.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long one attempt may take, in each of its parts.
const LIMIT: Duration = Duration::from_secs(3);

const API_VERSIONS: i16 = 18;
const CORRELATION_ID: i32 = 0x6368_7572;
const CLIENT_ID: &str = "churnwatch-xtask";

/// Opens a connection to `server` (`HOST:PORT`); the error is a plain reason.
pub(super) fn connect(server: &str) -> Result<TcpStream, String> {
    let addresses = server
        .to_socket_addrs()
        .map_err(|error| error.to_string())?;
    let mut reason = "the name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, LIMIT) {
            Ok(stream) => return Ok(stream),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(reason)
}

/// Asks the broker at `server` which requests it serves; the error is the
/// reason why it cannot be worked with yet.
pub(super) fn answers(server: &str) -> Result<(), String> {
    let mut stream = connect(server)?;
    exchange(&mut stream)
        .map_err(|error| match error.kind() {
            // What a read that ran out of time is called differs between systems.
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                format!("no answer within {} s", LIMIT.as_secs())
            }
            _ => error.to_string(),
        })
        .and_then(|body| judge(&body))
}

fn exchange(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(&request())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    // Bounded, in case something else than a broker listens there.
    let length = u64::from(u32::from_be_bytes(length)).min(64 * 1024);
    let mut body = Vec::new();
    stream.take(length).read_to_end(&mut body)?;
    Ok(body)
}

/// Version 0 of the request: its header (key, version, correlation id, client
/// id) and no body, behind its length.
fn request() -> Vec<u8> {
    let client_id_length =
        i16::try_from(CLIENT_ID.len()).expect("the client id is a short constant");
    let mut header = Vec::new();
    header.extend(API_VERSIONS.to_be_bytes());
    header.extend(0_i16.to_be_bytes());
    header.extend(CORRELATION_ID.to_be_bytes());
    header.extend(client_id_length.to_be_bytes());
    header.extend(CLIENT_ID.as_bytes());
    let length = i32::try_from(header.len()).expect("the header is short");
    [length.to_be_bytes().as_slice(), &header].concat()
}

/// The answer starts with the correlation id and an error code.
fn judge(body: &[u8]) -> Result<(), String> {
    let Some((correlation_id, rest)) = body.split_first_chunk::<4>() else {
        return Err("it sent too short an answer to be a Kafka broker".to_owned());
    };
    if *correlation_id != CORRELATION_ID.to_be_bytes() {
        return Err("its answer is not that of a Kafka broker".to_owned());
    }
    match rest.first_chunk::<2>() {
        Some([0, 0]) => Ok(()),
        Some(code) => Err(format!(
            "it answered with error code {}",
            i16::from_be_bytes(*code)
        )),
        None => Err("it sent too short an answer to be a Kafka broker".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A listener that reads one request and sends `answer`.
    fn listener_answering(answer: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut got = vec![0; request().len()];
            stream.read_exact(&mut got).expect("a whole request");
            stream.write_all(&answer).expect("writable");
        });
        address
    }

    fn framed(body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).expect("short");
        [&length.to_be_bytes(), body].concat()
    }

    #[test]
    fn a_broker_that_lists_its_requests_answers() {
        let body = [CORRELATION_ID.to_be_bytes().as_slice(), &[0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(answers(&listener_answering(framed(&body))), Ok(()));
    }

    #[test]
    fn an_error_code_or_a_stranger_is_not_an_answer() {
        let refusing = [CORRELATION_ID.to_be_bytes().as_slice(), &[0, 35]].concat();
        let reason = answers(&listener_answering(framed(&refusing))).expect_err("must fail");
        assert!(reason.contains("35"), "{reason}");
        let reason = answers(&listener_answering(
            b"HTTP/1.1 400 Bad Request\r\n".to_vec(),
        ))
        .expect_err("must fail");
        assert!(reason.contains("not that of a Kafka broker"), "{reason}");
    }

    #[test]
    fn a_closed_port_is_reported() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        drop(listener);
        assert!(answers(&address).is_err());
    }

    #[test]
    fn the_request_is_framed_by_its_length() {
        let request = request();
        assert_eq!(
            request[..4],
            u32::try_from(request.len() - 4)
                .expect("short")
                .to_be_bytes()
        );
        assert_eq!(request[4..8], [0, 18, 0, 0]);
    }
}
