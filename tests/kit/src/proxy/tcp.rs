//! A proxy that knows bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;

use super::link::{Conditions, Cut, Lane, Life, Way};
use super::thread::{Listening, resolve};

/// A line to a server, with conditions that may change at any time.
#[derive(Debug)]
pub struct Tcp {
    line: Arc<Line>,
    listening: Listening,
}

#[derive(Debug)]
struct Line {
    to: SocketAddr,
    conditions: watch::Sender<Conditions>,
    /// Counts the times at which all connections were cut.
    cuts: watch::Sender<u64>,
    up: Arc<Lane>,
    down: Arc<Lane>,
    connections: AtomicU64,
    random: Mutex<StdRng>,
}

impl Tcp {
    /// A perfect line to a server, at HOST:PORT.
    pub fn start(to: &str) -> Self {
        Self::listen(0, to, Conditions::default(), 0)
    }

    /// A line whose round trips take this long.
    pub fn with_round_trip(to: &str, round_trip: Duration) -> Self {
        Self::listen(0, to, Conditions { round_trip, ..Conditions::default() }, 0)
    }

    /// A line on a port, 0 for any. The seed decides which connections break, if the conditions say that some do.
    pub fn listen(port: u16, to: &str, conditions: Conditions, seed: u64) -> Self {
        let line = Arc::new(Line {
            to: resolve(to),
            conditions: watch::Sender::new(conditions),
            cuts: watch::Sender::new(0),
            up: Arc::default(),
            down: Arc::default(),
            connections: AtomicU64::new(0),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
        });
        let serving = Arc::clone(&line);
        let listening = Listening::start(port, move |client| Arc::clone(&serving).serve(client));
        Self { line, listening }
    }

    /// Where it listens, as HOST:PORT.
    pub fn address(&self) -> String {
        self.listening.address().to_string()
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.listening.address().port()
    }

    /// Changes the conditions: of chunks and connections to come, and for `stalled` of all.
    pub fn change(&self, change: impl FnOnce(&mut Conditions)) {
        self.line.conditions.send_modify(change);
    }

    /// Resets all connections that there are.
    pub fn cut_all(&self) {
        self.line.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many bytes have arrived at the server.
    pub fn up(&self) -> u64 {
        self.line.up.carried()
    }

    /// How many bytes have come from it.
    pub fn down(&self) -> u64 {
        self.line.down.carried()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> u64 {
        self.line.connections.load(Ordering::Relaxed)
    }
}

impl Line {
    async fn serve(self: Arc<Self>, mut client: TcpStream) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let mut cuts = self.cuts.subscribe();
        let mut server = None;
        let whole = tokio::select! {
            done = self.carry(&mut client, &mut server) => done,
            _ = cuts.changed() => Err(io::ErrorKind::ConnectionReset.into()),
        };
        if whole.is_err() {
            // Dropped like this, a connection ends by a reset.
            for end in [Some(client), server].into_iter().flatten() {
                let _ = end.set_zero_linger();
            }
        }
    }

    async fn carry(&self, client: &mut TcpStream, server: &mut Option<TcpStream>) -> io::Result<()> {
        let round_trip = self.conditions.borrow().round_trip;
        let life = Arc::new(Life::new(self.lifetime()));
        let way = |lane: &Arc<Lane>| Way {
            lane: Arc::clone(lane),
            life: Arc::clone(&life),
            conditions: self.conditions.subscribe(),
        };
        let (up, down) = (way(&self.up), way(&self.down));
        // The client is connected already; over a real line it would be after a round trip, and the server would know after
        // half of one more.
        sleep(round_trip).await;
        let (from_client, to_client) = client.split();
        let (flying_up, sending_up) = up.send(from_client);
        let rest = async {
            sleep(round_trip / 2).await;
            let (from_server, to_server) = server.insert(TcpStream::connect(self.to).await?).split();
            let (flying_down, sending_down) = down.send(from_server);
            let arriving =
                async { tokio::try_join!(up.arrive(flying_up, to_server), down.arrive(flying_down, to_client)) };
            tokio::try_join!(arriving, sending_down).map(|_| ())
        };
        tokio::try_join!(rest, sending_up).map(|_| ())
    }

    /// How many bytes a new connection carries until it breaks.
    fn lifetime(&self) -> Option<u64> {
        match self.conditions.borrow().cut? {
            Cut::After(bytes) => Some(bytes),
            Cut::Some { one_in, within } => {
                let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
                random.random_ratio(1, one_in.max(1)).then(|| random.random_range(0..=within))
            }
        }
    }
}
