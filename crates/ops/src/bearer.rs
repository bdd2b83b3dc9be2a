//! The optional bearer token in front of everything but the probes.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A secret that callers send as `Authorization: Bearer <token>`.
///
/// It is never printed: `Debug` shows its place only.
#[derive(Clone)]
pub struct BearerToken(Arc<str>);

/// Why a text cannot be a token. The text itself is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// Nothing is left once white space is trimmed.
    #[error("the bearer token is empty; write the secret into its file or remove the setting")]
    Empty,
    /// A header could not carry it as it is.
    #[error(
        "the bearer token has a space, a control or a non-ASCII character; use letters, digits and punctuation"
    )]
    NotPrintable,
}

impl BearerToken {
    /// Takes the content of a secret file; white space around it, such as the newline at its end,
    /// is dropped.
    ///
    /// # Errors
    ///
    /// An empty token, which would let everyone in, and one that no header can carry.
    pub fn new(content: &str) -> Result<Self, BadToken> {
        let token = content.trim();
        if token.is_empty() {
            return Err(BadToken::Empty);
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadToken::NotPrintable);
        }
        Ok(Self(Arc::from(token)))
    }

    /// Whether the request carries this token.
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(AUTHORIZATION) else {
            return false;
        };
        let Some((scheme, presented)) = split_at_space(value.as_bytes()) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"Bearer") && self.equals(presented)
    }

    /// Compares without stopping at the first difference, so that the time taken says nothing about
    /// how much of a guess was right. It depends on the length of the guess only.
    fn equals(&self, presented: &[u8]) -> bool {
        let token = self.0.as_bytes();
        let mut difference = token.len() ^ presented.len();
        for (index, byte) in presented.iter().enumerate() {
            // A guess that is too long is compared round and round; its length has failed it.
            difference |= usize::from(byte ^ token[index % token.len()]);
            difference = black_box(difference);
        }
        difference == 0
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(..)")
    }
}

/// Middleware: lets a request through that carries the token, and answers 401 to any other.
pub(crate) async fn require(
    State(token): State<BearerToken>,
    request: Request,
    next: Next,
) -> Response {
    if token.is_in(request.headers()) {
        return next.run(request).await;
    }
    let challenge = [(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
    let body = Json(json!({"error": "send the header Authorization: Bearer <token>"}));
    (StatusCode::UNAUTHORIZED, challenge, body).into_response()
}

fn split_at_space(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = value.iter().position(|byte| *byte == b' ')?;
    Some((&value[..space], value[space..].trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(token: &str, header: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static(header));
        BearerToken::new(token).unwrap().is_in(&headers)
    }

    #[test]
    fn only_the_very_token_is_accepted() {
        assert!(accepts("s3cret", "Bearer s3cret"));
        for header in [
            "Bearer s3creT",
            "Bearer s3cre",
            "Bearer s3crets",
            "Bearer s3crets3cret",
            "Bearer",
            "Bearer ",
            "",
            "s3cret",
            "Basic s3cret",
            "Bearer Bearer s3cret",
        ] {
            assert!(!accepts("s3cret", header), "{header:?}");
        }
    }

    #[test]
    fn the_scheme_may_be_written_in_any_case() {
        assert!(accepts("s3cret", "bearer s3cret"));
        assert!(accepts("s3cret", "BEARER  s3cret"));
    }

    #[test]
    fn a_request_without_the_header_is_refused() {
        assert!(!BearerToken::new("s3cret").unwrap().is_in(&HeaderMap::new()));
    }

    #[test]
    fn the_newline_of_a_secret_file_is_no_part_of_the_token() {
        assert!(accepts("s3cret\n", "Bearer s3cret"));
    }

    #[test]
    fn a_token_that_protects_nothing_or_fits_no_header_is_refused() {
        assert_eq!(BearerToken::new(" \n").unwrap_err(), BadToken::Empty);
        assert_eq!(
            BearerToken::new("two words").unwrap_err(),
            BadToken::NotPrintable
        );
        assert_eq!(
            BearerToken::new("geheimnisvoll-ü").unwrap_err(),
            BadToken::NotPrintable
        );
    }

    #[test]
    fn debug_output_does_not_show_the_token() {
        assert_eq!(
            format!("{:?}", BearerToken::new("s3cret").unwrap()),
            "BearerToken(..)"
        );
    }
}
