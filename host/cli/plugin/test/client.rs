//! A client that gives up in time.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// A request.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// The client leaves without waiting for an answer.
    pub(super) leaves: bool,
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) json: Value,
    pub(super) cookie: Option<String>,
}

impl Answer {
    pub(super) fn of_json(status: u16, json: Value) -> Self {
        Self { status, json, cookie: None }
    }

    /// The code of a problem.
    pub(super) fn code(&self) -> &str {
        self.json.get("code").and_then(Value::as_str).unwrap_or_default()
    }

    /// What a problem says.
    pub(super) fn says(&self) -> String {
        let errors = self.json.get("errors").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let errors = errors.collect::<Vec<_>>().join("; ");
        let detail = self.json.get("detail").and_then(Value::as_str).unwrap_or_default();
        format!("{} {}", self.status, if errors.is_empty() { detail } else { &errors })
    }
}

/// Asks with a connection of its own, and reads the beginning of the body at least: an endless one is left then.
pub(super) async fn ask(address: SocketAddr, request: Request) -> Result<Answer, String> {
    let what = format!("{} {}", request.method, request.target);
    match tokio::time::timeout(PATIENCE, exchange(address, request)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("{what}: {error}")),
        Err(_) => Err(format!("{what}: no answer for {} s", PATIENCE.as_secs())),
    }
}

type Exchanged = Result<Answer, Box<dyn std::error::Error + Send + Sync>>;

async fn exchange(address: SocketAddr, request: Request) -> Exchanged {
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let connection = Aborted(tokio::spawn(connection));
    let mut built = http::Request::builder()
        .method(request.method.as_str())
        .uri(request.target.as_str())
        .header(http::header::HOST, address.to_string());
    for (name, value) in request.headers {
        built = built.header(name, value);
    }
    let sent = sender.send_request(built.body(Full::new(Bytes::from(request.body)))?);
    if request.leaves {
        // Long enough for the request to be on its way.
        let _ = tokio::time::timeout(Duration::from_millis(5), sent).await;
        return Ok(Answer::of_json(0, Value::Null));
    }
    let (parts, mut body) = sent.await?.into_parts();
    let cookie = parts.headers.get(http::header::SET_COOKIE).and_then(|value| value.to_str().ok());
    let cookie = cookie.and_then(|cookie| cookie.split(';').next()).map(str::to_owned);
    let mut bytes = Vec::new();
    let read = async {
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                bytes.extend(data);
            }
            if bytes.len() > BODY_BYTES_MAX {
                break;
            }
        }
        Ok::<_, hyper::Error>(())
    };
    // Who has not come to the end by then is endless, or slow: it has begun.
    if let Ok(Err(error)) = tokio::time::timeout(BODY_PATIENCE, read).await {
        return Err(error.into());
    }
    drop(connection);
    Ok(Answer { status: parts.status.as_u16(), json: serde_json::from_slice(&bytes).unwrap_or(Value::Null), cookie })
}

/// A task that ends with this.
struct Aborted<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Aborted<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
const BODY_PATIENCE: Duration = Duration::from_millis(300);
const BODY_BYTES_MAX: usize = 1 << 20;
