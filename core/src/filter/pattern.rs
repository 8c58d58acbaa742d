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
    if written.contains("//") || written.ends_with("\\/") {
        return Err("it has a slash where no path has one".to_owned());
    }
    let (sign, body) = written.strip_prefix('!').map_or(("", written), |body| ("!", body));
    let mut glob = for_globset(body)?;
    // A pattern with a slash in it speaks of one place; one that has got its slash here, in brackets, must not.
    let has_slash = |pattern: &str| pattern.strip_suffix('/').unwrap_or(pattern).contains('/');
    if has_slash(&glob) && !has_slash(body) {
        glob.insert_str(0, "**/");
    }
    glob.insert_str(0, sign);
    Ok(Some(Pattern { written: written.to_owned(), glob }))
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
    Some((if negated { all_but(bracket, &members) } else { any_of(bracket, &members) }, rest))
}

/// A class for the matcher. A closing bracket is a member only where it comes first, `^` and `!` only where they do not.
fn any_of(bracket: bool, members: &str) -> String {
    match (bracket, members.strip_prefix(['!', '^'])) {
        (true, _) => format!("[]{members}]"),
        (false, Some("")) => format!("\\{members}"),
        (false, Some(others)) => format!("[{others}{}]", &members[..1]),
        (false, None) => format!("[{members}]"),
    }
}

/// The same for a negated one, which for the matcher, not for git, has the slash among what it matches.
fn all_but(bracket: bool, members: &str) -> String {
    let bracket = if bracket { "]" } else { "" };
    match members.strip_prefix('-') {
        // The dash stays first, and is not last too: it must not become a range with the slash.
        Some(others) => format!("[!{bracket}-{}/]", others.strip_suffix('-').unwrap_or(others)),
        None => format!("[!{bracket}/{members}]"),
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
        // Does not begin with a `!`, and holds the dash inside a range: it may stand anywhere among others.
        ("[:punct:]", ":-@[-`{-~!-."),
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
        for line in ["a\\", "[a", "x[]", "[!]", "a//b", "a\\/"] {
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
            ("[!]a]", "**/[!]/a]"),
            ("x/[!a]", "x/[!/a]"),
            ("![^-a-]/", "!**/[!-a/]/"),
            ("[\\!]", "\\!"),
            ("[\\^a]", "[a^]"),
            ("\\#a", "\\#a"),
        ] {
            assert_eq!(glob(line), Ok(Some(wanted.to_owned())), "{line:?}");
        }
    }
}
