//! What a trial has found so far.

use crate::abilities::{Abilities, Conditions, Race};
use crate::names::Class;
use crate::probe::Hashes;
use crate::version::{ETag, Precision, Seen};

/// What a trial has found so far: each part of it finds something, in whatever order.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    pub rewriting: Option<Rewriting>,
    pub shipping: Option<Shipping>,
    pub hashes: Option<Hashes>,
    pub unfit: Option<Vec<Class>>,
    pub keeps_notes: Option<bool>,
    pub creates_directly: Option<bool>,
    pub conditions: Option<Conditions>,
    pub create_race: Option<Race>,
    pub replace_race: Option<Race>,
}

/// What rewriting a file shows.
#[derive(Debug, Clone)]
pub struct Rewriting {
    pub precision: Precision,
    pub keeps_mtime: bool,
    /// What a PROPFIND says of it, and what a HEAD.
    pub listed: Seen,
    pub headed: Seen,
}

/// What copying and moving a file shows.
#[derive(Debug, Clone, Copy)]
pub struct Shipping {
    pub copies: bool,
    pub keeps_token: bool,
    pub keeps_existing: bool,
}

impl Findings {
    /// Whether all is found that must be known before anything is written.
    pub fn are_complete(&self) -> bool {
        let Self { rewriting, shipping, hashes, unfit, keeps_notes, .. } = self;
        rewriting.is_some() && shipping.is_some() && hashes.is_some() && unfit.is_some() && keeps_notes.is_some()
    }

    /// What the server can do by what was found: what was not is not offered.
    pub fn abilities(&self) -> Abilities {
        let rewriting = self.rewriting.as_ref();
        let told = rewriting.is_none_or(|Rewriting { listed, .. }| listed.etag.is_some());
        let agree = rewriting.is_some_and(Rewriting::heads_agree);
        Abilities {
            unfinished: !self.are_complete(),
            conditions: self.conditions,
            precision: rewriting.map_or(Precision::Coarse, |found| found.precision),
            lists_etags: told,
            heads_agree: agree,
            tags_begin_weak: rewriting.is_none_or(|Rewriting { listed, .. }| listed.is_weak()),
            // What was created is read once, by its entity tag and bytes: both must be those of a listing.
            creates_directly: self.creates_directly.map(|direct| direct && told && agree),
            keeps_existing: self.shipping.is_some_and(|found| found.keeps_existing),
            move_keeps_token: self.shipping.is_some_and(|found| found.keeps_token),
            copies: self.shipping.map(|found| found.copies),
            unfit: self.unfit.clone(),
            keeps_mtime: rewriting.is_some_and(|found| found.keeps_mtime),
            tells_hash: self.hashes.is_some_and(|found| found.told),
            answers_hash: self.hashes.is_some_and(|found| found.answered),
            keeps_notes: self.keeps_notes.unwrap_or_default(),
            create_race: self.create_race,
            replace_race: self.replace_race,
        }
    }
}

impl Rewriting {
    /// Whether GET and HEAD tell the same version as a PROPFIND.
    fn heads_agree(&self) -> bool {
        let Self { listed, headed, .. } = self;
        let opaque = |seen: &Seen| seen.etag.as_ref().map(ETag::opaque).map(str::to_owned);
        match (&listed.etag, listed.modified) {
            (Some(_), _) => opaque(headed) == opaque(listed),
            (None, Some(modified)) => headed.modified == Some(modified),
            (None, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_found_is_not_offered() {
        let found = Findings::default().abilities();
        assert!(found.unfinished && found.hides_dotfiles() && found.precision == Precision::Coarse);
        let Abilities { creates_directly, keeps_existing, move_keeps_token, copies, tells_hash, heads_agree, .. } =
            found;
        assert!(!(keeps_existing || move_keeps_token || tells_hash || heads_agree));
        assert_eq!((creates_directly, copies), (None, None));
    }
}
