//! `wl demo`: two directories and a real daemon, told step by step while it happens.
//!
//! Every command it shows is run as a user would type it; whatever it says was looked at before it is said.

mod stage;
mod trees;

use serde::Serialize;
use serde_json::Value;

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::signals::interrupted;
use stage::Stage;

/// `demo --json`.
#[derive(Debug, Default, Serialize)]
struct Told {
    steps: Vec<Step>,
}

/// Something that was seen to happen.
#[derive(Debug, Serialize)]
struct Step {
    what: String,
    seconds: f64,
}

/// Shows it all, and leaves nothing behind, however it ends.
pub async fn run(context: &Context) -> Outcome {
    let mut stage = Stage::build(&context.screen)?;
    let told = tokio::select! {
        told = tell(&mut stage) => told,
        () = interrupted() => Err(Failure::new("interrupted")),
    };
    let steps = std::mem::take(&mut stage.steps);
    let cleared = stage.clear().await;
    told?;
    cleared?;
    context.screen.show(&Told { steps }, |_| {
        "\nThe daemon has ended and the two directories are gone. Now with yours:  wl sync DIRECTORY DIRECTORY"
            .to_owned()
    })?;
    Ok(Exit::Done)
}

async fn tell(stage: &mut Stage<'_>) -> Outcome<()> {
    first_contact(stage).await?;
    edits_travel(stage).await?;
    a_rename_is_a_rename(stage).await?;
    a_delete_can_be_undone(stage).await?;
    a_conflict_is_yours(stage).await?;
    everything_is_equal(stage).await
}

async fn first_contact(stage: &mut Stage<'_>) -> Outcome<()> {
    stage.chapter("Two directories, each with files the other does not have.").await?;
    stage.write("laptop/notes.txt", b"milk\n")?;
    stage.write("laptop/photos/beach.jpg", &picture())?;
    stage.write("usb-stick/books.txt", b"Middlemarch\n")?;
    stage.list()?;
    stage.chapter("One command keeps them equal from now on.").await?;
    stage.wl(&["sync", "laptop", "usb-stick", "--wait"], Exit::Done).await?;
    stage.promise("both hold all of it", |stage| stage.is_equal_with(3))
}

async fn edits_travel(stage: &mut Stage<'_>) -> Outcome<()> {
    stage.chapter("An edit on one side arrives on the other. Both ways.").await?;
    stage.shell("echo bread >> laptop/notes.txt")?;
    stage.write("laptop/notes.txt", b"milk\nbread\n")?;
    stage.seen("usb-stick/notes.txt has it", |stage| stage.holds("usb-stick/notes.txt", b"milk\nbread\n")).await?;
    stage.shell("echo Emma >> usb-stick/books.txt")?;
    stage.write("usb-stick/books.txt", b"Middlemarch\nEmma\n")?;
    stage.seen("laptop/books.txt has it", |stage| stage.holds("laptop/books.txt", b"Middlemarch\nEmma\n")).await
}

async fn a_rename_is_a_rename(stage: &mut Stage<'_>) -> Outcome<()> {
    stage.chapter("A renamed file is renamed over there too.").await?;
    stage.settled().await?;
    let before = stage.transferred().await?;
    stage.shell("mv laptop/photos/beach.jpg laptop/photos/holiday.jpg")?;
    stage.rename("laptop/photos/beach.jpg", "laptop/photos/holiday.jpg")?;
    let renamed = |stage: &Stage<'_>| {
        stage.holds("usb-stick/photos/holiday.jpg", &picture()) && stage.is_gone("usb-stick/photos/beach.jpg")
    };
    stage.seen("usb-stick/photos/holiday.jpg is there, beach.jpg is not", renamed).await?;
    stage.settled().await?;
    if stage.transferred().await? == before {
        stage.note("Not a byte of it was transferred again.")?;
    }
    Ok(())
}

async fn a_delete_can_be_undone(stage: &mut Stage<'_>) -> Outcome<()> {
    stage.chapter("A delete travels too, but what it takes with it is kept for a while.").await?;
    stage.shell("rm usb-stick/books.txt")?;
    stage.remove("usb-stick/books.txt")?;
    stage.seen("laptop/books.txt is gone", |stage| stage.is_gone("laptop/books.txt")).await?;
    stage.wl(&["container", "trash", "laptop", "list"], Exit::Done).await?;
    stage.wl(&["container", "trash", "laptop", "restore", "books.txt"], Exit::Done).await?;
    let is_back = |stage: &Stage<'_>| {
        ["laptop/books.txt", "usb-stick/books.txt"].iter().all(|file| stage.holds(file, b"Middlemarch\nEmma\n"))
    };
    stage.seen("books.txt is back on both", is_back).await
}

async fn a_conflict_is_yours(stage: &mut Stage<'_>) -> Outcome<()> {
    stage.chapter("The same file changed on both sides while they were apart: that is for you to decide.").await?;
    stage.wl(&["container", "pause", "laptop"], Exit::Done).await?;
    let (ours, theirs): (&[u8], &[u8]) = (b"milk\nbread\napples\n", b"milk\nbread\npears\n");
    stage.shell("echo apples >> laptop/notes.txt")?;
    stage.write("laptop/notes.txt", ours)?;
    stage.shell("echo pears >> usb-stick/notes.txt")?;
    stage.write("usb-stick/notes.txt", theirs)?;
    stage.wl(&["container", "resume", "laptop"], Exit::Done).await?;
    stage.conflict_is_open("notes.txt").await?;
    stage.wl(&["container", "list-conflicts", "laptop"], Exit::Conflicts).await?;
    stage.promise("neither version was touched", |stage| {
        stage.holds("laptop/notes.txt", ours) && stage.holds("usb-stick/notes.txt", theirs)
    })?;
    stage.wl(&["container", "diff", "laptop", "notes.txt"], Exit::Done).await?;
    stage.wl(&["container", "resolve", "laptop", "notes.txt", "--keep", "both"], Exit::Done).await?;
    stage.seen("both versions are on both sides", |stage| stage.both_hold(&[ours, theirs])).await
}

async fn everything_is_equal(stage: &mut Stage<'_>) -> Outcome<()> {
    stage.chapter("Is it true? Read and hash everything on both sides, caches ignored.").await?;
    stage.settled().await?;
    stage.wl(&["container", "verify", "laptop"], Exit::Done).await?;
    stage.list()?;
    stage.promise("equal, by sha256, as the demo itself counts it", |stage| stage.is_equal_with(4))?;
    stage.wl(&["container", "stop-sync", "laptop"], Exit::Done).await
}

/// Bytes that do not compress and are the same every time.
fn picture() -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    });
    next.take(64 * 1024).flatten().collect()
}

/// The bytes a job has transferred, from `status --json`.
fn transferred_in(status: &Value) -> u64 {
    let jobs = status["jobs"].as_array().map(Vec::as_slice).unwrap_or_default();
    jobs.iter().filter_map(|job| job["transferred_bytes"].as_u64()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_is_always_the_same() {
        assert_eq!(picture().len(), 256 * 1024);
        assert_eq!(picture(), picture());
    }

    #[test]
    fn transferred_bytes_are_summed() {
        let status = serde_json::json!({"jobs": [{"transferred_bytes": 3}, {"transferred_bytes": 4}]});
        assert_eq!(transferred_in(&status), 7);
        assert_eq!(transferred_in(&Value::Null), 0);
    }
}
