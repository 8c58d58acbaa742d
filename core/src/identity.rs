//! What is remembered of which directory a root is.
//!
//! A storage may tell it in two ways: by a name that is this place's alone, or, where that cannot be had for now, by less. A
//! text of one way says nothing of a text of the other: of each way the latest is kept, a line each.

/// Whether a root is another one than is remembered, as far as texts of the same way tell.
pub(crate) fn is_another(known: &str, now: &str, is_named: impl Fn(&str) -> bool) -> bool {
    known.lines().any(|before| is_named(before) == is_named(now) && before != now)
}

/// What is to be remembered once a root is believed to be that one.
pub(crate) fn remembered(known: Option<&str>, now: &str, is_named: impl Fn(&str) -> bool) -> String {
    let others = known.unwrap_or_default().lines().filter(|before| is_named(before) != is_named(now));
    [now].into_iter().chain(others).collect::<Vec<_>>().join("\n")
}

/// Whether nothing that is remembered of a root tells it from another.
pub(crate) fn is_unnamed(known: &str, is_named: impl Fn(&str) -> bool) -> bool {
    !known.lines().any(is_named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_named(text: &str) -> bool {
        text.contains("born")
    }

    #[test]
    fn only_texts_of_one_way_tell_that_a_root_is_another() {
        for (known, now, another) in [
            ("1 born 5", "1 born 5", false),
            ("1 born 5", "2 born 5", true),
            ("on a", "on b", true),
            ("1 born 5", "on a", false),
            ("on a", "1 born 5", false),
            ("on a\n1 born 5", "on a", false),
            ("on a\n1 born 5", "on b", true),
            ("on a\n1 born 5", "2 born 6", true),
        ] {
            assert_eq!(is_another(known, now, is_named), another, "{known:?} {now}");
        }
    }

    #[test]
    fn one_name_among_what_is_remembered_is_a_name() {
        for (known, unnamed) in [("1 born 5", false), ("on a\n1 born 5", false), ("on a", true)] {
            assert_eq!(is_unnamed(known, is_named), unnamed, "{known:?}");
        }
    }

    #[test]
    fn what_was_told_in_the_other_way_is_not_forgotten() {
        for (known, now, expected) in [
            (None, "1 born 5", "1 born 5"),
            (Some("1 born 5"), "2 born 6", "2 born 6"),
            (Some("1 born 5"), "on a", "on a\n1 born 5"),
            (Some("on a\n1 born 5"), "on b", "on b\n1 born 5"),
            (Some("on a\n1 born 5"), "2 born 6", "2 born 6\non a"),
        ] {
            assert_eq!(remembered(known, now, is_named), expected);
        }
    }
}
