//! Which paths are left out: the container's `exclude` and the `.wlignore` files of both sides.

mod pattern;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::backend::Prune;
use crate::entry::Kind;
use crate::error::{Error, Fault, Result};
use crate::job::Which;
use crate::path::{IGNORE_FILE, RelPath};
use pattern::Pattern;

/// The rules in force. What they exclude is neither copied nor deleted; what is below an excluded directory is excluded too.
///
/// There are three sets of rules, each with git's semantics: the container's own and the `.wlignore` files of each side.
/// A path that one of them excludes is excluded; no set can take back what another says.
#[derive(Clone, Default)]
pub struct Filter {
    container: Option<Arc<Rules>>,
    sides: [BTreeMap<String, Arc<Rules>>; 2],
    /// Directories with a `.wlignore` that could not be read.
    unruled: BTreeSet<RelPath>,
}

/// The pattern that excludes a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    /// The pattern as it was written.
    pub pattern: String,
    /// Where it stands: `exclude` of the container, or the path of a `.wlignore` file and the side it is on.
    pub stands_in: String,
}

impl Filter {
    /// The container's own patterns, in gitignore syntax.
    pub fn new(exclude: &[String]) -> Result<Self> {
        let rules = Rules::read(exclude.iter().map(String::as_str));
        match rules.invalid.first() {
            Some(invalid) => Err(Error::new(
                Fault::Malformed,
                format!(
                    "the pattern '{}' in exclude can never match: {}; correct or remove it",
                    invalid.line, invalid.why
                ),
            )),
            None => Ok(Self { container: rules.or_none(), ..Self::default() }),
        }
    }

    /// Sets the text of the `.wlignore` in a directory on one side, or says that there is none. Whether anything changed.
    ///
    /// A line that can never match is left out; [`Self::invalid`] names it.
    pub fn set_ignores(&mut self, dir: &RelPath, which: Which, text: Option<&str>) -> bool {
        let text = text.unwrap_or_default();
        let rules = Rules::read(text.strip_prefix('\u{feff}').unwrap_or(text).split('\n'));
        let side = &mut self.sides[which as usize];
        if side.get(dir.as_str()).map_or(&[][..], |old| &old.lines) == rules.lines {
            return false;
        }
        match rules.or_none() {
            Some(rules) => side.insert(dir.as_str().to_owned(), rules),
            None => side.remove(dir.as_str()),
        };
        true
    }

    /// Takes note whether the `.wlignore` of a directory could not be read.
    pub fn set_unruled(&mut self, dir: &RelPath, unruled: bool) {
        if unruled {
            self.unruled.insert(dir.clone());
        } else {
            self.unruled.remove(dir);
        }
    }

    /// Whether rules bear on a path that could not be read: it is left alone.
    pub fn is_unruled(&self, path: &RelPath) -> bool {
        self.unruled.iter().any(|dir| path.is_below(dir))
    }

    /// The directories on one side whose `.wlignore` is in force, in byte order.
    pub fn ignore_dirs(&self, which: Which) -> impl Iterator<Item = &str> {
        self.sides[which as usize].keys().map(String::as_str)
    }

    /// The lines of the `.wlignore` in a directory on one side that can never match, each with why.
    pub fn invalid(&self, dir: &RelPath, which: Which) -> Vec<String> {
        let rules = self.sides[which as usize].get(dir.as_str()).into_iter();
        let line = |Invalid { number, line, why }: &Invalid| {
            format!("line {number}: the pattern '{line}' can never match: {why}; correct or remove it")
        };
        rules.flat_map(|rules| rules.invalid.iter().map(line)).collect()
    }

    /// The pattern that excludes a path, its directories considered.
    pub fn excluded(&self, path: &RelPath, kind: Kind) -> Option<Excluded> {
        if self.is_empty() {
            return None;
        }
        let text = path.as_str();
        let dirs = text.match_indices('/').map(|(slash, _)| (&text[..slash], true));
        let itself = (path.name() != IGNORE_FILE && !path.is_root()).then_some((text, kind == Kind::Dir));
        dirs.chain(itself).find_map(|(text, is_dir)| self.excluded_itself(text, is_dir))
    }

    /// Whether a path is excluded. Cheap where there are no patterns.
    pub fn excludes(&self, path: &RelPath, kind: Kind) -> bool {
        self.excluded(path, kind).is_some()
    }

    /// What a listing may leave out because of the container's own patterns; none where there are none.
    pub fn prune(&self) -> Option<Prune> {
        let own = Self { container: Some(self.container.clone()?), ..Self::default() };
        Some(Arc::new(move |path, kind| own.excludes(path, kind)))
    }

    fn is_empty(&self) -> bool {
        self.container.is_none() && self.sides.iter().all(BTreeMap::is_empty)
    }

