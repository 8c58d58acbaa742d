//! What a side is to hold elsewhere than it does: moved or copied inside it, so that nothing is transferred.
//!
//! A content that a step needs may be just what another step of the same window removes or overwrites: when two files
//! change names, or one is moved onto another. So whoever takes a content comes before whoever makes an end of it. Where
//! that goes round in a circle, one of them takes its content last, from the trash; where nothing is kept, from the other
//! side.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Inside, Step};
use crate::backend::Guard;
use crate::entry::Hash;
use crate::job::Which;
use crate::path::RelPath;
use crate::report::TrashReason;

/// So many groups one after the other are no slower than transfers side by side; a thousand files renumbered by one would
/// be a thousand groups. What would come later is transferred.
const LONGEST: usize = 32;

/// The steps that need no transfer, in an order in which each finds what it needs.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// Groups to be carried out one after the other.
    pub groups: Vec<Vec<Step>>,
    /// How many removals on each side became part of a move.
    pub pairs: [u64; 2],
}

/// Where each content is on a side: the likeliest to be there when it is needed stands last.
pub(super) type Held = HashMap<(Which, Hash), Vec<Inside>>;

/// What is known of a side besides its steps.
pub(super) struct Means<'a> {
    /// Whether each side can move a file to where nothing is.
    pub moves: [bool; 2],
    /// Whether each side can copy a file, also onto another.
    pub copies: [bool; 2],
    /// Contents that copies overwrite.
    pub overwritten: Held,
    /// What makes way for something of another kind before anything is copied.
    pub cleared: &'a [Step],
}

/// Takes what needs no transfer out of the copies and removals.
pub(super) fn recognise(copies: &mut Vec<Step>, removes: &mut Vec<Step>, means: Means<'_>) -> Moves {
    let mut found = Moves::default();
    let mut gone = contents(removes.iter(), None);
    let mut steps = Vec::new();
    // A plain move is the cheapest: what was overwritten on the other side is found among what is left.
    for over in [false, true] {
        let can = if over { means.copies } else { means.moves };
        copies.retain(|step| match as_move(step, over, can, &mut gone) {
            None => true,
            Some(step) => {
                found.pairs[step.on() as usize] += 1;
                steps.push(step);
                false
            }
        });
    }
    let mut held = contents(means.cleared.iter(), Some(TrashReason::Deleted));
    extend(&mut held, means.overwritten.into_iter().flat_map(each));
    let moved = steps.iter().filter_map(|step| match step {
        Step::Move { path, on, token, hash, .. } => {
            Some(((*on, *hash), Inside { path: path.clone(), token: token.clone(), kept: None }))
        }
        _ => None,
    });
    extend(&mut held, moved);
    extend(&mut held, gone.into_iter().flat_map(each));
    let moved: HashSet<_> = steps.iter().map(|step| (step.on(), step.path())).collect();
    removes.retain(|step| !moved.contains(&(step.on(), step.path())));
    for step in copies.iter_mut() {
        if means.copies[step.on() as usize] {
            find_inside(step, &held);
        }
    }
    found.groups = in_order(steps, copies);
    found
}

/// The contents that removals make an end of.
fn contents<'a>(removes: impl Iterator<Item = &'a Step>, kept: Option<TrashReason>) -> Held {
    let mut held = Held::new();
    extend(
        &mut held,
        removes.filter_map(|step| match step {
            Step::Remove { path, on, token, content } => {
                Some(((*on, content.0), Inside { path: path.clone(), token: token.clone(), kept }))
            }
            _ => None,
        }),
    );
    held
}

fn each((key, all): ((Which, Hash), Vec<Inside>)) -> impl Iterator<Item = ((Which, Hash), Inside)> {
    all.into_iter().map(move |one| (key, one))
}

fn extend(held: &mut Held, more: impl IntoIterator<Item = ((Which, Hash), Inside)>) {
    for (key, inside) in more {
        held.entry(key).or_default().push(inside);
    }
}

