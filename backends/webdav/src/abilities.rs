//! What a server was found to do, and what is told of it.

use wl_core::backend::{Facts, HashBy, Swap, Vouch, WatchBy};

use crate::names::{self, Class, DOTTED};
use crate::version::Precision;

/// How a replacement is made to happen only if the expected version is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conditions {
    /// A MOVE whose `If` header names the destination's entity tag (RFC 4918, section 10.4).
    IfHeader,
    /// The destination is locked (RFC 4918, section 6) while it is looked at and replaced.
    Lock,
    /// The same, but a small file by a PUT with `If-Match`: readers see the old content until the new one is there, while
    /// a MOVE leaves nothing under the name for a moment.
    InPlace,
    /// Neither is heeded with a MOVE: it is looked at, and then replaced.
    LookOnly,
}

impl Abilities {
    /// Whether what begins with a dot is not listed, or may not be.
    pub fn hides_dotfiles(&self) -> bool {
        self.unfit.as_ref().is_none_or(|unfit| unfit.iter().any(|class| class.sample == DOTTED))
    }
}

/// How many of so many rounds more than one of racing writers won.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Race {
    pub doubles: usize,
    pub rounds: usize,
}

/// What a server does, found out under a temporary name.
#[derive(Debug, Clone)]
pub struct Abilities {
    /// Not everything was found out in good time: what was not counts as not offered.
    pub unfinished: bool,
    /// None where that was not tried yet.
    pub conditions: Option<Conditions>,
    pub precision: Precision,
    /// Whether a PROPFIND tells entity tags.
    pub lists_etags: bool,
    /// Whether GET and HEAD tell the same version as a PROPFIND.
    pub heads_agree: bool,
    /// Whether the entity tag of what was just written is weak.
    pub tags_begin_weak: bool,
    /// Whether a PUT with `If-None-Match: *` overwrites nothing, and shows nothing before all of it is there; none where that
    /// is not known yet.
    pub creates_directly: Option<bool>,
    /// Whether `Overwrite: F` is heeded.
    pub keeps_existing: bool,
    /// Whether a moved file keeps its token.
    pub move_keeps_token: bool,
    /// None where that is not known yet.
    pub copies: Option<bool>,
    /// Kinds of names that are not listed as they are; none where that is not known yet.
    pub unfit: Option<Vec<Class>>,
    /// Whether a modification time given with a PUT is kept (`X-OC-Mtime`).
    pub keeps_mtime: bool,
    /// Whether the server tells a sha256 that it computed itself: false claims were not repeated.
    pub tells_hash: bool,
    /// The same of its answer to a PUT.
    pub answers_hash: bool,
    /// Whether it keeps a property of wl's own beside a file, and the file's entity tag then.
    pub keeps_notes: bool,
    /// How creating and replacing did when raced, where that was tried.
    pub create_race: Option<Race>,
    pub replace_race: Option<Race>,
}

/// How often it is listed, in seconds, unless the manifest says.
pub const SCAN_EVERY_S: u64 = 30;
/// How many small operations at once pay: more than are asked of the server, for some wait for a tick, or for a look that they
/// share.
const IN_FLIGHT: usize = 2 * crate::turns::AT_ONCE;

/// What is told of a server; before it was tried nothing is claimed that it may not hold.
pub fn facts(abilities: Option<&Abilities>) -> Facts {
    let fine = abilities.is_some_and(|abilities| abilities.precision == Precision::Fine);
    Facts {
        hash: if abilities.is_some_and(|abilities| abilities.tells_hash) { HashBy::Native } else { HashBy::Read },
        token: if fine { Vouch::Strong } else { Vouch::Weak },
        replace: Swap::Checked,
        create: Swap::Checked,
        delete: Swap::Checked,
        watcher: WatchBy::Scan,
        scan_every_s: Some(SCAN_EVERY_S),
        server_copy: abilities.is_some_and(|abilities| abilities.copies == Some(true)),
        // Not a claim: a server that cannot is no storage, and its trial fails.
        server_move: true,
        trash: abilities.is_some_and(|abilities| abilities.copies == Some(true)),
        mtime: abilities.is_some_and(|abilities| abilities.keeps_mtime),
        mode: false,
        mtime_resolution_ns: 1_000_000_000,
        in_flight: IN_FLIGHT,
        windows: abilities.map_or_else(Vec::new, windows),
    }
}

fn windows(abilities: &Abilities) -> Vec<String> {
    let mut windows = Vec::new();
    let mut say = |text: &str| windows.push(text.to_owned());
    if abilities.unfinished {
        say(
            "the server answers so slowly that not all of what it can do was found out in time: what is not known counts as \
             not offered until it is, and no file is replaced until it is known how",
        );
    }
    say(match abilities.conditions {
        None => "how a replacement is made conditional is found out when the first file is replaced",
        Some(Conditions::IfHeader) => {
            "a file is replaced by a MOVE that names its entity tag: the window is within the server, between its check \
             and its renaming; for a moment there may be nothing under the name"
        }
        Some(Conditions::Lock) => {
            "this server ignores conditions on entity tags: a file is locked, looked at and replaced; what other HTTP \
             clients begin to write meanwhile is refused, but not what the server was taking in already, nor what is \
             written to its disk directly"
        }
        Some(Conditions::InPlace) => {
            "a file of up to 8 MiB is replaced by a PUT that names its entity tag: the window is from the server's check to \
             its renaming, which is as long as the content takes to arrive; a larger one by a MOVE that names its entity \
             tag: that window is shorter, but for a moment there may be nothing under the name"
        }
        Some(Conditions::LookOnly) => {
            "this server heeds neither conditions nor locks when a file is moved over another: a file that changes between \
             the last look and its replacement, one round trip, is replaced"
        }
    });
    say(if abilities.keeps_existing {
        "a file is created by a MOVE that overwrites nothing: the window is within the server"
    } else {
        "this server overwrites although it is told not to: a file that appears between the last look and the creation, \
         one round trip, is replaced"
    });
    if abilities.creates_directly == Some(true) {
        say(
            "a file of up to 64 KiB is created by a PUT that overwrites nothing: the window is from the server's check to its \
             renaming, which is as long as the content takes to arrive",
        );
    }
    say("a file is deleted by moving it aside and looking at what was moved: for a moment its name is free");
    for (what, race) in [("creating", abilities.create_race), ("replacing", abilities.replace_race)] {
        if let Some(Race { doubles, rounds }) = race {
            say(&format!("racing writers, {what}: more than one was told it won in {doubles} of {rounds} rounds"));
        }
    }
    if abilities.precision == Precision::Coarse {
        say("versions written within a second or two look alike: files changed just now are hashed again");
    }
    say(
        "a directory is removed by moving it to the trash: what the server does not list in it is kept there, and not listed \
         there either",
    );
    say(
        "an empty collection in the place of this one is told from one whose files were deleted only where the server gives \
         it an id (`oc:fileid`); elsewhere `max-delete` is what stops the deletions",
    );
    if let Some(told) = abilities.unfit.as_deref().and_then(names::told) {
        say(&told);
    }
    if !abilities.move_keeps_token {
        say(
            "a moved file looks changed: what is written, moved or deleted is told by its size and hash, and read once more",
        );
    }
    if abilities.copies == Some(false) {
        say("nothing can be copied inside the storage: what is overwritten is not kept in the trash");
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_claimed_before_it_was_tried() {
        let facts = facts(None);
        assert!(!facts.server_copy && !facts.trash && !facts.mtime);
        assert_eq!((facts.hash, facts.token), (HashBy::Read, Vouch::Weak));
    }
}
