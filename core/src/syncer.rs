//! Whole jobs, and which syncer serves which pair.

use std::sync::Arc;

use async_trait::async_trait;

use crate::backend::{Content, Guard, Written};
use crate::drive;
use crate::entry::Entry;
use crate::error::{Error, Fault, Result};
use crate::job::{Run, Side};
use crate::monitor::Monitor;
use crate::path::RelPath;
use crate::report::{Mode, Summary};

/// Any storage type.
pub const ANY: &str = "*";

/// What a syncer declares about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    /// Its name, as `status` and `doctor` show it.
    pub name: &'static str,
    /// The storage types it reads from; [`ANY`] is any.
    pub source_types: &'static [&'static str],
    /// The storage types it writes to; [`ANY`] is any.
    pub target_types: &'static [&'static str],
    /// Whether it can run once.
    pub one_shot: bool,
    /// Whether it can run until stopped.
    pub continuous: bool,
    /// Whether it carries only the source's changes; one that does not can serve only jobs of both directions.
    pub unidirectional: bool,
    /// Whether the storages must be mounted as local directories.
    pub requires_mount: bool,
}

impl Traits {
    /// Those of a syncer that leaves the job to the engine: both modes, both directions, nothing need be mounted.
    pub const fn of_engine(
        name: &'static str,
        source_types: &'static [&'static str],
        target_types: &'static [&'static str],
    ) -> Self {
        let (one_shot, continuous, unidirectional, requires_mount) = (true, true, true, false);
        Self { name, source_types, target_types, one_shot, continuous, unidirectional, requires_mount }
    }
}

/// What a job needs of a syncer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs<'a> {
    /// The source's type.
    pub source_type: &'a str,
    /// The target's type.
    pub target_type: &'a str,
    /// Once or until stopped.
    pub mode: Mode,
    /// Only the source's changes.
    pub unidirectional: bool,
    /// Whether both storages are mounted as local directories.
    pub mounted: bool,
}

/// One copy that the engine has decided on: which version goes where, and what it may replace there.
pub struct Parcel<'a> {
    /// The path, on both storages.
    pub path: &'a RelPath,
    /// The version on `from` that is meant, and no other.
    pub entry: &'a Entry,
    /// Its bytes. What is read of them is counted and slowed down, and failures to read are told as the source's.
    pub content: Content,
    /// Where it is.
    pub from: &'a Side,
    /// Where it goes.
    pub to: &'a Side,
    /// What is expected there.
    pub guard: &'a Guard,
    /// Where what it replaces is kept.
    pub trash: Option<&'a RelPath>,
    /// Whether a bandwidth limit holds: only what is read of `content` keeps to it.
    pub limited: bool,
    /// Who is told of bytes that went over without being read from `content`.
    pub monitor: &'a Arc<Monitor>,
}

impl Parcel<'_> {
    /// Reads the content and writes it: always right, so what a carrier does that cannot go its own way.
    pub async fn read_and_write(self) -> Result<Written> {
        self.to.backend.replace(self.path, self.content, self.guard, self.trash).await
    }
}

/// How content travels between the storages of one pair. The only thing a dedicated syncer usually replaces.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// Puts the parcel's version under its path on the other storage, as [`Parcel::read_and_write`] does.
    async fn carry(&self, parcel: Parcel<'_>) -> Result<Written>;
}

/// Runs whole jobs.
#[async_trait]
pub trait Syncer: Send + Sync {
    /// What it declares.
    fn traits(&self) -> Traits;

    /// Makes both sides equal once.
    async fn one_shot(&self, run: &Run) -> Result<Summary>;

    /// Keeps both sides equal until the run is stopped.
    async fn continuous(&self, run: &Run) -> Result<()>;
}

/// A carrier that is a syncer, too, for the engine does everything else of its jobs: the usual one.
pub trait EngineSyncer: Carrier {
    /// What it declares.
    const TRAITS: Traits;
}

#[async_trait]
impl<C: EngineSyncer> Syncer for C {
    fn traits(&self) -> Traits {
        C::TRAITS
    }

    async fn one_shot(&self, run: &Run) -> Result<Summary> {
        drive::one_shot(run, self).await
    }

    async fn continuous(&self, run: &Run) -> Result<()> {
        drive::continuous(run, self).await
    }
}

