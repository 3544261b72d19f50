//! Server-sent events: a clock that ticks as long as somebody listens.
#![forbid(unsafe_code)]

use std::time::{Duration, SystemTime};

use porth_plugin::prelude::*;
use porth_plugin::stream::produce;

#[derive(Deserialize, JsonSchema)]
struct Parameters {
    /// How long from one tick to the next, in milliseconds.
    #[serde(default = "one_second")]
    #[schemars(range(min = 1))]
    period_ms: u64,
}

fn one_second() -> u64 {
    1000
}

struct Clock {
    host: Host<Self>,
    period: Duration,
}

impl Plugin for Clock {
    const MODULE: Module = Module::new("clock", "Clock", "Ticks as long as somebody listens");
    type Parameters = Parameters;

    async fn init(host: Host<Self>, parameters: Parameters) -> Result<Self, InitError> {
        host.endpoints().get("/ticks", Self::ticks).auth(Auth::None).add()?;
        Ok(Self { host, period: Duration::from_millis(parameters.period_ms) })
    }
}

impl Clock {
    async fn ticks(&self, _: Request) -> Result<Response, Error> {
        let (host, period) = (self.host.clone(), self.period);
        // When the client leaves, the loop is dropped where it waits.
        Ok(Response::events(produce(async move |events| {
            for tick in 1_u64.. {
                let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
                let data = json!({ "tick": tick, "time_s": time.as_secs_f64() });
                events.send(Event::json(&data)?.with_event("tick")?).await?;
                host.timer(period).await?;
            }
            Ok(())
        })))
    }
}

export_plugin!(Clock);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use porth_plugin::testing::TestHost;

    use super::*;

    #[test]
    fn it_ticks_as_long_as_somebody_listens() {
        let host = TestHost::new(&PORTH_PLUGIN_V1);
        let clock = host.start(json!({ "period_ms": 3_600_000 })).unwrap();
        let ticks = clock.get("/ticks").send();
        assert_eq!(ticks.header("content-type"), Some("text/event-stream"));
        for tick in 1..4 {
            let event = String::from_utf8(ticks.next_piece().unwrap()).unwrap();
            assert!(event.starts_with(&format!("event: tick\ndata: {{\"tick\":{tick},")), "{event}");
            host.advance(Duration::from_secs(3600));
        }
        drop(ticks);
        // Nothing is left of the timer that the loop waited for.
        clock.close().unwrap();
    }

    #[test]
    fn a_period_of_nothing_is_refused() {
        let errors = TestHost::new(&PORTH_PLUGIN_V1).start(json!({ "period_ms": 0 })).unwrap_err();
        assert_eq!(errors, ["parameters/period_ms: 0 is less than the minimum of 1"]);
    }
}
