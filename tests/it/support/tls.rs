//! Clients that speak TLS, in HTTP/1.1 and in HTTP/2, and certificates for their servers.
//!
//! Start at [`Peer`]. A test that is not asynchronous asks through [`Peer::get`].

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::load::Load;
use super::server::{PATIENCE, Reply};
use super::until::Until;

/// A server's certificate and key in files.
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) der: CertificateDer<'static>,
}

impl Certificate {
    /// A new one for 127.0.0.1, in files of a directory.
    pub(crate) fn write(directory: &Path) -> Self {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let files = Self {
            certificate: directory.join("certificate.pem"),
            key: directory.join("key.pem"),
            der: certificate.der().clone(),
        };
        put(&files.certificate, certificate.pem().as_bytes());
        put(&files.key, key.serialize_pem().as_bytes());
        files
    }

    /// Puts this one into the place of another, as those do that renew certificates: one file after the other, each as a
    /// whole.
    pub(crate) fn replaces(&self, other: &Self) {
        put(&other.certificate, &std::fs::read(&self.certificate).unwrap());
        std::thread::sleep(Duration::from_millis(20));
        put(&other.key, &std::fs::read(&self.key).unwrap());
    }

    /// As a listener's configuration names it.
    pub(crate) fn toml(&self) -> String {
        format!("tls = {{ certificate = '{}', key = '{}' }}", self.certificate.display(), self.key.display())
    }
}

fn put(path: &Path, text: &[u8]) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// How to reach a server.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// The certificates that are believed; none for plain text.
    pub(crate) trusted: Vec<CertificateDer<'static>>,
    /// What is offered by ALPN; for plain text, what is spoken.
    pub(crate) protocols: Vec<&'static str>,
}

/// A connection, on which requests are sent one after the other.
pub(crate) enum Client {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Peer {
    pub(crate) fn new(address: SocketAddr, trusted: &[&Certificate], protocols: &[&'static str]) -> Self {
        let trusted = trusted.iter().map(|certificate| certificate.der.clone()).collect();
        Self { address, trusted, protocols: protocols.to_vec() }
    }

    /// The encrypted connection, before anything is asked.
    pub(crate) async fn handshake(&self) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        for certificate in &self.trusted {
            roots.add(certificate.clone()).unwrap();
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = self.protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    pub(crate) async fn connect(&self) -> io::Result<Client> {
        if self.trusted.is_empty() {
            let stream = TokioIo::new(TcpStream::connect(self.address).await?);
            return Client::over(stream, self.protocols.contains(&"h2")).await;
        }
        let stream = self.handshake().await?;
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Client::over(TokioIo::new(stream), is_h2).await
    }

    /// A request with a connection of its own.
    pub(crate) fn send(&self, request: http::request::Builder, body: &[u8]) -> Reply {
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let sent = async { reply(self.connect().await?.send(self, request).await?).await };
        run(async { tokio::time::timeout(PATIENCE, sent).await.unwrap().unwrap() })
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path), b"")
    }

    /// Lets so many clients ask for a path all the time while `work` runs. None asks twice: an error is what its user
    /// would see, but for what HTTP says was not processed.
    pub(crate) fn under_load<T>(&self, clients: usize, path: &str, work: impl FnOnce() -> T) -> (T, Load) {
        let (until, load) = (Until::new(), Mutex::new(Load::default()));
        let result = std::thread::scope(|scope| {
            let going = until.go();
            scope.spawn(|| {
                run(async {
                    let clients = (0..clients).map(|_| self.ask_until(&until, path, &load));
                    futures_util::future::join_all(clients).await;
                });
            });
            let result = work();
            drop(going);
            result
        });
        (result, load.into_inner().unwrap())
    }

    async fn ask_until(&self, until: &Until, path: &str, load: &Mutex<Load>) {
        let mut connection = None;
        while !until.is_over() {
            let began = Instant::now();
            let asked = tokio::time::timeout(PATIENCE, self.ask(&mut connection, path)).await;
            let asked = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let mut load = load.lock().unwrap();
            match asked {
                Ok(Some(200)) => load.times.push(began.elapsed()),
                Ok(Some(status)) => load.failures.push(format!("{path}: {status}")),
                Ok(None) => load.ended += 1,
                Err(error) => load.failures.push(format!("{path}: {error:?}")),
            }
        }
    }

    /// The status of an answer; none when the server had ended the connection before.
    async fn ask(&self, connection: &mut Option<Client>, path: &str) -> io::Result<Option<u16>> {
        let client = match connection {
            Some(client) => client,
            None => connection.insert(self.connect().await?),
        };
        if !client.is_ready().await {
            *connection = None;
            return Ok(None);
        }
        let request = Request::get(path).body(Full::default()).unwrap();
        let Some(response) = client.try_send(self, request).await? else {
            *connection = None;
            return Ok(None);
        };
        let is_last = response.headers().get(header::CONNECTION).is_some_and(|value| value == "close");
        let reply = reply(response).await?;
        if is_last {
            *connection = None;
        }
        Ok(Some(reply.status))
    }
}

impl Client {
    async fn over<I>(stream: I, is_h2: bool) -> io::Result<Self>
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        if is_h2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            let (sender, connection) =
                builder.timer(TokioTimer::new()).handshake(stream).await.map_err(io::Error::other)?;
            tokio::spawn(connection);
            return Ok(Self::Two(sender));
        }
        let (sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(Self::One(sender))
    }

    /// Which version of HTTP is spoken here.
    pub(crate) fn version(&self) -> u8 {
        match self {
            Self::One(_) => 1,
            Self::Two(_) => 2,
        }
    }

    async fn is_ready(&mut self) -> bool {
        match self {
            Self::One(sender) => sender.ready().await.is_ok(),
            Self::Two(sender) => sender.ready().await.is_ok(),
        }
    }

    pub(crate) async fn send(
        &mut self,
        peer: &Peer,
        request: Request<Full<Bytes>>,
    ) -> io::Result<Response<hyper::body::Incoming>> {
        self.try_send(peer, request).await?.ok_or_else(|| io::ErrorKind::ConnectionAborted.into())
    }

    /// The head of the answer; none when the request has certainly not been processed.
    async fn try_send(
        &mut self,
        peer: &Peer,
        mut request: Request<Full<Bytes>>,
    ) -> io::Result<Option<Response<hyper::body::Incoming>>> {
        let sent = match self {
            Self::One(sender) => {
                if !request.headers().contains_key(header::HOST) {
                    request.headers_mut().insert(header::HOST, peer.address.to_string().parse().unwrap());
                }
                sender.try_send_request(request).await
            }
            Self::Two(sender) => {
                let scheme = if peer.trusted.is_empty() { "http" } else { "https" };
                if request.uri().authority().is_none() {
                    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                    *request.uri_mut() = format!("{scheme}://{}{path}", peer.address).parse().unwrap();
                }
                sender.try_send_request(request).await
            }
        };
        match sent {
            Ok(response) => Ok(Some(response)),
            Err(mut error) => match error.take_message() {
                Some(_) => Ok(None),
                None => Err(io::Error::other(error.into_error())),
            },
        }
    }
}

/// The whole answer.
pub(crate) async fn reply(response: Response<hyper::body::Incoming>) -> io::Result<Reply> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
}

/// Runs a future to its end.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(future);
    runtime.shutdown_timeout(Duration::from_millis(10));
    result
}
