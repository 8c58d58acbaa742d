//! One direction of a slow line.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// What a line is like.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Conditions {
    /// How long a round trip takes; each direction takes half. Connecting takes one more, as over a real line.
    pub round_trip: Duration,
    /// How many bytes a second each direction carries, all connections together.
    pub bandwidth: Option<u64>,
    /// Whether nothing moves, while connections stay open.
    pub stalled: bool,
    /// Whether and when connections break.
    pub cut: Option<Cut>,
}

/// When a connection breaks. It is reset: both ends see an error, and what was under way is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// After so many bytes, both directions together.
    After(u64),
    /// One connection in so many, after a random part of the bytes given.
    Some {
        /// One in how many.
        one_in: u32,
        /// After this many bytes at most.
        within: u64,
    },
}

/// How much is under way in one direction of one connection before its sender waits: enough for 600 MB/s at 100 ms.
const WINDOW: usize = 64 << 20;
/// How much is read at once.
const CHUNK: usize = 64 << 10;
/// What a timer is late by, which a line with a bandwidth makes up for.
const SLACK: Duration = Duration::from_millis(5);

/// One direction of all connections: what it has carried, and until when it is busy.
#[derive(Debug, Default)]
pub(super) struct Lane {
    carried: AtomicU64,
    busy_until: Mutex<Option<Instant>>,
}

impl Lane {
    pub(super) fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    /// Takes a chunk's time on the line, and says when the line has sent it.
    fn occupy(&self, length: usize, bandwidth: Option<u64>) -> Instant {
        let now = Instant::now();
        let Some(bandwidth) = bandwidth else { return now };
        let mut busy_until = self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
        let from = busy_until.map_or(now, |until| until.max(now.checked_sub(SLACK).unwrap_or(now)));
        let nanos = length as u128 * 1_000_000_000 / u128::from(bandwidth.max(1));
        let until = from + Duration::from_nanos(nanos.try_into().unwrap_or(u64::MAX));
        *busy_until = Some(until);
        until
    }
}

/// How much one connection still carries before it breaks.
#[derive(Debug)]
pub(super) struct Life(Mutex<Option<u64>>);

impl Life {
    pub(super) fn new(bytes: Option<u64>) -> Self {
        Self(Mutex::new(bytes))
    }

    /// How many of these bytes it carries; an error if not all.
    fn spend(&self, length: usize) -> (usize, io::Result<()>) {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bytes) = left.as_mut() else { return (length, Ok(())) };
        let carried = usize::try_from(*bytes).unwrap_or(usize::MAX).min(length);
        *bytes -= carried as u64;
        (carried, if *bytes == 0 { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) })
    }
}

/// Where one direction of a connection starts and ends.
pub(super) struct Way {
    pub(super) lane: Arc<Lane>,
    pub(super) life: Arc<Life>,
    pub(super) conditions: watch::Receiver<Conditions>,
}

/// A chunk, and when it arrives.
type Due = (Instant, Bytes);

/// What was sent and has not arrived.
pub(super) struct Flying {
    queue: mpsc::UnboundedReceiver<Due>,
    room: Arc<Semaphore>,
}

impl Way {
    /// Reads all that is sent, into what is returned first; the second ends when the sender has.
    pub(super) fn send<R: AsyncRead + Unpin>(&self, mut from: R) -> (Flying, impl Future<Output = io::Result<()>>) {
        let room = Arc::new(Semaphore::new(WINDOW));
        let (sender, queue) = mpsc::unbounded_channel();
        let flying = Flying { queue, room: Arc::clone(&room) };
        let sending = async move {
            let mut buffer = vec![0; CHUNK];
            loop {
                let length = from.read(&mut buffer).await?;
                if length == 0 {
                    return Ok(());
                }
                // As many permits as bytes: the reader of the queue gives them back.
                let Ok(permit) = room.acquire_many(u32::try_from(length).unwrap_or(u32::MAX)).await else {
                    return Ok(());
                };
                permit.forget();
                let conditions = *self.conditions.borrow();
                let sent = self.lane.occupy(length, conditions.bandwidth);
                let chunk = Bytes::copy_from_slice(&buffer[..length]);
                if sender.send((sent + conditions.round_trip / 2, chunk)).is_err() {
                    return Ok(());
                }
                if conditions.bandwidth.is_some() {
                    sleep_until(sent).await;
                }
            }
        };
        (flying, sending)
    }

    /// Writes what was sent, when it arrives, and closes when all has.
    pub(super) async fn arrive<W: AsyncWrite + Unpin>(&self, mut flying: Flying, mut to: W) -> io::Result<()> {
        let mut conditions = self.conditions.clone();
        while let Some((due, chunk)) = flying.queue.recv().await {
            sleep_until(due).await;
            // A closed channel is a proxy that ends.
            let _ = conditions.wait_for(|conditions| !conditions.stalled).await;
            let (carried, life) = self.life.spend(chunk.len());
            self.lane.carried.fetch_add(carried as u64, Ordering::Relaxed);
            to.write_all(&chunk[..carried]).await?;
            flying.room.add_permits(chunk.len());
            life?;
        }
        to.shutdown().await
    }
}
