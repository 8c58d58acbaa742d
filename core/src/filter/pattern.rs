//! One line of patterns, as git reads it, told to the `ignore` crate, which reads a few things otherwise.

/// A pattern as it was written, and the same for the matcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    pub(super) written: String,
    pub(super) glob: String,
}

/// Reads one line: none if it holds no pattern, an error that says why it can never match.
///
/// Beyond what the crate knows: trailing blanks count only where a backslash precedes them, braces are ordinary
/// characters, and brackets may hold escapes and classes such as `[:digit:]`.
pub(super) fn read(line: &str) -> Result<Option<Pattern>, String> {
    let written = without_trailing_spaces(line.strip_suffix('\r').unwrap_or(line));
    if written.starts_with('#') || matches!(written, "" | "!" | "/" | "!/") {
        return Ok(None);
    }
    Ok(Some(Pattern { written: written.to_owned(), glob: for_globset(written)? }))
}

fn without_trailing_spaces(line: &str) -> &str {
    let kept = line.trim_end_matches(' ');
    let escapes = kept.len() - kept.trim_end_matches('\\').len();
    if escapes % 2 == 1 && kept.len() < line.len() { &line[..=kept.len()] } else { kept }
}

fn for_globset(pattern: &str) -> Result<String, String> {
    let mut glob = String::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                // The crate trims blanks at the end whatever stands before them.
                Some(blank) if blank.is_whitespace() => glob.extend(['[', blank, ']']),
                Some(escaped) => glob.extend(['\\', escaped]),
                None => return Err("it ends in a lone backslash".to_owned()),
            },
            '{' | '}' => glob.extend(['\\', c]),
            '[' => {
                let (class, after) = class(rest.as_str()).ok_or("its bracket '[' is never closed")?;
                glob.push_str(&class);
                rest = after.chars();
            }
            blank if blank.is_whitespace() => glob.extend(['[', blank, ']']),
            _ => glob.push(c),
        }
    }
    Ok(glob)
}

/// Reads a bracket expression from behind its `[`; also what follows it.
fn class(text: &str) -> Option<(String, &str)> {
    let (negated, mut rest) = text.strip_prefix(['!', '^']).map_or((false, text), |rest| (true, rest));
    let (mut members, mut bracket, mut first) = (String::new(), false, true);
    loop {
        if let Some((named, after)) = named_class(rest) {
            members.push_str(named);
            rest = after;
        } else {
            let mut chars = rest.chars();
            match chars.next()? {
                ']' if !first => {
                    rest = chars.as_str();
                    break;
                }
                ']' => bracket = true,
                '\\' => match chars.next()? {
                    ']' => bracket = true,
                    escaped => members.push(escaped),
                },
                member => members.push(member),
            }
            rest = chars.as_str();
        }
        first = false;
    }
    // A closing bracket is a member only where it comes first; `^` and `!` are only where they do not.
    let (sign, bracket) = (if negated { "!" } else { "" }, if bracket { "]" } else { "" });
    let members = match members.strip_prefix(['!', '^']) {
        Some(others) if !negated && bracket.is_empty() => format!("{others}{}", &members[..1]),
        _ => members,
    };
    match (sign, bracket, members.as_str()) {
        ("", "", only @ ("!" | "^")) => Some((format!("\\{only}"), rest)),
        _ => Some((format!("[{sign}{bracket}{members}]"), rest)),
    }
}

fn named_class(text: &str) -> Option<(&'static str, &str)> {
    const NAMED: [(&str, &str); 9] = [
        ("[:alnum:]", "a-zA-Z0-9"),
        ("[:alpha:]", "a-zA-Z"),
        ("[:blank:]", " \t"),
        ("[:digit:]", "0-9"),
        ("[:lower:]", "a-z"),
        ("[:space:]", " \t-\r"),
        ("[:upper:]", "A-Z"),
        ("[:xdigit:]", "0-9a-fA-F"),
        ("[:punct:]", "!-,.-/:-@[-`{-~-"),
    ];
    NAMED.iter().find_map(|(name, members)| Some((*members, text.strip_prefix(name)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(line: &str) -> Result<Option<String>, String> {
        read(line).map(|pattern| pattern.map(|pattern| pattern.glob))
    }

    #[test]
    fn lines_without_a_pattern() {
        for line in ["", "   ", "# a", "\r", "!", "/"] {
            assert_eq!(glob(line), Ok(None), "{line:?}");
        }
    }

    #[test]
    fn what_can_never_match_is_an_error() {
        for line in ["a\\", "[a", "x[]", "[!]"] {
            assert!(glob(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn is_told_to_the_matcher() {
        for (line, wanted) in [
            ("a  ", "a"),
            ("a\\ ", "a[ ]"),
            ("a\\  ", "a[ ]"),
            ("a\\\\ ", "a\\\\"),
            ("a\t", "a[\t]"),
            ("a\r", "a"),
            ("{a,b}", "\\{a,b\\}"),
            ("[{]", "[{]"),
            ("[\\]a]", "[]a]"),
            ("[[:digit:]x]", "[0-9x]"),
            ("[!]a]", "[!]a]"),
            ("\\#a", "\\#a"),
        ] {
            assert_eq!(glob(line), Ok(Some(wanted.to_owned())), "{line:?}");
        }
    }
}