    /// The pattern that excludes a path, its directories not considered.
    fn excluded_itself(&self, path: &str, is_dir: bool) -> Option<Excluded> {
        if let Some((pattern, true)) = self.container.as_ref().and_then(|rules| rules.verdict(path, is_dir)) {
            return Some(Excluded { pattern: pattern.to_owned(), stands_in: "exclude of the container".to_owned() });
        }
        Which::BOTH.into_iter().find_map(|which| {
            let (dir, pattern, excluded) = verdict_of_side(&self.sides[which as usize], path, is_dir)?;
            excluded.then(|| Excluded { pattern: pattern.to_owned(), stands_in: ignore_file(dir, which) })
        })
    }
}

/// The last matching pattern in the deepest file that has one: the file's directory, the pattern, whether it excludes.
fn verdict_of_side<'a>(
    side: &'a BTreeMap<String, Arc<Rules>>,
    path: &'a str,
    is_dir: bool,
) -> Option<(&'a str, &'a str, bool)> {
    if side.is_empty() {
        return None;
    }
    let deeper = path.rmatch_indices('/').map(|(slash, _)| (&path[..slash], &path[slash + 1..]));
    deeper.chain([("", path)]).find_map(|(dir, below)| {
        let (pattern, excluded) = side.get(dir)?.verdict(below, is_dir)?;
        Some((dir, pattern, excluded))
    })
}

fn ignore_file(dir: &str, which: Which) -> String {
    let slash = if dir.is_empty() { "" } else { "/" };
    let side = match which {
        Which::Source => "source",
        Which::Target => "target",
    };
    format!("{dir}{slash}{IGNORE_FILE} on the {side}")
}

/// The patterns of one place, the later ones overriding the earlier.
struct Rules {
    /// What was read, without comments and blanks: equal lines are equal rules.
    lines: Vec<String>,
    matchers: Vec<Gitignore>,
    /// How a pattern was written, by how the matcher knows it, where the two differ.
    written: HashMap<String, String>,
    invalid: Vec<Invalid>,
}

struct Invalid {
    number: usize,
    line: String,
    why: String,
}

impl Rules {
    fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut rules = Self { lines: vec![], matchers: vec![], written: HashMap::new(), invalid: vec![] };
        let mut patterns = Vec::new();
        for (index, line) in lines.enumerate() {
            let read = if line.contains(char::REPLACEMENT_CHARACTER) {
                Err("it is not UTF-8".to_owned())
            } else {
                pattern::read(line)
            };
            match read {
                Ok(None) => continue,
                Ok(Some(pattern)) => patterns.push((index + 1, pattern)),
                Err(why) => rules.invalid.push(Invalid { number: index + 1, line: line.trim_end().to_owned(), why }),
            }
            rules.lines.push(line.to_owned());
        }
        rules.add(&patterns);
        rules.invalid.sort_by_key(|invalid| invalid.number);
        rules
    }

    /// Adds patterns behind those there are. Where the matcher refuses them together (one is wrong, or all at once are
    /// too large for it) it gets each half for itself.
    fn add(&mut self, patterns: &[(usize, Pattern)]) {
        match (matcher(patterns), patterns) {
            (Ok(matcher), _) => {
                let differing = patterns.iter().filter(|(_, pattern)| pattern.written != pattern.glob);
                self.written.extend(differing.map(|(_, pattern)| (pattern.glob.clone(), pattern.written.clone())));
                self.matchers.push(matcher);
            }
            (Err(why), [(number, pattern)]) => {
                self.invalid.push(Invalid { number: *number, line: pattern.written.clone(), why });
            }
            (Err(_), _) => {
                let (first, second) = patterns.split_at(patterns.len() / 2);
                self.add(first);
                self.add(second);
            }
        }
    }

    fn or_none(self) -> Option<Arc<Self>> {
        (!self.lines.is_empty()).then(|| Arc::new(self))
    }

    /// The last pattern that matches, as it was written, and whether it excludes.
    fn verdict(&self, path: &str, is_dir: bool) -> Option<(&str, bool)> {
        let (glob, excludes) = self.matchers.iter().rev().find_map(|matcher| match matcher.matched(path, is_dir) {
            Match::None => None,
            Match::Ignore(glob) => Some((glob.original(), true)),
            Match::Whitelist(glob) => Some((glob.original(), false)),
        })?;
        Some((self.written.get(glob).map_or(glob, String::as_str), excludes))
    }
}

fn matcher(patterns: &[(usize, Pattern)]) -> Result<Gitignore, String> {
    let mut builder = GitignoreBuilder::new("");
    for (_, pattern) in patterns {
        builder.add_line(None, &pattern.glob).map_err(reason)?;
    }
    builder.build().map_err(reason)
}

fn reason(error: ignore::Error) -> String {
    match error {
        ignore::Error::Glob { err, .. } => err,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
