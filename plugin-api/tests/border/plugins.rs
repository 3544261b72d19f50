//! The plug-ins under test: what an author writes, and what an author should not.
#![forbid(unsafe_code)]

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use porth_plugin::futures_core::Stream;
use porth_plugin::prelude::*;
use porth_plugin::stream::{keep_alive, produce};

use crate::documents::Keeps;
use crate::questions::AsksHost;

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Parameters {
    /// What comes first.
    greeting: String,
    #[serde(default)]
    #[expect(dead_code, reason = "only there to be wrong")]
    options: Vec<Choice>,
}

#[derive(Deserialize, JsonSchema)]
struct Choice {
    #[expect(dead_code, reason = "only there to be wrong")]
    times: u32,
}

/// Answers in every way there is.
pub(crate) struct Steady {
    host: Host<Self>,
    greeting: String,
}

impl Plugin for Steady {
    const MODULE: Module = Module::new("steady", "Steady", "Answers").needs(&[Right::Sessions, Right::UsersRead]);
    type Parameters = Parameters;

    async fn init(host: Host<Self>, parameters: Parameters) -> Result<Self, InitError> {
        tracing::info!(greeting = parameters.greeting, "starting");
        let endpoints = host.endpoints();
        endpoints.get("/short", Self::short).auth(Auth::None).short().add()?;
        endpoints.post("/own", Self::own).auth(Auth::Scope("a")).body_bytes_max(9).add()?;
        endpoints.get("/async/{name}", Self::hello).deadline(Duration::from_secs(2)).priority(3).add()?;
        endpoints.get("/timer", Self::timer).auth(Auth::Session).add()?;
        endpoints.get("/user", Self::user).add()?;
        endpoints.get("/user-blocking", Self::user_blocking).add()?;
        endpoints.any("/next", Self::next).add()?;
        endpoints.get("/next-async", Self::next_async).add()?;
        endpoints.get("/header", Self::header).short().add()?;
        endpoints.get("/headers", Self::headers).short().add()?;
        endpoints.put("/json", Self::json).add()?;
        endpoints.get("/not-found", Self::not_found).short().add()?;
        endpoints.get("/cause", Self::cause).add()?;
        endpoints.get("/number/{number}", Self::number).short().add()?;
        endpoints.get("/static", |_: &Self, _: &Request| Ok(Response::text("static"))).short().add()?;
        endpoints.method("PROPFIND", "/panic", Self::panic).short().add()?;
        endpoints.get("/panic-poll", Self::panic_poll).add()?;
        endpoints.get("/panic-drop", Self::panic_drop).add()?;
        endpoints.get("/kept", Self::kept).short().add()?;
        endpoints.get("/log", Self::log).short().add()?;
        endpoints.get("/count", Self::count).short().add()?;
        endpoints.get("/ready", Self::ready).add()?;
        endpoints.get("/info", Self::info).short().add()?;
        endpoints.post("/stream-body", Self::stream_body).stream_body().body_bytes_max(u64::MAX).add()?;
        endpoints.post("/stream-body-own", Self::stream_body_own).stream_body().add()?;
        endpoints.post("/through", Self::through).stream_body().add()?;
        endpoints.get("/stream", Self::stream).add()?;
        endpoints.get("/stream-own", Self::stream_own).add()?;
        endpoints.get("/events", Self::events).add()?;
        endpoints.get("/panic-stream", Self::panic_stream).add()?;
        endpoints.get("/panic-stream-drop", Self::panic_stream_drop).add()?;
        endpoints.get("/removed", Self::short).add()?;
        endpoints.remove("GET", "/removed")?;
        Ok(Self { greeting: parameters.greeting, host })
    }
}

impl Steady {
    fn short(&self, request: &Request) -> Result<Response, Error> {
        Response::json(&json!({ "greeting": self.greeting, "path": request.path() }))
    }

    async fn ready(&self, _: Request) -> Result<Response, Error> {
        Ok(Response::text("ready"))
    }

    fn info(&self, request: &Request) -> Result<Response, Error> {
        let info = self.host.info()?;
        let late = self.host.endpoints().get("/late", Self::info).add();
        Response::json(&json!({
            "name": self.host.name(),
            "url": self.host.external_url()?,
            "version": info.version,
            "cookie": info.session_cookie_name,
            "deadline_ms": request.deadline().as_millis() as u64,
            "id": request.request_id(),
            "late": late.map_err(|error| error.to_string()),
        }))
    }

    fn own(&self, request: &Request) -> Result<Response, Error> {
        Ok(Response::bytes(request.body().to_ascii_uppercase()))
    }

    async fn hello(&self, request: Request) -> Result<Response, Error> {
        Ok(Response::text(format!("{}, {}", self.greeting, request.param("name")?)))
    }

    async fn timer(&self, _request: Request) -> Result<Response, Error> {
        self.host.timer(Duration::from_millis(5)).await?;
        Ok(Response::empty(204))
    }

