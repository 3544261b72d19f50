//! How many connections there may be: in all, and of one address.
//!
//! Start at [`Room`]. Where all places are taken nothing more is accepted: clients wait in the system's queue until one is
//! free, which is soon, since idle connections are then closed early and slow ones anyway. An address that has too many is
//! told so, because the others would have to wait for it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::framing::Pace;
use super::peer;
use crate::config::{Config, Serves};
use crate::telemetry;

/// What connections of one kind of listener have together.
pub(super) struct Room {
    config: Arc<Config>,
    places: Arc<Semaphore>,
    places_max: usize,
    /// How many connections one address may have; 0 where it does not matter.
    peer_max: usize,
    peers: Mutex<HashMap<IpAddr, usize>>,
    crowded: Arc<AtomicBool>,
    /// When the log was last told that there is no place, for anybody and for an address.
    said_full: Mutex<Option<Instant>>,
    said_peer: Mutex<Option<Instant>>,
}

/// An address has as many connections as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany(pub(super) usize);

impl Room {
    /// For the listeners that answer for `serves`. Those for administration have places of their own, so that a crowd at the
    /// others keeps no administrator out.
    pub(super) fn new(config: &Arc<Config>, serves: Serves, open_files_max: Option<u64>) -> Arc<Self> {
        let limits = &config.limits;
        let (places_max, peer_max) = match serves {
            Serves::Administration => (ADMINISTRATION_MAX, ADMINISTRATION_MAX / 2),
            Serves::All | Serves::Public | Serves::Redirect => {
                let places_max = limits.connections_within(open_files_max);
                // Whatever the limit of open files leaves: nobody has all of it.
                (places_max, limits.connections_peer_max.min(places_max / 2))
            }
        };
        Arc::new(Self {
            config: Arc::clone(config),
            places: Arc::new(Semaphore::new(places_max)),
            places_max,
            peer_max,
            peers: Mutex::default(),
            crowded: Arc::default(),
            said_full: Mutex::default(),
            said_peer: Mutex::default(),
        })
    }

    /// How many connections there may be.
    pub(super) fn places_max(&self) -> usize {
        self.places_max
    }

    /// The pace that clients have to keep here.
    pub(super) fn pace(&self) -> Pace {
        Pace::new(&self.config, Arc::clone(&self.crowded))
    }

    /// Counts a connection of an address.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Guest, TooMany> {
        // A proxy comes for many.
        if self.peer_max == 0 || peer::is_trusted(peer.to_canonical(), &self.config) {
            return Ok(Guest { room: Arc::clone(self), peer: None });
        }
        let peer = whose(peer);
        let mut peers = self.peers.lock();
        let count = peers.entry(peer).or_default();
        if *count >= self.peer_max {
            drop(peers);
            telemetry::server::turned_away();
            say(&self.said_peer, || {
                let max = self.peer_max;
                tracing::warn!(%peer, "{peer} has {max} connections open, and more are turned away (`limits.connections_peer_max`)");
            });
            return Err(TooMany(self.peer_max));
        }
        *count += 1;
        drop(peers);
        Ok(Guest { room: Arc::clone(self), peer: Some(peer) })
    }

    /// Waits for a place.
    pub(super) async fn place(self: &Arc<Self>) -> Place {
        let permit = match Arc::clone(&self.places).try_acquire_owned() {
            Err(TryAcquireError::NoPermits) => {
                telemetry::server::held_back();
                say(&self.said_full, || {
                    let max = self.places_max;
                    tracing::warn!(
                        "{max} connections are open, and no more are accepted for now (`limits.connections_max`)"
                    );
                });
                Arc::clone(&self.places).acquire_owned().await.ok()
            }
            // Nobody closes it.
            taken => taken.ok(),
        };
        self.look();
        Place { room: Arc::clone(self), permit }
    }

    fn look(&self) {
        let crowded = self.places.available_permits() <= self.places_max / CROWDED_BELOW;
        self.crowded.store(crowded, Ordering::Relaxed);
    }
}

/// Says something of too many connections, unless that was just done: those who make them would fill the log.
fn say(said: &Mutex<Option<Instant>>, say: impl FnOnce()) {
    let mut said = said.lock();
    if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
        *said = Some(Instant::now());
        say();
    }
}

/// A connection of an address, until it is dropped.
pub(super) struct Guest {
    room: Arc<Room>,
    peer: Option<IpAddr>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let Some(peer) = self.peer else { return };
        let mut peers = self.room.peers.lock();
        if let Some(count) = peers.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&peer);
            }
        }
    }
}

/// A place that is taken until it is dropped.
pub(super) struct Place {
    room: Arc<Room>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.room.look();
    }
}

/// Whose connections count together: an address, or in IPv6 the network that a household or a machine is given whole.
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// How many connections listeners for administration have together; half of them may be of one address.
const ADMINISTRATION_MAX: usize = 64;
/// With less than this part of all places free, it is crowded.
const CROWDED_BELOW: usize = 8;
/// How often the log is told.
const SAY_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn room(max: usize, peer_max: usize) -> Arc<Room> {
        let mut config = Config::default();
        (config.limits.connections_max, config.limits.connections_peer_max) = (max, peer_max);
        config.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        Room::new(&Arc::new(config), Serves::All, None)
    }

    #[test]
    fn an_address_has_only_so_many() {
        let room = room(16, 2);
        let admit = |address: &str| room.admit(address.parse().unwrap());
        let one = [admit("192.0.2.1").unwrap(), admit("::ffff:192.0.2.1").unwrap()];
        assert_eq!(admit("192.0.2.1").err(), Some(TooMany(2)));
        let _another = admit("192.0.2.2").unwrap();
        drop(one);
        let _again = admit("192.0.2.1").unwrap();
        // What one is given of IPv6 counts as a whole.
        let _six = [admit("2001:db8::1").unwrap(), admit("2001:db8::ffff:1").unwrap()];
        assert!(admit("2001:db8::2").is_err() && admit("2001:db8:0:1::2").is_ok());
        let proxy: Vec<_> = (0..5).map(|_| admit("10.0.0.1").unwrap()).collect();
        drop(proxy);
        drop(_six);
        assert_eq!(room.peers.lock().len(), 2);
    }

    #[tokio::test]
    async fn a_place_is_waited_for() {
        let room = room(16, 0);
        let mut places = Vec::new();
        for taken in 0..16 {
            assert_eq!(room.crowded.load(Ordering::Relaxed), taken >= 14, "{taken}");
            places.push(room.place().await);
        }
        let mut next = std::pin::pin!(room.place());
        assert!(tokio::time::timeout(Duration::from_millis(50), next.as_mut()).await.is_err());
        places.truncate(10);
        let _next = tokio::time::timeout(Duration::from_secs(60), next).await.unwrap();
        assert!(!room.crowded.load(Ordering::Relaxed));
    }

    #[test]
    fn administrators_have_places_of_their_own() {
        let config = Arc::new(Config::default());
        assert_eq!(Room::new(&config, Serves::Administration, Some(100)).places_max(), 64);
        assert_eq!(Room::new(&config, Serves::All, Some(1024)).places_max(), 768);
        assert_eq!(Room::new(&config, Serves::All, Some(65_536)).places_max(), config.limits.connections_max);
    }
}