/// The move that a copy comes to with what vanished on the same side, if that had its content; onto a file or onto
/// nothing.
fn as_move(step: &Step, over: bool, can: [bool; 2], gone: &mut Held) -> Option<Step> {
    let Step::Copy { path, from, entry, hash: Some(hash), guard, .. } = step else { return None };
    let on = from.other();
    if over != (*guard != Guard::Absent) || !can[on as usize] {
        return None;
    }
    let candidates = gone.get_mut(&(on, *hash)).filter(|left| !left.is_empty())?;
    // Among equal contents the one of the same name is the likeliest.
    let same_name = candidates.iter().position(|one| one.path.name() == path.name());
    let Inside { path: old, token, .. } = candidates.swap_remove(same_name.unwrap_or(candidates.len() - 1));
    let (to, there, guard) = (path.clone(), entry.clone(), guard.clone());
    Some(Step::Move { path: old, to, on, token, hash: *hash, there, guard })
}

/// Notes where the content of a copy is inside the side it goes to.
fn find_inside(step: &mut Step, held: &Held) {
    let on = step.on();
    let Step::Copy { path, hash: Some(hash), inside, .. } = step else { return };
    let mut candidates = held.get(&(on, *hash)).into_iter().flatten();
    *inside = candidates.rfind(|one| one.path != *path).cloned();
}

/// Puts moves, and the copies that take a content or make an end of one that is taken, in order. Other copies stay.
fn in_order(moves: Vec<Step>, copies: &mut Vec<Step>) -> Vec<Vec<Step>> {
    let mut steps = moves;
    steps.append(copies);
    let mut next = followers(&steps);
    break_circles(&mut steps, &mut next);
    let mut waits_for = vec![0_usize; steps.len()];
    next.iter().flatten().for_each(|after| waits_for[*after] += 1);
    let is_tied = |index: usize| next[index].is_some() || waits_for[index] > 0;
    let tied: Vec<bool> = (0..steps.len()).map(is_tied).collect();
    let mut level = vec![0_usize; steps.len()];
    let mut ready: Vec<usize> = (0..steps.len()).filter(|index| waits_for[*index] == 0).collect();
    while let Some(index) = ready.pop() {
        let Some(after) = next[index] else { continue };
        level[after] = level[after].max(level[index] + 1);
        waits_for[after] -= 1;
        if waits_for[after] == 0 {
            ready.push(after);
        }
    }
    let mut groups: BTreeMap<usize, Vec<Step>> = BTreeMap::new();
    for (index, mut step) in steps.into_iter().enumerate() {
        let late = level[index] >= LONGEST;
        match &mut step {
            Step::Copy { inside, .. } if late || !tied[index] => {
                if late {
                    *inside = None;
                }
                copies.push(step);
            }
            _ => groups.entry(level[index].min(LONGEST)).or_default().push(step),
        }
    }
    groups.into_values().collect()
}

/// For each step that takes a content the one that makes an end of it.
fn followers(steps: &[Step]) -> Vec<Option<usize>> {
    let mut ends: HashMap<(Which, &RelPath), usize> = HashMap::new();
    for (index, step) in steps.iter().enumerate() {
        match step {
            Step::Copy { path, guard: Guard::Unchanged(_), .. } => drop(ends.insert((step.on(), path), index)),
            Step::Move { path, to, guard, .. } => {
                ends.insert((step.on(), path), index);
                if *guard != Guard::Absent {
                    ends.insert((step.on(), to), index);
                }
            }
            _ => {}
        }
    }
    let taken = |step: &Step| match step {
        Step::Copy { inside: Some(Inside { path, kept: None, .. }), .. } => ends.get(&(step.on(), path)).copied(),
        _ => None,
    };
    steps.iter().map(taken).collect()
}

/// In every circle one takes its content last: when it was overwritten, and is in the trash.
fn break_circles(steps: &mut [Step], next: &mut [Option<usize>]) {
    // Everyone has one follower at most: whoever is met again on the way from a step closes the circle of that way.
    let mut met_from = vec![None; steps.len()];
    for start in 0..steps.len() {
        let mut at = start;
        while met_from[at].is_none() {
            met_from[at] = Some(start);
            let Some(after) = next[at] else { break };
            if met_from[after] == Some(start) {
                next[at] = None;
                if let Step::Copy { inside: Some(inside), .. } = &mut steps[at] {
                    inside.kept = Some(TrashReason::Overwritten);
                }
                break;
            }
            at = after;
        }
    }
}

#[cfg(test)]
mod tests;