    async fn user(&self, request: Request) -> Result<Response, Error> {
        Response::json(&request.session().user().await?)
    }

    fn user_blocking(&self, request: &Request) -> Result<Response, Error> {
        Response::json(&request.session().user_blocking()?)
    }

    fn next(&self, _: &Request) -> Result<Response, Error> {
        Ok(Response::next())
    }

    async fn next_async(&self, _: Request) -> Result<Response, Error> {
        Ok(Response::next())
    }

    fn header(&self, request: &Request) -> Result<Response, Error> {
        let (_, value) = request.query_pairs().next().unwrap_or_default();
        Response::text("text").with_header("x-value", value.as_ref())
    }

    fn headers(&self, request: &Request) -> Result<Response, Error> {
        let page = Response::html("<p>").with_header("content-type", "text/css")?.with_header("X-One", " 1\t")?;
        page.with_header("set-cookie", format!("id={}", request.header("Cookie").unwrap_or_default()))
    }

    fn json(&self, request: &Request) -> Result<Response, Error> {
        #[derive(Deserialize)]
        struct Order {
            items: Vec<u8>,
        }
        let order: Order = request.json()?;
        Ok(Response::text("ordered").with_status(200 + u16::from(order.items.len() as u8)))
    }

    fn not_found(&self, _: &Request) -> Result<Response, Error> {
        Err(Error::not_found("no such thing").with_code("thing_unknown").with_errors(["one", "two"]))
    }

    async fn cause(&self, _: Request) -> Result<Response, Error> {
        let secret = std::fs::read_to_string("/nowhere/secret")?;
        Ok(Response::text(secret))
    }

    fn number(&self, request: &Request) -> Result<Response, Error> {
        let number: u8 = request.param_as("number")?;
        Response::json(&number)
    }

    fn panic(&self, _: &Request) -> Result<Response, Error> {
        panic!("in a handler");
    }

    async fn panic_poll(&self, _: Request) -> Result<Response, Error> {
        self.host.timer(Duration::ZERO).await?;
        panic!("in a poll");
    }

    async fn panic_drop(&self, _: Request) -> Result<Response, Error> {
        let _bomb = Bomb("in the drop of a future");
        self.host.timer(Duration::from_secs(60)).await?;
        Ok(Response::empty(200))
    }

    fn kept(&self, request: &Request) -> Result<Response, Error> {
        let kept = request.clone();
        let path = std::thread::spawn(move || kept.path().to_owned()).join().unwrap_or_default();
        Ok(Response::text(format!("{path} {:?}", request.caller())))
    }

    async fn stream_body(&self, request: Request) -> Result<Response, Error> {
        let (mut body, mut pieces) = (request.body_stream(), Vec::new());
        while let Some(piece) = body.next().await? {
            pieces.push(String::from_utf8_lossy(&piece).into_owned());
        }
        Ok(Response::text(pieces.join("+")))
    }

    fn stream_body_own(&self, request: &Request) -> Result<Response, Error> {
        let (mut body, mut count) = (request.body_stream(), 0);
        while let Some(piece) = body.next_blocking()? {
            count += piece.len();
        }
        Response::json(&count)
    }

    async fn through(&self, request: Request) -> Result<Response, Error> {
        Ok(Response::stream(request.body_stream()))
    }

    async fn stream(&self, _: Request) -> Result<Response, Error> {
        let host = self.host.clone();
        Response::stream(produce(async move |sender| {
            sender.send("one").await?;
            // Not the end.
            sender.send("").await?;
            host.timer(Duration::from_millis(1)).await?;
            sender.send("two").await?;
            Err(Error::internal("on purpose"))
        }))
        .with_header("content-type", "text/plain")
    }

    fn stream_own(&self, _: &Request) -> Result<Response, Error> {
        let (sender, response) = Response::channel(1);
        std::thread::spawn(move || (0..5).try_for_each(|number| sender.send_blocking(number.to_string())));
        Ok(response)
    }

    async fn events(&self, _: Request) -> Result<Response, Error> {
        let host = self.host.clone();
        let events = produce(async move |events| {
            events.send(Event::data("a\nb").with_id("1")?).await?;
            host.timer(Duration::from_millis(200)).await?;
            events.send(Event::json(&[1])?.with_event("list")?).await?;
            Ok(())
        });
        Ok(Response::events(keep_alive(&self.host, Duration::from_millis(130), events)))
    }

    async fn panic_stream(&self, _: Request) -> Result<Response, Error> {
        Ok(Response::stream(produce(async |sender| {
            sender.send(b"one".to_vec()).await?;
            // The channel is full until the first was taken.
            sender.send(b"two".to_vec()).await?;
            panic!("in a stream");
        })))
    }

    async fn panic_stream_drop(&self, _: Request) -> Result<Response, Error> {
        Ok(Response::stream(Nothing(Bomb("in the drop of a stream"))))
    }

