//! `wl daemon`: the daemon in the foreground, in the background, and its end.

use std::sync::Arc;

use serde_json::json;
use wl_daemon::RunOptions;

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::rooms::BuiltIn;

/// Runs the daemon until it is told to end.
pub async fn run(context: &Context) -> Outcome {
    let rooms = Arc::new(BuiltIn::default());
    let (places, config) = (context.places.clone(), context.config.clone());
    wl_daemon::run(RunOptions { places, config, rooms }).await?;
    Ok(Exit::Done)
}

/// Starts the daemon unless it is running.
pub async fn start(context: &Context) -> Outcome {
    let is_running = context.running().await?.is_some();
    context.link().await?;
    let socket = context.places.socket.display().to_string();
    let text = if is_running { "The daemon is running already" } else { "The daemon is running now" };
    context.screen.show(&json!({ "started": !is_running, "socket": socket }), |_| format!("{text}, at {socket}."))?;
    Ok(Exit::Done)
}

/// Ends the daemon and waits for its end.
pub async fn stop(context: &Context) -> Outcome {
    let running = context.running().await?;
    let is_running = running.is_some();
    if let Some(link) = running {
        link.shutdown(&context.places).await.map_err(|failure: Failure| failure.about("the daemon was not stopped"))?;
    }
    let text = || {
        if is_running {
            "The daemon has ended.".to_owned()
        } else {
            format!("The daemon was not running: nobody answers at {}.", context.places.socket.display())
        }
    };
    context.screen.show(&json!({ "stopped": is_running }), |_| text())?;
    Ok(Exit::Done)
}