/// Chooses the syncer for a job: one that fulfils its needs, an exact type match before a wildcard, the first in the list
/// among equals (so the generic one stands last).
pub fn select<'a>(syncers: &'a [Arc<dyn Syncer>], needs: &Needs<'_>) -> Result<&'a Arc<dyn Syncer>> {
    let matching = syncers.iter().filter_map(|syncer| Some((exactness(&syncer.traits(), needs)?, syncer)));
    // `max_by_key` takes the last of equals: reversed, that is the first in the list.
    matching.rev().max_by_key(|(exact, _)| *exact).map(|(_, syncer)| syncer).ok_or_else(|| {
        let direction = if needs.unidirectional { "->" } else { "<->" };
        let mode = match needs.mode {
            Mode::Continuous => "continuous",
            Mode::OneShot => "one-shot",
        };
        let text = format!("no syncer can run a {mode} job {} {direction} {}", needs.source_type, needs.target_type);
        Error::new(Fault::Unsupported, text)
    })
}

/// How many of the two types are named exactly; none if the syncer does not fulfil the needs.
fn exactness(traits: &Traits, needs: &Needs<'_>) -> Option<u8> {
    let runs = match needs.mode {
        Mode::Continuous => traits.continuous,
        Mode::OneShot => traits.one_shot,
    };
    let fits = runs && (traits.unidirectional || !needs.unidirectional) && (needs.mounted || !traits.requires_mount);
    let side = |types: &[&str], wanted: &str| {
        if types.contains(&wanted) { Some(1) } else { types.contains(&ANY).then_some(0) }
    };
    fits.then_some(())?;
    Some(side(traits.source_types, needs.source_type)? + side(traits.target_types, needs.target_type)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Invented(Traits);

    #[async_trait]
    impl Syncer for Invented {
        fn traits(&self) -> Traits {
            self.0
        }

        async fn one_shot(&self, _: &Run) -> Result<Summary> {
            Err(Error::stopped())
        }

        async fn continuous(&self, _: &Run) -> Result<()> {
            Err(Error::stopped())
        }
    }

    const GENERIC: Traits = Traits::of_engine("generic", &[ANY], &[ANY]);

    fn chosen(traits: &[Traits], needs: &Needs<'_>) -> Result<&'static str> {
        let syncers: Vec<Arc<dyn Syncer>> = traits.iter().map(|t| Arc::new(Invented(*t)) as Arc<dyn Syncer>).collect();
        select(&syncers, needs).map(|syncer| syncer.traits().name)
    }

    fn needs<'a>(source_type: &'a str, target_type: &'a str) -> Needs<'a> {
        Needs { source_type, target_type, mode: Mode::Continuous, unidirectional: false, mounted: false }
    }

    #[test]
    fn an_exact_match_goes_before_a_wildcard_wherever_it_stands() {
        let half = Traits { name: "half", source_types: &["moon"], ..GENERIC };
        let exact = Traits { name: "exact", source_types: &["moon"], target_types: &["mars", "venus"], ..GENERIC };
        for list in [[GENERIC, half, exact], [exact, half, GENERIC], [half, GENERIC, exact]] {
            assert_eq!(chosen(&list, &needs("moon", "venus")), Ok("exact"));
            assert_eq!(chosen(&list, &needs("moon", "earth")), Ok("half"));
            assert_eq!(chosen(&list, &needs("earth", "moon")), Ok("generic"));
        }
    }

    #[test]
    fn the_first_of_equals_is_chosen() {
        assert_eq!(chosen(&[Traits { name: "first", ..GENERIC }, GENERIC], &needs("a", "b")), Ok("first"));
    }

    #[test]
    fn needs_go_before_exactness() {
        let once =
            Traits { name: "once", source_types: &["moon"], target_types: &["mars"], continuous: false, ..GENERIC };
        let both_ways = Traits { name: "both-ways", source_types: &["moon"], unidirectional: false, ..GENERIC };
        let mounted = Traits { name: "mounted", source_types: &["moon"], requires_mount: true, ..GENERIC };
        let list = [once, both_ways, mounted, GENERIC];
        assert_eq!(chosen(&list, &needs("moon", "mars")), Ok("both-ways"));
        assert_eq!(chosen(&list, &Needs { mode: Mode::OneShot, ..needs("moon", "mars") }), Ok("once"));
        assert_eq!(chosen(&list, &Needs { unidirectional: true, ..needs("moon", "mars") }), Ok("generic"));
        assert_eq!(
            chosen(&list, &Needs { unidirectional: true, mounted: true, ..needs("moon", "mars") }),
            Ok("mounted")
        );
    }

    #[test]
    fn says_clearly_when_none_fits() {
        let error = chosen(&[Traits { continuous: false, ..GENERIC }], &needs("moon", "mars")).unwrap_err();
        assert_eq!(error.to_string(), "no syncer can run a continuous job moon <-> mars");
    }
}
