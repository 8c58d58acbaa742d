//! Names that some servers take but list otherwise, or not at all.

/// A kind of name that servers stumble over, with one to try it by.
#[derive(Debug, Clone, Copy)]
pub struct Class {
    pub sample: &'static str,
    what: &'static str,
    is: fn(&str) -> bool,
}

/// What begins with a dot: nginx takes it and lists it not.
pub const DOTTED: &str = ".hidden";

/// Every kind that is tried. Each was met: nginx hides dots, lighttpd writes `_` for control characters, sabre/dav loses
/// track of line feeds and byte order marks, servers on Windows cut dots and blanks off and take no colons, those on macOS
/// compose and decompose letters. Nextcloud composes them, and refuses control characters, but not DEL.
pub const CLASSES: &[Class] = &[
    Class { sample: DOTTED, what: "begin with a dot", is: |name| name.starts_with('.') },
    Class { sample: "line\nfeed", what: "hold a line feed", is: |name| name.contains('\n') },
    Class {
        sample: "bell\u{7}",
        what: "hold control characters",
        is: |name| name.contains(|char| char < ' ' && char != '\n'),
    },
    Class { sample: "del\u{7f}", what: "hold the control character DEL", is: |name| name.contains('\u{7f}') },
    Class { sample: "\u{feff}mark", what: "begin with a byte order mark", is: |name| name.starts_with('\u{feff}') },
    Class { sample: "back\\slash", what: "hold a backslash", is: |name| name.contains('\\') },
    Class {
        sample: "col:on*?",
        what: "hold one of : * ? \" < > |",
        is: |name| name.contains([':', '*', '?', '"', '<', '>', '|']),
    },
    Class { sample: "dot.", what: "end with a dot", is: |name| name.ends_with('.') },
    Class {
        sample: " blank ",
        what: "begin or end with a blank",
        is: |name| name.starts_with(' ') || name.ends_with(' '),
    },
    Class {
        sample: "cafe\u{301}",
        what: "hold letters with separate accents",
        is: |name| name.contains(|char| ('\u{300}'..='\u{36f}').contains(&char)),
    },
];

/// Whether a name is of any kind that has to be tried.
pub fn is_odd(name: &str) -> bool {
    CLASSES.iter().any(|class| (class.is)(name))
}

/// Why a name cannot be held, if it is of a kind that was found unfit.
pub fn unfit(unfit: &[Class], name: &str) -> Option<String> {
    if name == ".DAV" || name.starts_with(".davfs.tmp") {
        return Some("Apache keeps such names for itself and does not list them: rename it, or exclude it".to_owned());
    }
    let class = unfit.iter().find(|class| (class.is)(name))?;
    let what = class.what;
    Some(format!(
        "this server does not list names that {what} as they are: what it hides would look deleted. Rename it, or exclude it"
    ))
}

/// What is told of kinds that were found unfit.
pub fn told(unfit: &[Class]) -> Option<String> {
    let whats: Vec<_> = unfit.iter().map(|class| class.what).collect();
    (!whats.is_empty()).then(|| {
        format!("not synced, for the server does not list them as they are: names that {}", whats.join("; that "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_of_its_own_kind() {
        for class in CLASSES {
            assert!((class.is)(class.sample), "{:?}", class.sample);
        }
        assert!(["plain", "with blank", "é", "a.b", "世界"].iter().all(|name| !is_odd(name)));
    }

    #[test]
    fn only_what_is_unfit_is_refused() {
        let dotted = [CLASSES[0]];
        assert!(unfit(&dotted, ".profile").is_some() && unfit(&dotted, "a\n").is_none() && unfit(&[], ".x").is_none());
        assert!(unfit(&[], ".DAV").is_some());
    }
}
