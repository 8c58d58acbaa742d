//! Asking for a secret, which is not shown while it is typed.

use std::fs::File;
use std::io;

use futures::FutureExt as _;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::failure::{Failure, Outcome};
use crate::signals::interrupted;

/// The terminal as it was, which it is again once this is dropped.
struct AsItWas(Option<(File, Termios)>);

impl AsItWas {
    fn now() -> Self {
        Self(File::open("/dev/tty").ok().and_then(|terminal| {
            let shape = tcgetattr(&terminal).ok()?;
            Some((terminal, shape))
        }))
    }
}

impl Drop for AsItWas {
    fn drop(&mut self) {
        if let Some((terminal, shape)) = &self.0 {
            // A terminal that is gone needs it no more.
            let _ = tcsetattr(terminal, OptionalActions::Now, shape);
        }
    }
}

/// Asks, and waits for the answer. Whoever interrupts it gets a terminal back that shows what is typed: the one who reads
/// turns a Ctrl-C into a signal, which would end this program before the terminal is as it was.
pub async fn ask(question: String, what: &str) -> Outcome<String> {
    let was = AsItWas::now();
    let mut gone = std::pin::pin!(interrupted());
    // From here on a signal is heard, and does not end this program before it can give the terminal back.
    let _ = gone.as_mut().now_or_never();
    let reading = tokio::task::spawn_blocking(|| rpassword::prompt_password(question));
    let typed = tokio::select! {
        () = gone => Err(io::ErrorKind::Interrupted.into()),
        typed = reading => typed.unwrap_or_else(|error| Err(io::Error::other(error))),
    };
    drop(was);
    typed.map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => Failure::new("interrupted: nothing was done"),
        _ => Failure::new(format!("the {what} cannot be read from the terminal: {error}")),
    })
}
