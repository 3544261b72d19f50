//! Asking a running server as its administrator: HTTP/1.1 over `porth.sock`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// Why a server did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocalError {
    #[error("no server answers at `{}`: {source}", socket.display())]
    NoAnswer { socket: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("no server answers at `{}`: nothing within {} s", socket.display(), PATIENCE.as_secs())]
    Silence { socket: PathBuf },
    #[error("the server refuses: {0}")]
    Refused(String),
}

/// Answers what lies at `path`, in JSON.
///
/// # Errors
/// See [`LocalError`].
pub(super) async fn get(socket: &Path, path: &str) -> Result<Value, LocalError> {
    ask(socket, Method::GET, path, String::new()).await
}

/// Asks for anything; `body` is JSON.
///
/// # Errors
/// See [`LocalError`].
pub(super) async fn ask(socket: &Path, method: Method, path: &str, body: String) -> Result<Value, LocalError> {
    match tokio::time::timeout(PATIENCE, exchange(socket, method, path, body)).await {
        Err(_) => Err(LocalError::Silence { socket: socket.to_owned() }),
        Ok(Err(source)) => Err(LocalError::NoAnswer { socket: socket.to_owned(), source }),
        Ok(Ok((status, answer))) => read(status, answer),
    }
}

/// What an answer means.
///
/// # Errors
/// [`LocalError::Refused`].
pub(super) fn read(status: http::StatusCode, answer: Value) -> Result<Value, LocalError> {
    if status.is_success() {
        return Ok(answer);
    }
    let errors = answer.get("errors").and_then(Value::as_array).into_iter().flatten();
    let errors: Vec<&str> = errors.filter_map(Value::as_str).collect();
    if !errors.is_empty() {
        return Err(LocalError::Refused(errors.join("; ")));
    }
    // RFC 9457: the detail says more than the title, and neither has to be there.
    let said = ["detail", "title"].into_iter().find_map(|member| answer.get(member)?.as_str());
    Err(LocalError::Refused(said.map_or_else(|| status.to_string(), str::to_owned)))
}

/// What came of it: a status, and JSON.
pub(super) type Exchanged = Result<(http::StatusCode, Value), Box<dyn std::error::Error + Send + Sync>>;

/// As [`ask`], whatever the status is, and without an end of its own.
pub(super) async fn exchange(socket: &Path, method: Method, path: &str, body: String) -> Exchanged {
    let stream = TokioIo::new(UnixStream::connect(socket).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    // Whatever ends the connection early also fails the request below.
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let answer = body.collect().await?.to_bytes();
    connection.abort();
    Ok((parts.status, serde_json::from_slice(&answer).unwrap_or(Value::Null)))
}

/// A server that is just starting or being replaced answers once it is ready.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    use super::*;

    async fn check(answer: &str, expected: Expect) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("porth.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let len = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(request[..len].to_vec()).unwrap()
        };
        let body = json!({ "name": "n" });
        let (answer, request) = tokio::join!(ask(&socket, Method::POST, "/api/local/key", body.to_string()), server);
        let shown = match answer {
            Ok(answer) => answer.to_string(),
            Err(error) => error.to_string().replace(directory.path().to_str().unwrap(), "DIR"),
        };
        assert!(request.starts_with("POST /api/local/key HTTP/1.1\r\nhost: localhost\r\n"), "{request}");
        assert!(request.ends_with("{\"name\":\"n\"}"), "{request}");
        expected.assert_eq(&shown);
    }

    #[tokio::test]
    async fn an_answer_is_json() {
        check("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"key\":1}", expect![[r#"{"key":1}"#]]).await;
    }

    #[tokio::test]
    async fn a_refusal_says_why() {
        let problem = r#"{"title":"Bad","detail":"the name is empty"}"#;
        let answer = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\n\r\n{problem}", problem.len());
        check(&answer, expect!["the server refuses: the name is empty"]).await;
        check(
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            expect!["the server refuses: 503 Service Unavailable"],
        )
        .await;
    }

    #[tokio::test]
    async fn a_connection_that_is_cut_is_no_answer() {
        check(
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{",
            expect!["no server answers at `DIR/porth.sock`: error reading a body from connection"],
        )
        .await;
    }
}