    fn log(&self, _: &Request) -> Result<Response, Error> {
        let span = tracing::info_span!("outer", color = "red", later = tracing::field::Empty);
        let _entered = span.enter();
        span.record("later", 7);
        tracing::debug!("not logged");
        tracing::warn!(count = 3, what = %"shown", "hello {}", "log");
        Ok(Response::empty(204))
    }

    fn count(&self, _: &Request) -> Result<Response, Error> {
        let metrics = self.host.metrics();
        metrics.counter("a_total", "A")?.add(2.0, &[("x", "1"), ("y", "2")]);
        let gauge = metrics.gauge("b", "B")?;
        gauge.set(5.0, &[]);
        gauge.add(-1.5, &[]);
        metrics.histogram("c_seconds", "C")?.observe(Duration::from_millis(250), &[("x", "")]);
        let refused = metrics.counter("a-b", "D").map(drop);
        Ok(Response::text(format!("{refused:?}")))
    }
}

/// A stream of the plug-in's own, without a piece.
struct Nothing(#[expect(dead_code, reason = "only there to be dropped")] Bomb);

impl Stream for Nothing {
    type Item = Result<&'static str, Error>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}

struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

/// Panics where its parameters say.
pub(crate) struct Panics {
    place: String,
    _bomb: Option<Bomb>,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Place {
    place: String,
}

impl Plugin for Panics {
    const MODULE: Module = Module::new("panics", "Panics", "Panics");
    type Parameters = Place;

    async fn init(_: Host<Self>, Place { place }: Place) -> Result<Self, InitError> {
        assert!(place != "init", "in init");
        let _bomb = (place == "drop").then(|| Bomb("in the drop of an instance"));
        Ok(Self { place, _bomb })
    }

    async fn close(&self) {
        assert!(self.place != "close", "in close");
    }
}

/// Refuses to start, and registers an endpoint before.
pub(crate) struct Refuses {
    _alive: Arc<()>,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Refusal {
    parameters: Option<Vec<String>>,
}

impl Plugin for Refuses {
    const MODULE: Module = Module::new("refuses", "Refuses", "Refuses to start");
    type Parameters = Refusal;

    async fn init(host: Host<Self>, refusal: Refusal) -> Result<Self, InitError> {
        host.endpoints().get("/late", Self::late).add()?;
        if let Some(texts) = refusal.parameters {
            return Err(InitError::parameters(texts));
        }
        host.endpoints().get("/late", Self::late).add()?;
        Ok(Self { _alive: Arc::default() })
    }
}

impl Refuses {
    fn late(&self, _: &Request) -> Result<Response, Error> {
        Ok(Response::empty(204))
    }
}

/// Uses a tokio of its own.
#[cfg(feature = "tokio")]
pub(crate) struct Timed {
    ticks: tokio::sync::mpsc::UnboundedSender<()>,
    bomb: Option<NeedsRuntime>,
}

/// Panics when it is dropped outside of a runtime.
#[cfg(feature = "tokio")]
struct NeedsRuntime;

#[cfg(feature = "tokio")]
impl Drop for NeedsRuntime {
    fn drop(&mut self) {
        tokio::spawn(async {});
    }
}

#[cfg(feature = "tokio")]
impl Plugin for Timed {
    const MODULE: Module = Module::new("timed", "Timed", "Has a runtime").tokio(1);
    type Parameters = Place;

    async fn init(host: Host<Self>, Place { place }: Place) -> Result<Self, InitError> {
        host.endpoints().get("/sleep", Self::sleep).add()?;
        host.endpoints().get("/spawn", Self::spawn).short().add()?;
        host.endpoints().get("/cancel", Self::cancel).add()?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let (ticks, mut ticked) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while ticked.recv().await.is_some() {
                tracing::info!("ticked");
            }
        });
        let bomb = (place == "close").then_some(NeedsRuntime);
        Ok(Self { ticks, bomb })
    }

    async fn close(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(self.bomb.is_none(), "in close");
    }
}

#[cfg(feature = "tokio")]
impl Timed {
    async fn sleep(&self, _: Request) -> Result<Response, Error> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.ticks.send(())?;
        // Until the task has logged.
        tokio::task::yield_now().await;
        Ok(Response::empty(204))
    }

    fn spawn(&self, _: &Request) -> Result<Response, Error> {
        let (sender, receiver) = std::sync::mpsc::channel();
        tokio::spawn(async move { sender.send("spawned") });
        Ok(Response::text(receiver.recv()?))
    }

    async fn cancel(&self, _: Request) -> Result<Response, Error> {
        let _bomb = NeedsRuntime;
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok(Response::empty(200))
    }
}

#[cfg(not(feature = "tokio"))]
export_plugin!(Steady, Panics, Refuses, Keeps, AsksHost);
#[cfg(feature = "tokio")]
export_plugin!(Steady, Panics, Refuses, Keeps, AsksHost, Timed);
