//! A slow line to a server, for the shell: `wl-test-proxy --listen PORT --to HOST:PORT --rtt-ms 50`. Runs until it is killed.

use std::thread;
use std::time::Duration;

use clap::Parser;
use wl_test_kit::proxy::{Conditions, Tcp};

/// Listens on 127.0.0.1 and makes the way to a server long.
#[derive(Parser)]
struct Args {
    /// The port to listen on, 0 for any
    #[arg(long, default_value_t = 0)]
    listen: u16,
    /// The server, as HOST:PORT
    #[arg(long)]
    to: String,
    /// How long a round trip takes, in milliseconds
    #[arg(long, default_value_t = 0)]
    rtt_ms: u64,
    /// How many bytes a second each direction carries
    #[arg(long)]
    bandwidth: Option<u64>,
}

fn main() {
    let args = Args::parse();
    let round_trip = Duration::from_millis(args.rtt_ms);
    let conditions = Conditions { round_trip, bandwidth: args.bandwidth, ..Conditions::default() };
    let proxy = Tcp::listen(args.listen, &args.to, conditions, 0);
    println!("{}", proxy.address());
    loop {
        thread::park();
    }
}
