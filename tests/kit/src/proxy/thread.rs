//! A proxy's own thread, which listens.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::thread::{self, JoinHandle};

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

/// Listens on the loopback until dropped; then all connections are closed.
#[derive(Debug)]
pub(super) struct Listening {
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Listening {
    /// Listens on a port, 0 for any, and serves each connection by what `serve` makes of it.
    pub(super) fn start<F, S>(port: u16, serve: S) -> Self
    where
        F: Future<Output = ()> + 'static,
        S: Fn(TcpStream) -> F + Send + 'static,
    {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("listening");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = thread::Builder::new().name("proxy".to_owned()).spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            LocalSet::new().block_on(&runtime, stopped.run_until_cancelled(accept(listener, serve)));
        });
        Self { address, stop, thread: Some(thread.expect("a thread")) }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept<F: Future<Output = ()> + 'static>(listener: std::net::TcpListener, serve: impl Fn(TcpStream) -> F) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    loop {
        // What cannot be accepted was given up by the other side.
        if let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::task::spawn_local(serve(stream));
        }
    }
}

/// The one address that a HOST:PORT means.
pub(super) fn resolve(address: &str) -> SocketAddr {
    let mut found = address.to_socket_addrs().unwrap_or_else(|why| panic!("{address}: {why}"));
    found.next().unwrap_or_else(|| panic!("{address} is nowhere"))
}
